"""A live workflow: nodes one after another, and the scope of their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gorkflow import events as ev
from gorkflow.events import Ended
from gorkflow.flow import NodeSpec, Place
from gorkflow.machine.frame import Frame, Results, Strength
from gorkflow.model import Failure, FailureCode, StepStatus

COMPLETED, CANCELLED, FAILED = StepStatus.COMPLETED, StepStatus.CANCELLED, StepStatus.FAILED


class WorkflowFrame(Frame):
    """Nodes one after another, and the scope in which their ids have a meaning."""

    __slots__ = ("child", "entering", "results", "timeout", "timeout_failure", "value")

    @classmethod
    def is_whole(cls, place: Place, results: Results) -> bool:
        return all(map(results.enter, place.inside()))

    def start(self) -> None:
        self.results: dict[str, Ended] = {}
        self.child: Frame | None = None
        self.timeout_failure: Failure | None = None
        self.entering = False
        self.value = self.input if self.spec.takes_input else None
        self.machine.scopes[self.path] = self
        if self.parent is not None:  # the machine gives the root its deadline
            self.timeout = self.spec.timeout
            if self.timeout is not None:
                self.machine.start_timeout(self, self.timeout)
        self._advance(0)

    def _advance(self, index: int) -> None:
        """Enter nodes from ``index`` on, until one does not end at once."""
        nodes = self.spec.nodes
        # A loop, not recursion through child_ended: a chain may be longer than the stack.
        while index < len(nodes):
            if self.stopping:
                self.end(CANCELLED, reason=ev.DRAINED)
                return
            self.child = child = self.make_child(nodes[index], index, self)
            child.input = self.value
            self.entering = True
            child.start()
            self.entering = False
            if child.live or not self.live:
                return
            index += 1
        self.end(COMPLETED, value=self.value)

    def inside(self) -> Iterable[Frame]:
        return () if self.child is None else (self.child,)

    def left(self) -> Iterable[NodeSpec]:
        begun = 0 if self.child is None else self.child.index + 1
        nodes: Sequence[NodeSpec] = self.spec.nodes
        return () if self.stopping or self.is_lost else nodes[begun:]

    def child_ended(self, child: Frame, ended: Ended) -> None:
        self.child = None
        if self.timeout_failure is not None and ended.status is CANCELLED:
            self.end(FAILED, failures=(self.timeout_failure,))
        elif ended.status is COMPLETED or ended.optional:
            self.value = ended.value
            if not self.entering:
                self._advance(child.index + 1)
        else:
            self.end(ended.status, failures=ended.failures, reason=ended.reason)

    def receive(self, event: ev.Event) -> None:
        if not isinstance(event, ev.TimerFired):
            super().receive(event)
        message = f"workflow {self.spec.id!r} took longer than {self.timeout:g} s"
        self.timeout_failure = self.failure(FailureCode.TIMEOUT, message)
        self.stop("cancel", message)

    def stop(self, strength: Strength, reason: str) -> None:
        self.stopping = strength
        if self.child is not None:
            self.child.stop(strength, reason)
