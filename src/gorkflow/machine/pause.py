"""A live pause: a node that waits for a due time, or for a signal. Nothing runs meanwhile."""

from __future__ import annotations

from typing import Any, ClassVar

from gorkflow import events as ev
from gorkflow.events import Default, Ref
from gorkflow.flow import SleepSpec, WaitSpec
from gorkflow.machine.ask import Asking
from gorkflow.machine.commands import AskTime, AwaitSignal, StartTimer
from gorkflow.machine.frame import Kept, Strength
from gorkflow.model import FailureCode, StepStatus, instant


class Pausing(Asking):
    """A node that begins with a due time, which its spec has, or a function says."""

    __slots__ = ("seconds", "until")
    answer = ev.Timed

    key: ClassVar[str]
    """The seq of its timer."""

    def start(self) -> None:
        spec: SleepSpec | WaitSpec = self.spec
        kept = self.machine.kept.get(self.path)
        if kept is not None:
            self.keep(kept)
            return
        self.machine.enter(self)
        if spec.asks is not None:
            self.ask(AskTime(self.path, spec, self.input))
        else:
            seconds = spec.seconds if isinstance(spec, SleepSpec) else spec.timeout
            self._pause(seconds, spec.until)

    @property
    def status(self) -> StepStatus:
        return StepStatus.PENDING if self.asking else StepStatus.SUSPENDED

    def answered(self, event: ev.Event) -> None:
        assert isinstance(event, ev.Timed)
        self._pause(event.seconds, event.due)

    def _pause(self, seconds: float | None, until: float | None) -> None:
        self.seconds, self.until = seconds, until
        due = until if seconds is None else self.machine.at + seconds
        due = None if due is None else max(due, self.machine.at)
        self.open(due)
        if due is not None:
            self.machine.start_timer(StartTimer(self.path, self.key, due, named=seconds is None))

    def keep(self, kept: Kept) -> None:
        """End at once with what a rerun keeps."""
        raise NotImplementedError

    def open(self, due: float | None) -> None:
        """Begin to wait; ``None``: for any time."""
        raise NotImplementedError

    def stop(self, strength: Strength, reason: str) -> None:
        """End in either strength of a stop: no work is lost by it."""
        if self.asking:
            self.withdraw(reason)
        self.machine.emit(ev.StepCancelled, self.path, 0, reason)
        self.end(StepStatus.CANCELLED, reason=reason)


class SleepFrame(Pausing):
    """Hands its input on once it is due."""

    __slots__ = ()
    key = "sleep"
    keeps = ("slept",)

    def keep(self, kept: Kept) -> None:
        self._wake()

    def open(self, due: float | None) -> None:
        self.machine.emit(ev.TimerSet, self.path, self.key, due)

    def receive(self, event: ev.Event) -> None:
        if isinstance(event, ev.TimerFired):
            self._wake()
        else:
            super().receive(event)

    def _wake(self) -> None:
        self.end(StepStatus.COMPLETED, value=self.input)


class WaitFrame(Pausing):
    """Pairs its input with the payload of the signal that it gets."""

    __slots__ = ()
    key = "wait"
    keeps = ("received",)

    @classmethod
    def fits(cls, spec: Any, result: Kept) -> bool:
        bare = result.choice is None and result.keys is None and not result.state
        return bare and (result.has_output or spec.default is not None)

    @property
    def signal(self) -> str:  # type: ignore[override]
        name: str = self.spec.signal
        return name

    def keep(self, kept: Kept) -> None:
        self._go_on(kept.seq if kept.has_output else Default(self.path))

    def open(self, due: float | None) -> None:
        spec: WaitSpec = self.spec
        self.machine.emit(ev.WaitOpened, self.path, spec.signal, spec.schema, due)
        self.machine.await_signal(AwaitSignal(self.path, spec.signal))

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
        limit = f"within {self.seconds:g} s" if self.until is None else f"by {_moment(self.until)}"
        message = f"signal {self.spec.signal!r} did not arrive {limit}"
        failure = self.failure(FailureCode.TIMEOUT, message)
        failed = self.machine.emit(ev.StepFailed, self.path, 0, failure, None, None)
        self.end(StepStatus.FAILED, failures=(failed.seq,))


def _moment(at: float) -> str:
    return f"{instant(at):%Y-%m-%d %H:%M:%S} UTC"
