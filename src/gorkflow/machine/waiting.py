"""Live nodes that only wait: for a due time, or for a signal. Nothing runs meanwhile."""

from __future__ import annotations

from gorkflow import events as ev
from gorkflow.flow import SleepSpec, WaitSpec
from gorkflow.machine.commands import AwaitSignal, StartTimer
from gorkflow.machine.frame import Frame, Strength
from gorkflow.model import FailureCode, StepStatus
from gorkflow.refs import Default, Ref


class SleepFrame(Frame):
    """Hands its input on once it is due."""

    __slots__ = ()

    def start(self) -> None:
        spec: SleepSpec = self.spec
        if self.path in self.machine.kept:
            self._wake()
            return
        due = self.machine.at + spec.seconds
        self.machine.enter(self)
        self.machine.emit(ev.TimerSet, self.path, "sleep", due)
        self.machine.ask(StartTimer(self.path, "sleep", due))

    def receive(self, event: ev.Event) -> None:
        if isinstance(event, ev.TimerFired):
            self._wake()
        else:
            super().receive(event)

    def _wake(self) -> None:
        self.end(StepStatus.COMPLETED, value=self.input)

    def stop(self, strength: Strength, reason: str) -> None:
        _give_up(self, reason)


class WaitFrame(Frame):
    """Pairs its input with the payload of the signal that it gets."""

    __slots__ = ()

    def start(self) -> None:
        spec: WaitSpec = self.spec
        kept = self.machine.kept.get(self.path)
        if kept is not None:
            self._go_on(kept.seq if kept.has_output else Default(self.path))
            return
        due = None if spec.timeout is None else self.machine.at + spec.timeout
        self.machine.enter(self)
        self.machine.emit(ev.WaitOpened, self.path, spec.signal, spec.schema, due)
        self.machine.ask(AwaitSignal(self.path, spec.signal))
        if due is not None:
            self.machine.ask(StartTimer(self.path, "wait", due))

    def receive(self, event: ev.Event) -> None:
        if isinstance(event, ev.SignalReceived):
            self._go_on(event.seq)
        elif not isinstance(event, ev.TimerFired):
            super().receive(event)
        elif self.spec.default is not None:
            self._go_on(Default(self.path))
        else:
            self._time_out()

    def _go_on(self, payload: Ref) -> None:
        self.end(StepStatus.COMPLETED, value=(self.input, payload))

    def _time_out(self) -> None:
        spec: WaitSpec = self.spec
        message = f"signal {spec.signal!r} did not come within {spec.timeout:g} s"
        failure = self.failure(FailureCode.TIMEOUT, message)
        failed = self.machine.emit(ev.StepFailed, self.path, 0, failure, None, None)
        self.end(StepStatus.FAILED, failures=(failed.seq,))

    def stop(self, strength: Strength, reason: str) -> None:
        _give_up(self, reason)


def _give_up(frame: SleepFrame | WaitFrame, reason: str) -> None:
    """End in either strength of a stop: no work is lost by it."""
    frame.machine.emit(ev.StepCancelled, frame.path, 0, reason)
    frame.end(StepStatus.CANCELLED, reason=reason)
