"""The reach of a run: what it may still begin, by the templates of paths in its tree.

It is found by a walk over the live frames, and over what they may still enter. Inside a map or
loop, other items and iterations count, too. A kept result keeps a node from beginning.
"""

from __future__ import annotations

from collections.abc import Iterable

from gorkflow.flow import (
    ChoiceSpec,
    DecisionSpec,
    MapSpec,
    NodeSpec,
    PauseSpec,
    Place,
    join_path,
    template_of,
)
from gorkflow.machine.frame import Frame
from gorkflow.machine.machine import Machine
from gorkflow.model import RunStatus


class Reach:
    """The nodes that a run may still begin.

    Args:
        machine: of the run.
        begun: the paths of the steps and waits that began.
        undoes: the paths of the steps that are left to undo; ``None``: it does not undo.
    """

    def __init__(
        self, machine: Machine, begun: Iterable[str], undoes: Iterable[str] | None
    ) -> None:
        self._machine = machine
        self._begun = {template_of(path) for path in begun}
        self._with_result = self._begun | {template_of(path) for path in machine.kept}
        self._undoes = None if undoes is None else {template_of(path) for path in undoes}
        self._begins: set[str] = set()
        self._asks: set[str] = set()
        self._entered: set[str] = set()
        root = machine.frames.get("")
        if root is not None:
            self._live(root)
        elif machine.status is RunStatus.PENDING:
            self._inside(machine.tree.nodes, "")

    def begins(self, path: str) -> bool:
        """Return whether the node may begin, or begin again: nothing has ended it for good."""
        return path in self._begins

    def matters(self, path: str) -> bool:
        """Return whether the step or wait may begin, or has: what it gave may be read."""
        return path in self._begins or path in self._with_result

    def asks(self, path: str) -> bool:
        """Return whether the node may ask its function."""
        return path in self._asks

    def undoes(self, path: str) -> bool:
        """Return whether the step may have to be undone; a kept one belongs to another run."""
        if self._undoes is not None:
            return path in self._undoes
        return path in self._begins or path in self._begun

    def _live(self, frame: Frame) -> None:
        """Add what a live node may still begin."""
        path, spec = template_of(frame.path), frame.spec
        if not frame.stopping:
            self._begins.add(path)
        if frame.may_ask:
            self._asks.add(path)
        for child in frame.inside():
            self._live(child)
        scope = frame.path if spec.is_scope else frame.outer.path
        self._inside(frame.left(), template_of(scope), spec.mark)

    def _inside(self, nodes: Iterable[NodeSpec], prefix: str, mark: str = "") -> None:
        """Add nodes that were not entered yet, and all inside."""
        for node in nodes:
            path = join_path(prefix, node.id) + mark
            if path in self._entered or self._machine.is_instant(Place(path, node)):
                continue
            self._entered.add(path)
            self._begins.add(path)
            kept = self._machine.kept.get(path)
            inside = node.children()
            if isinstance(node, ChoiceSpec) and kept is not None and kept.choice is not None:
                inside = inside[kept.choice :][:1]
            elif _asks(node) and (kept is None or kept.what == "looping"):
                self._asks.add(path)
            self._inside(inside, path if node.is_scope else prefix, node.mark)


def _asks(node: NodeSpec) -> bool:
    if isinstance(node, PauseSpec):
        return node.asks is not None
    return isinstance(node, DecisionSpec | MapSpec)
