"""A live step: its attempts, one after another."""

from __future__ import annotations

from typing import Any, Literal

from gorkflow import events as ev
from gorkflow.machine.commands import CancelStep, RunStep, StartTimer
from gorkflow.machine.frame import Frame, Kept, Strength
from gorkflow.model import FailureCode, StepStatus
from gorkflow.policy import MAX_INTERRUPTIONS

COMPLETED, CANCELLED, FAILED = StepStatus.COMPLETED, StepStatus.CANCELLED, StepStatus.FAILED


class StepFrame(Frame):
    """A step over all its attempts."""

    __slots__ = ("attempt", "failed_at", "failures", "interruptions", "state")

    keeps = ("completed",)
    state: Literal["ready", "running", "waiting"]

    @classmethod
    def fits(cls, spec: Any, result: Kept) -> bool:  # noqa: ARG003 - for other kinds
        return result.has_output and result.choice is None and result.keys is None

    def start(self) -> None:
        self.attempt = 0
        self.failures = 0
        self.failed_at = 0  # seq of the latest failure
        self.interruptions = 0  # that count, since the latest failure
        machine = self.machine
        if machine.kept and (kept := machine.kept.get(self.path)) is not None:
            self.write(kept.state)
            self.end(COMPLETED, value=kept.seq)
            return
        machine.enter(self)
        self._make_ready()

    def _make_ready(self) -> None:
        self.attempt += 1
        self.state = "ready"
        self.machine.ask(
            RunStep(self.path, self.spec, self.attempt, self.input, self.failures, self.machine.at)
        )

    @property
    def status(self) -> StepStatus:
        if self.state == "running":
            return StepStatus.RUNNING
        return StepStatus.RETRYING if self.failures else StepStatus.PENDING

    def expects(self, attempt: int) -> bool:
        return self.state == "running" and self.attempt == attempt

    def receive(self, event: ev.Event) -> None:
        if type(event) is ev.StepCompleted and self.machine.running.get(self.path) == event.attempt:
            if self.spec.undo is not None:
                self.machine.note_undo(self, event.seq)
            if event.state:
                self.write(event.state)
            self.end(COMPLETED, value=event.seq)
        elif isinstance(event, ev.StepScheduled) and self.state == "ready":
            self.state = "running"
            self.machine.running[self.path] = self.attempt
        elif isinstance(event, ev.StepFailed) and self.expects(event.attempt):
            self._on_failed(event)
        elif isinstance(event, ev.StepInterrupted) and self.expects(event.attempt):
            self._on_interrupted(event)
        elif isinstance(event, ev.TimerFired) and self.state == "waiting":
            self._make_ready()
        else:
            super().receive(event)

    def _on_failed(self, event: ev.StepFailed) -> None:
        del self.machine.running[self.path]
        self.failures += 1
        self.interruptions = 0
        self.failed_at = event.seq
        if event.unknown:
            self._doubt()
        if event.retry_at is None:
            self._fail(event.seq)
        elif self.stopping:
            self._withdraw()
        elif (at := self.machine.passed(event.retry_at)) >= self.due:
            self._withdraw(too_late(self, at))
        else:
            self.state = "waiting"
            self.machine.start_timer(StartTimer(self.path, "retry", event.retry_at))

    def _on_interrupted(self, event: ev.StepInterrupted) -> None:
        del self.machine.running[self.path]
        self.interruptions += event.counts
        self._doubt()
        if self.interruptions > MAX_INTERRUPTIONS:
            self._fail(self._worn_out(event))
        elif self.stopping:
            self._withdraw()
        else:
            self._make_ready()

    def _doubt(self) -> None:
        """Record that an attempt may have done its work; its outcome stays unknown."""
        if self.spec.undo is not None:
            self.machine.note_undo(self, None)

    def _worn_out(self, event: ev.StepInterrupted) -> int:
        """Record that the step can't be tried again, and return the event's ``seq``."""
        failure = self.failure(
            FailureCode.INTERRUPTED,
            f"interrupted {self.interruptions} times in a row, the last time in attempt "
            f"{event.attempt}: {event.reason}; it seems to kill the process it runs in",
            attempt=event.attempt,
        )
        return self.machine.emit(ev.StepFailed, self.path, event.attempt, failure, None, None).seq

    def stop(self, strength: Strength, reason: str) -> None:
        self.stopping = strength
        if strength == "cancel":
            if self.state == "running":
                self._doubt()
                self.machine.command(CancelStep(self.path, self.attempt, reason))
            self._cancel(reason)
        elif self.state != "running":
            self._withdraw()

    def _withdraw(self, late: str = "") -> None:
        """Make no further attempt: the last failure, if any, stands."""
        reason = late or ev.DRAINED
        if not self.failures:
            self._cancel(reason)
            return
        self.machine.emit(ev.StepCancelled, self.path, self.attempt, reason, self.failed_at)
        self._fail(self.failed_at, late)

    def _cancel(self, reason: str) -> None:
        self.machine.emit(ev.StepCancelled, self.path, self.attempt, reason)
        self.end(CANCELLED, reason=reason)

    def _fail(self, failure: int, reason: str = "") -> None:
        optional = self.spec.continue_on_error
        self.end(FAILED, failures=(failure,), reason=reason, optional=optional)


def too_late(frame: Frame, at: float) -> str:
    """Return why no attempt is made at a time after the deadline."""
    guard = frame.guard
    assert guard is not None  # it set the deadline
    if guard.parent is None:
        whose = "the run's deadline"
    else:
        kind = "workflow" if guard.spec.is_scope else "block"
        whose = f"the timeout of {kind} {guard.spec.id!r}"
    return f"{frame.spec.id} is not retried: that would be {at - frame.due:.3g} s after {whose}"
