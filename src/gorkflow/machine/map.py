"""A live map: a block whose branches are known once its input is."""

from __future__ import annotations

from collections.abc import Iterable

from gorkflow import events as ev
from gorkflow.flow import NodeSpec, item_mark
from gorkflow.machine.block import BlockFrame
from gorkflow.machine.commands import CancelStep, Expand
from gorkflow.machine.frame import Strength
from gorkflow.model import FailureCode, StepStatus
from gorkflow.refs import ListOf, Ref, item_of


class MapFrame(BlockFrame):
    """First asks how many items there are, then runs the body for each."""

    __slots__ = ("expanded", "keys")

    def start(self) -> None:
        self.expanded = False
        self.keys: tuple[str, ...] | None = None
        self.enter()
        kept = self.machine.kept.get(self.path)
        if kept is not None and kept.choice is not None:
            self._expand(kept.choice, kept.keys)
            return
        self.machine.enter(self)
        self.machine.ask(Expand(self.path, self.spec, self.input))

    def _expand(self, count: int, keys: tuple[str, ...] | None) -> None:
        self.expanded, self.keys = True, keys
        self.open(count)

    def _in_order(self, total: int) -> Iterable[int]:
        return super()._in_order(total) if self.machine.kept else range(total)

    def branch(self, index: int) -> NodeSpec:
        body: NodeSpec = self.spec.body
        return body

    def mark(self, index: int) -> str:
        return item_mark(index, self.keys)

    def given(self, index: int) -> Ref:
        return item_of(self.input, index)

    def composed(self, values: tuple[Ref, ...]) -> Ref:
        return ListOf(values)

    def expects(self, attempt: int) -> bool:
        return not self.expanded

    def receive(self, event: ev.Event) -> None:
        if self.expanded:
            super().receive(event)
        elif isinstance(event, ev.Expanded):
            self._expand(event.count, event.keys)
        elif isinstance(event, ev.StepFailed) and event.retry_at is None:
            self.end(StepStatus.FAILED, failures=(event.seq,))
        elif isinstance(event, ev.TimerFired):
            message = f"map {self.spec.id!r} took longer than {self.spec.timeout:g} s"
            self.machine.command(CancelStep(self.path, 1, message))
            failure = self.failure(FailureCode.TIMEOUT, message)
            self.end(StepStatus.FAILED, failures=(failure,))
        else:
            super().receive(event)

    def stop(self, strength: Strength, reason: str) -> None:
        if self.expanded:
            super().stop(strength, reason)
            return
        # As with a condition: nothing is lost by it.
        self.stopping = strength
        self.machine.command(CancelStep(self.path, 1, reason))
        self.end(StepStatus.CANCELLED, reason=reason)
