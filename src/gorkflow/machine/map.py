"""A live map: a block whose branches are known once its input is."""

from __future__ import annotations

from collections.abc import Iterable

from gorkflow import events as ev
from gorkflow.events import ListOf, Ref, item_of
from gorkflow.flow import NodeSpec, item_mark
from gorkflow.machine.asking import Asking
from gorkflow.machine.block import BlockFrame
from gorkflow.machine.commands import Expand
from gorkflow.machine.frame import Frame
from gorkflow.model import FailureCode, StepStatus


class MapFrame(Asking, BlockFrame):
    """First asks how many items there are, then runs the body for each."""

    __slots__ = ("keys",)
    answer = ev.Expanded

    def start(self) -> None:
        self.keys: tuple[str, ...] | None = None
        self.enter()
        kept = self.machine.kept.get(self.path)
        if kept is not None and kept.choice is not None:
            self._expand(kept.choice, kept.keys)
            return
        self.machine.enter(self)
        self.ask(Expand(self.path, self.spec, self.input))

    def _expand(self, count: int, keys: tuple[str, ...] | None) -> None:
        self.keys = keys
        self.open(count)

    def _in_order(self, total: int) -> Iterable[int]:
        return super()._in_order(total) if self.machine.kept else range(total)

    def branch(self, index: int) -> NodeSpec:
        body: NodeSpec = self.spec.body
        return body

    def mark(self, index: int) -> str:
        return item_mark(index, self.keys)

    def child_at(self, index: int) -> Frame:
        child = self.make_child(self.spec.body, index, mark=self.mark(index))
        child.input = item_of(self.input, index)
        return child

    def composed(self, values: tuple[Ref, ...]) -> Ref:
        return ListOf(values)

    def answered(self, event: ev.Event) -> None:
        assert isinstance(event, ev.Expanded)
        self._expand(event.count, event.keys)

    def receive(self, event: ev.Event) -> None:
        if self.asking and isinstance(event, ev.TimerFired):
            message = f"map {self.spec.id!r} took longer than {self.spec.timeout:g} s"
            self.withdraw(message)
            failure = self.failure(FailureCode.TIMEOUT, message)
            self.end(StepStatus.FAILED, failures=(failure,))
        else:
            super().receive(event)
