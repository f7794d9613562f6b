"""A live loop: iterations one after another, and a condition after each."""

from __future__ import annotations

from collections.abc import Iterable

from gorkflow import events as ev
from gorkflow.events import Ended
from gorkflow.flow import LoopSpec, NodeSpec, iteration_mark
from gorkflow.machine.asking import Asking
from gorkflow.machine.commands import Decide
from gorkflow.machine.frame import Frame, Strength
from gorkflow.model import FailureCode, StepStatus


class LoopFrame(Asking):
    """The body, again and again with what it gave, until the condition holds."""

    __slots__ = ("child", "entering", "iteration", "value")
    answer = ev.Decided

    def start(self) -> None:
        self.entering = False
        self.iteration = 0
        self.value = self.input
        self.machine.enter(self)
        self._iterate()

    def _iterate(self) -> None:
        """Run iterations, until one does not end at once or is the last."""
        # A loop, not recursion through child_ended: there may be more than the stack is deep.
        while True:
            self.iteration += 1
            mark = iteration_mark(self.iteration)
            child = self.make_child(self.spec.body, 0, mark=mark)
            child.input = self.value
            self.child: Frame = child
            self.entering = True
            child.start()
            self.entering = False
            if child.live or not self.live or not self._goes_on():
                return

    @property
    def may_ask(self) -> bool:
        return not self.stopping and not self.is_lost

    def inside_answered(self) -> Iterable[Frame]:
        return (self.child,)

    def left(self) -> Iterable[NodeSpec]:
        last = not self.may_ask or self.iteration >= self.spec.max_iterations
        return () if last else (self.spec.body,)

    def place_of(self, child: Frame) -> int:
        return self.iteration

    def child_ended(self, child: Frame, ended: Ended) -> None:
        del self.child  # so that no cycle is left
        if ended.status is not StepStatus.COMPLETED and not ended.optional:
            self.end(ended.status, failures=ended.failures, reason=ended.reason)
            return
        self.value = ended.value
        if not self.entering and self._goes_on():
            self._iterate()

    def _goes_on(self) -> bool:
        """Return whether the next iteration may begin at once; else see to what is next."""
        if self.stopping:
            self.end(StepStatus.CANCELLED, reason=ev.DRAINED)
            return False
        kept = self.machine.kept.get(self.path)
        if kept is not None and kept.choice is not None and self.iteration <= kept.choice:
            return self._judged(held=kept.what == "looped" and self.iteration == kept.choice)
        self.ask(Decide(self.path, self.spec, self.value))
        return False

    def _judged(self, *, held: bool) -> bool:
        """Take the condition's word, and return whether to go on."""
        spec: LoopSpec = self.spec
        if held:
            self.end(StepStatus.COMPLETED, value=self.value)
        elif self.iteration >= spec.max_iterations:
            times = f"{spec.max_iterations} iterations"
            message = f"loop {spec.id!r} ended after {times}: {spec.condition} did not hold"
            failure = self.failure(FailureCode.LOOP_LIMIT, message)
            failed = self.machine.emit(ev.StepFailed, self.path, 0, failure, None, None)
            self.end(StepStatus.FAILED, failures=(failed.seq,))
        return not held and self.live

    def answered(self, event: ev.Event) -> None:
        assert isinstance(event, ev.Decided)
        if self._judged(held=event.choice == 0):
            self._iterate()

    def stop_inside(self, strength: Strength, reason: str) -> None:
        self.stopping = strength
        self.child.stop(strength, reason)
