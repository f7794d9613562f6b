"""A flow tree as a picture: a Mermaid flowchart, or a tree of text lines. Pure functions."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
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

    A block is a box between a hexagon that opens it and one that names its join, and so is a map,
    whose box holds its body once; a loop is a box that ends in a diamond, its condition; a choice
    is a diamond; a sleep or a wait is slanted; a nested workflow is a box.

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
        if isinstance(node, StepSpec):
            note = _escaped(step_note(node))
            small = f"<br/><small>{note}</small>" if note else ""
            return self._plain(f'["{_escaped(_title(node))}{small}"]', exits)
        if isinstance(node, PassthroughSpec):
            return self._plain(f'(["{_escaped(node.id)}"])', exits)
        if isinstance(node, SleepSpec | WaitSpec):
            small = f"<br/><small>{_escaped(pause_note(node))}</small>"
            return self._plain(f'[/"{_escaped(node.id)}{small}"/]', exits)
        if isinstance(node, ParallelSpec):
            return self._parallel(node, exits)
        if isinstance(node, MapSpec):
            return self._map(node, exits)
        if isinstance(node, LoopSpec):
            return self._loop(node, exits)
        if isinstance(node, ChoiceSpec):
            return self._choice(node, exits)
        self._open(_with_note(f"workflow {_title(node)}", _workflow_note(node)))
        exits = self._sequence(node.nodes, exits)
        self._close()
        return exits

    def _parallel(self, node: ParallelSpec, exits: _Exits) -> _Exits:
        self._open(_with_note("parallel", _block_note(node)))
        fork = self._plain('{{"fork"}}', exits)
        ends = [end for branch in node.branches for end in self._any(branch, fork)]
        join = self._plain(f'{{{{"join: {_escaped(str(node.join))}"}}}}', ends)
        self._close()
        return join

    def _map(self, node: MapSpec, exits: _Exits) -> _Exits:
        self._open(_with_note("map", _block_note(node)))
        fork = self._plain('{{"for each item"}}', exits)
        join = self._plain(
            f'{{{{"join: {_escaped(str(node.join))}"}}}}', self._any(node.body, fork)
        )
        self._close()
        return join

    def _loop(self, node: LoopSpec, exits: _Exits) -> _Exits:
        self._open(f"loop  ({loop_note(node)})")
        begin = self._plain('{{"again"}}', exits)
        ((diamond, _),) = self._plain(
            f'{{"{_escaped(node.condition)}"}}', self._any(node.body, begin)
        )
        self._link([(diamond, "no")], begin[0][0])
        self._close()
        return [(diamond, "yes")]

    def _choice(self, node: ChoiceSpec, exits: _Exits) -> _Exits:
        ((diamond, _),) = self._plain(f'{{"{_escaped(node.id)}"}}', exits)
        ends: _Exits = []
        for arm in node.arms:
            ends += self._any(arm.node, [(diamond, arm.condition)])
        if node.otherwise is None:
            ends.append((diamond, "otherwise"))
        else:
            ends += self._any(node.otherwise, [(diamond, "otherwise")])
        return ends

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


def text(tree: WorkflowSpec) -> str:
    """Return a workflow as a tree of lines, for terminals.

    Args:
        tree: the flow tree, as a compiled workflow or a stored run has it.
    """
    lines = [_with_note(_title(tree), _workflow_note(tree))]
    lines.extend(_branches(_labelled(tree), ""))
    return "\n".join(lines) + "\n"


def _branches(items: list[tuple[str, NodeSpec | None]], indent: str) -> Iterator[str]:
    for place, (label, node) in enumerate(items):
        last = place == len(items) - 1
        yield f"{indent}{'└─' if last else '├─'} {label}{'' if node is None else _line(node)}"
        if node is not None:
            yield from _branches(_labelled(node), indent + ("   " if last else "│  "))


def _labelled(node: NodeSpec) -> list[tuple[str, NodeSpec | None]]:
    """Return what is inside a node, each with what leads to it."""
    if isinstance(node, ParallelSpec):
        return [("", branch) for branch in node.branches]
    if isinstance(node, WorkflowSpec):
        return [("", inner) for inner in node.nodes]
    if isinstance(node, MapSpec | LoopSpec):
        return [("", node.body)]
    if not isinstance(node, ChoiceSpec):
        return []
    inside: list[tuple[str, NodeSpec | None]] = [
        (f"if {_clean(arm.condition)}: ", arm.node) for arm in node.arms
    ]
    if node.otherwise is not None:
        inside.append(("otherwise: ", node.otherwise))
    else:
        default = "go on" if node.default is None else f"go on with {_clean(node.default)}"
        inside.append((f"otherwise: {default}", None))
    return inside


def _line(node: NodeSpec) -> str:
    if isinstance(node, StepSpec):
        return _with_note(_title(node), step_note(node))
    if isinstance(node, SleepSpec | WaitSpec):
        return _with_note(node.id, pause_note(node))
    if isinstance(node, PassthroughSpec):
        return f"{node.id}  (passthrough)" if node.id != "passthrough" else node.id
    if isinstance(node, ParallelSpec):
        return _with_note(f"parallel, join {node.join}", _block_note(node))
    if isinstance(node, MapSpec):
        return _with_note(f"map, join {node.join}", _block_note(node))
    if isinstance(node, LoopSpec):
        return _with_note(f"loop until {_clean(node.condition)}", loop_note(node))
    if isinstance(node, ChoiceSpec):
        return f"choice {_clean(node.id)}"
    return _with_note(f"workflow {_title(node)}", _workflow_note(node))


def step_note(node: StepSpec) -> str:
    """Return a step's options in a few words; empty: none is set."""
    words: list[str] = []
    if node.executor not in {"loop", "thread"}:
        words.append("in a process" if node.executor == "process" else f"on {node.executor}")
    if node.timeout is not None:
        words.append(f"timeout {node.timeout:g} s")
    if node.retry.retries:
        words.append(f"{node.retry.retries} retr{'y' if node.retry.retries == 1 else 'ies'}")
    if node.continue_on_error:
        words.append("may fail")
    if node.undo is not None:
        words.append(f"undone by {_clean(node.undo.step.id)}")
    return ", ".join(words)


