"""Drives a machine by hand, for tests that read like a story."""

from __future__ import annotations

from typing import Any

from gorkflow import events as ev
from gorkflow.engine._reads import Shown
from gorkflow.engine._values import Values
from gorkflow.flow import (
    ArmSpec,
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
from gorkflow.machine import Machine, RunStep, replay
from gorkflow.model import FailureCode, StepStatus
from gorkflow.policy import Join

from .invariants import Observer
from .simulation import RUN, a_failure, snapshot
from .symbols import failure_symbol, symbol

COMPLETED, FAILED, CANCELLED = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED


def step(name: str, *, continue_on_error: bool = False) -> StepSpec:
    return StepSpec(id=name, name=name, continue_on_error=continue_on_error)


def passthrough(name: str) -> PassthroughSpec:
    return PassthroughSpec(id=name)


def sleep(name: str, seconds: float = 60.0) -> SleepSpec:
    return SleepSpec(id=name, seconds=seconds)


def wait(name: str, signal: str = "go", **options: Any) -> WaitSpec:
    return WaitSpec(id=name, signal=signal, schema="s", **options)


def chain(name: str, *nodes: NodeSpec, timeout: float | None = None) -> WorkflowSpec:
    return WorkflowSpec(id=name, nodes=nodes, timeout=timeout)


def block(*branches: NodeSpec, join: Join | str = "all", **options: Any) -> ParallelSpec:
    rule = Join(join) if isinstance(join, str) else join  # type: ignore[arg-type]
    options.setdefault("id", f"&{branches[0].id}")
    return ParallelSpec(branches=branches, join=rule, **options)


def choice(name: str, *arms: NodeSpec, **options: Any) -> ChoiceSpec:
    conditions = tuple(ArmSpec(condition=f"is_{arm.id}", node=arm) for arm in arms)
    return ChoiceSpec(id=name, arms=conditions, **options)


def mapped(body: NodeSpec, *, join: Join | str = "all", **options: Any) -> MapSpec:
    rule = Join(join) if isinstance(join, str) else join  # type: ignore[arg-type]
    options.setdefault("id", f"*{body.id}")
    return MapSpec(body=body, join=rule, **options)


def loop(body: NodeSpec, times: int = 3) -> LoopSpec:
    return LoopSpec(id=f"@{body.id}", body=body, condition="is_done", max_iterations=times)


class Drive:
    """A run of these nodes, one after another, and everything that happened in it."""

    def __init__(
        self,
        *nodes: NodeSpec,
        deadline: float | None = None,
        kept: dict[str, tuple[object, ...]] | None = None,
        tree: WorkflowSpec | None = None,
    ) -> None:
        self.tree = tree or WorkflowSpec(id="run", nodes=nodes)
        self.machine = Machine(RUN, self.tree)
        self.observer = Observer(self.tree)
        self.history: list[ev.Event] = []
        self.at = 1_000.0
        self.feed(ev.RunCreated, "", "fingerprint", b"{}")
        for path, fields in (kept or {}).items():
            self.feed(ev.ResultKept, path, *fields)
        self.feed(ev.RunStarted, "", None if deadline is None else self.at + deadline)

    # ---- what happens ---------------------------------------------------------------------

    def feed(self, cls: Any, path: str, *fields: object) -> list[ev.Event]:
        """Feed an event; return what follows from it."""
        event = cls(RUN, self.machine.seq + 1, path, self.at, *fields)
        derived = self.machine.feed(event)
        for each in (event, *derived):
            self.observer.note(each)
            self.history.append(each)
        self.observer.check(self.machine, event, self.machine.take_commands())
        return derived

    def begin(self, *paths: str) -> None:
        """Schedule these steps, or all that are ready."""
        for command in self.machine.open_commands():
            if isinstance(command, RunStep) and (not paths or command.path in paths):
                fields = (command.attempt, command.input, command.ready_at)
                self.feed(ev.StepScheduled, command.path, *fields)

    def complete(self, path: str) -> list[ev.Event]:
        return self.feed(ev.StepCompleted, path, self.attempt(path), b"1", self.at)

    def fail(
        self, path: str, *, retry: bool | float = False, unknown: bool = False
    ) -> list[ev.Event]:
        attempt = self.attempt(path)
        retry_at = self.at + retry if retry else None
        failure = a_failure(path, attempt)
        fields = (attempt, failure, self.at, retry_at, self.at, unknown)
        return self.feed(ev.StepFailed, path, *fields)

    def interrupt(self, path: str, *, counts: bool = True) -> list[ev.Event]:
        return self.feed(ev.StepInterrupted, path, self.attempt(path), "gone", counts)

    def fire(self, path: str, key: str = "timeout") -> list[ev.Event]:
        return self.feed(ev.TimerFired, path, key)

    def receive(self, path: str, inbox_id: int = 1) -> list[ev.Event]:
        return self.feed(ev.SignalReceived, path, inbox_id, b'"now"')

    def decide(self, path: str, number: int) -> list[ev.Event]:
        return self.feed(ev.Decided, path, number)

    def expand(self, path: str, count: int, *keys: str) -> list[ev.Event]:
        return self.feed(ev.Expanded, path, count, keys or None)

    def condition_fails(self, path: str) -> list[ev.Event]:
        failure = a_failure(path, 1, FailureCode.CONDITION)
        return self.feed(ev.StepFailed, path, 1, failure, None, None)

    def cancel(self, reason: str = "enough") -> list[ev.Event]:
        return self.feed(ev.CancelRequested, "", reason)

    def do(self, path: str, outcome: StepStatus) -> list[ev.Event]:
        return self.complete(path) if outcome is COMPLETED else self.fail(path)

    # ---- what it led to -------------------------------------------------------------------

    def attempt(self, path: str) -> int:
        return dict(self.machine.running_attempts())[path]

    @property
    def values(self) -> Shown:
        """The recorded values, as plain data."""
        values = Values(RUN, None, self.tree)
        values.note(self.history)
        return Shown(values)

    @property
    def ready(self) -> list[str]:
        return [c.path for c in self.machine.open_commands() if isinstance(c, RunStep)]

    @property
    def running(self) -> list[str]:
        return [path for path, _ in self.machine.running_attempts()]

    @property
    def status(self) -> str:
        return self.machine.status.value

    def verdict(self, path: str) -> ev.BlockDecided | None:
        found = [e for e in self.history if isinstance(e, ev.BlockDecided) and e.path == path]
        return found[0] if found else None

    @property
    def cancelled(self) -> dict[str, str]:
        """The steps that were cancelled, each with the reason."""
        return {e.path: e.reason for e in self.history if isinstance(e, ev.StepCancelled)}

    @property
    def skipped(self) -> dict[str, str]:
        return {e.path: e.reason for e in self.history if isinstance(e, ev.StepSkipped)}

    @property
    def finish(self) -> ev.RunFinished:
        last = self.history[-1]
        assert isinstance(last, ev.RunFinished)
        return last

    @property
    def output(self) -> Any:
        return symbol(self.history, self.finish.output)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """The failures of the run, as codes and paths."""
        return [failure_symbol(self.history, f)[:2] for f in self.finish.failures]

    def replays(self) -> None:
        """Check that the history leads to where the machine is."""
        assert snapshot(replay(RUN, self.tree, self.history)) == snapshot(self.machine)


def out(path: str, attempt: int = 1) -> tuple[str, str, int]:
    """Return the symbol for what an attempt gave."""
    return ("out", path, attempt)
