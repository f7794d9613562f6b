"""The drawing of a flow tree: a Mermaid flowchart, or a tree of text lines. Pure functions."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from gorkflow.flow import (
    BlockSpec,
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
    PauseSpec,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
)
from gorkflow.model import instant

_Exits = list[tuple[str, str]]
"""The Mermaid nodes that lead on from a part of the picture, each with a label for its arrow."""


def mermaid(tree: WorkflowSpec) -> str:
    """Return the flowchart of a workflow in Mermaid's language.

    A block is a box between a hexagon that opens it and one that names its join; so is a map, whose
    box holds its body once; a loop is a box that ends in a diamond, its condition; a choice is a
    diamond; a sleep or a wait is slanted; a nested workflow is a box.

    Args:
        tree: the flow tree, as a compiled workflow or a stored run has it.
    """
    return _Flowchart().draw(tree)


class _Flowchart:
    def __init__(self) -> None:
        self._lines = ["flowchart TD"]
        self._count = 0
        self._depth = 1

    def draw(self, tree: WorkflowSpec) -> str:
        exits: _Exits = [(self._node(f'(["{_escaped(_title(tree))}"])'), "")]
        exits = self._sequence(tree.nodes, exits)
        self._link(exits, self._node('(["end"])'))
        return "\n".join(self._lines) + "\n"

    def _sequence(self, nodes: tuple[NodeSpec, ...], exits: _Exits) -> _Exits:
        for node in nodes:
            exits = self._any(node, exits)
        return exits

    def _any(self, node: NodeSpec, exits: _Exits) -> _Exits:
        return _SHAPES[type(node)](self, node, exits)

    def step(self, node: StepSpec, exits: _Exits) -> _Exits:
        return self._plain(f'["{_escaped(_title(node))}{_small(node)}"]', exits)

    def passthrough(self, node: PassthroughSpec, exits: _Exits) -> _Exits:
        return self._plain(f'(["{_escaped(node.id)}"])', exits)

    def pause(self, node: PauseSpec, exits: _Exits) -> _Exits:
        return self._plain(f'[/"{_escaped(node.id)}{_small(node)}"/]', exits)

    def block(self, node: BlockSpec, exits: _Exits) -> _Exits:
        self._open(_with_note(node.kind, note(node)))
        fork = self._plain('{{"for each item"}}' if node.mark else '{{"fork"}}', exits)
        ends = [end for branch in node.children() for end in self._any(branch, fork)]
        join = self._plain(f'{{{{"join: {_escaped(str(node.join))}"}}}}', ends)
        self._close()
        return join

    def loop(self, node: LoopSpec, exits: _Exits) -> _Exits:
        self._open(_with_note("loop", note(node)))
        begin = self._plain('{{"again"}}', exits)
        ((diamond, _),) = self._plain(
            f'{{"{_escaped(node.condition)}"}}', self._any(node.body, begin)
        )
        self._link([(diamond, "no")], begin[0][0])
        self._close()
        return [(diamond, "yes")]

    def choice(self, node: ChoiceSpec, exits: _Exits) -> _Exits:
        ((diamond, _),) = self._plain(f'{{"{_escaped(node.id)}"}}', exits)
        ends: _Exits = []
        for arm in node.arms:
            ends += self._any(arm.node, [(diamond, arm.condition)])
        if node.otherwise is None:
            ends.append((diamond, "otherwise"))
        else:
            ends += self._any(node.otherwise, [(diamond, "otherwise")])
        return ends

    def workflow(self, node: WorkflowSpec, exits: _Exits) -> _Exits:
        self._open(_line(node))
        exits = self._sequence(node.nodes, exits)
        self._close()
        return exits

    def _plain(self, shape: str, exits: _Exits) -> _Exits:
        node_id = self._node(shape)
        self._link(exits, node_id)
        return [(node_id, "")]

    def _node(self, shape: str) -> str:
        # Numbers, since a step may have an id that Mermaid takes for a keyword, such as `end`.
        self._count += 1
        node_id = f"n{self._count}"
        self._line(f"{node_id}{shape}")
        return node_id

    def _link(self, exits: _Exits, to: str) -> None:
        for node_id, label in exits:
            arrow = f'-->|"{_escaped(label)}"|' if label else "-->"
            self._line(f"{node_id} {arrow} {to}")

    def _open(self, title: str) -> None:
        self._count += 1
        self._line(f'subgraph b{self._count}["{_escaped(title)}"]')
        self._depth += 1

    def _close(self) -> None:
        self._depth -= 1
        self._line("end")

    def _line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)


_SHAPES: dict[type[NodeSpec], Callable[[_Flowchart, Any, _Exits], _Exits]] = {
    StepSpec: _Flowchart.step,
    PassthroughSpec: _Flowchart.passthrough,
    ParallelSpec: _Flowchart.block,
    MapSpec: _Flowchart.block,
    ChoiceSpec: _Flowchart.choice,
    LoopSpec: _Flowchart.loop,
    SleepSpec: _Flowchart.pause,
    WaitSpec: _Flowchart.pause,
    WorkflowSpec: _Flowchart.workflow,
}
"""The shape of each node kind."""


def text(tree: WorkflowSpec) -> str:
    """Return a workflow as a tree of lines, for terminals.

    Args:
        tree: the flow tree, as a compiled workflow or a stored run has it.
    """
    lines = [_with_note(_title(tree), note(tree))]
    lines.extend(_branches(_labelled(tree), ""))
    return "\n".join(lines) + "\n"


def _branches(items: list[tuple[str, NodeSpec | None]], indent: str) -> Iterator[str]:
    for place, (label, node) in enumerate(items):
        last = place == len(items) - 1
        yield f"{indent}{'└─' if last else '├─'} {label}{'' if node is None else _line(node)}"
        if node is not None:
            yield from _branches(_labelled(node), indent + ("   " if last else "│  "))


def _labelled(node: NodeSpec) -> list[tuple[str, NodeSpec | None]]:
    """Return what is inside a node, each with the words that lead to it."""
    if not isinstance(node, ChoiceSpec):
        return [("", inner) for inner in node.children()]
    inside: list[tuple[str, NodeSpec | None]] = [
        (f"if {_clean(arm.condition)}: ", arm.node) for arm in node.arms
    ]
    if node.otherwise is not None:
        inside.append(("otherwise: ", node.otherwise))
    else:
        default = "continue" if node.default is None else f"continue with {_clean(node.default)}"
        inside.append((f"otherwise: {default}", None))
    return inside


def _line(node: NodeSpec) -> str:
    if isinstance(node, WorkflowSpec):
        return _with_note(f"workflow {_title(node)}", note(node))
    return _with_note(_title(node), note(node))


def note(node: NodeSpec) -> str:
    """Return the options of a node in a few words; empty: none is set."""
    write = _NOTES.get(type(node))
    return "" if write is None else ", ".join(write(node))


def _step_words(node: StepSpec) -> Iterator[str]:
    if node.executor not in {"loop", "thread"}:
        yield "in a process" if node.executor == "process" else f"on {node.executor}"
    if node.timeout is not None:
        yield f"timeout {node.timeout:g} s"
    if node.retry.retries:
        yield f"{node.retry.retries} retr{'y' if node.retry.retries == 1 else 'ies'}"
    if node.continue_on_error:
        yield "may fail"
    if node.undo is not None:
        yield f"undone by {_clean(node.undo.step.id)}"


def _passthrough_words(node: PassthroughSpec) -> Iterator[str]:
    if node.id != node.kind:
        yield node.kind


def _block_words(node: BlockSpec) -> Iterator[str]:
    if node.max_concurrency is not None:
        yield f"{node.max_concurrency} at a time"
    if node.timeout is not None:
        yield f"timeout {node.timeout:g} s"
    if node.on_failure != "drain":
        yield f"on failure: {node.on_failure}"


def _loop_words(node: LoopSpec) -> Iterator[str]:
    yield f"at most {node.max_iterations} time{'' if node.max_iterations == 1 else 's'}"


def _sleep_words(node: SleepSpec) -> Iterator[str]:
    yield f"sleep {_time(node) or f'{node.seconds:g} s'}"


def _wait_words(node: WaitSpec) -> Iterator[str]:
    yield f"wait for signal {node.signal}"
    if time := _time(node):
        yield time
    elif node.timeout is not None:
        yield f"timeout {node.timeout:g} s"
    if node.default is not None:
        yield f"else {_clean(node.default)}"


def _time(node: PauseSpec) -> str:
    if node.asks is not None:
        preposition = "until" if node.asks.is_due else "as long as"
        return f"{preposition} {_clean(node.asks.function)} says"
    return "" if node.until is None else f"until {instant(node.until):%Y-%m-%d %H:%M:%S} UTC"


def _workflow_words(node: WorkflowSpec) -> Iterator[str]:
    if node.timeout is not None:
        yield f"timeout {node.timeout:g} s"


_NOTES: dict[type[NodeSpec], Callable[[Any], Iterator[str]]] = {
    StepSpec: _step_words,
    PassthroughSpec: _passthrough_words,
    ParallelSpec: _block_words,
    MapSpec: _block_words,
    LoopSpec: _loop_words,
    SleepSpec: _sleep_words,
    WaitSpec: _wait_words,
    WorkflowSpec: _workflow_words,
}
"""The words for the options of each node kind that has some."""


def _small(node: NodeSpec) -> str:
    words = _escaped(note(node))
    return f"<br/><small>{words}</small>" if words else ""


def _with_note(title: str, note: str) -> str:
    return f"{title}  ({note})" if note else title


def _title(node: NodeSpec) -> str:
    label, name = _clean(node.label), _clean(getattr(node, "name", ""))
    return f"{label}: {name}" if name and name != node.id else label


def _clean(label: str) -> str:
    """Return a label on one line, without what could steer a terminal."""
    shown = (" " if unicodedata.category(char)[0] in "CZ" else char for char in label)
    return " ".join("".join(shown).split())


def _escaped(label: str) -> str:
    """Return a label as Mermaid takes it between double quotes: characters by their numbers."""
    return "".join(f"#{ord(char)};" if char in '"#<>&`|' else char for char in _clean(label))