def pause_note(node: SleepSpec | WaitSpec) -> str:
    """Return what a sleep or wait waits for in a few words."""
    time = ""
    if node.asks is not None:
        preposition = "until" if node.asks.is_due else "as long as"
        time = f"{preposition} {_clean(node.asks.function)} says"
    elif node.until is not None:
        time = f"until {instant(node.until):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(node, SleepSpec):
        return f"sleep {time or f'{node.seconds:g} s'}"
    words = [f"wait for signal {node.signal}"]
    if time:
        words.append(time)
    elif node.timeout is not None:
        words.append(f"timeout {node.timeout:g} s")
    if node.default is not None:
        words.append(f"else {_clean(node.default)}")
    return ", ".join(words)


def loop_note(node: LoopSpec) -> str:
    """Return how often a loop runs in a few words."""
    return f"at most {node.max_iterations} time{'' if node.max_iterations == 1 else 's'}"


def _block_note(node: ParallelSpec | MapSpec) -> str:
    words: list[str] = []
    if node.max_concurrency is not None:
        words.append(f"{node.max_concurrency} at a time")
    if node.timeout is not None:
        words.append(f"timeout {node.timeout:g} s")
    if node.on_failure != "drain":
        words.append(f"on failure: {node.on_failure}")
    return ", ".join(words)


def _workflow_note(node: WorkflowSpec) -> str:
    return "" if node.timeout is None else f"timeout {node.timeout:g} s"


def _with_note(title: str, note: str) -> str:
    return f"{title}  ({note})" if note else title


def _title(node: StepSpec | WorkflowSpec) -> str:
    name = _clean(node.name)
    return f"{node.id}: {name}" if name and name != node.id else node.id


def _clean(label: str) -> str:
    """Return a label on one line, without what could steer a terminal."""
    shown = (" " if unicodedata.category(char)[0] in "CZ" else char for char in label)
    return " ".join("".join(shown).split())


def _escaped(label: str) -> str:
    """Return a label as Mermaid takes it between double quotes: characters by their numbers."""
    return "".join(f"#{ord(char)};" if char in '"#<>&`|' else char for char in _clean(label))
