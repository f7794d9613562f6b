"""The commands of the machine to its driver. A command stays open until an event answers it."""

from __future__ import annotations

import re
from math import isfinite
from typing import NamedTuple

from msgspec import Struct

from gorkflow import events as ev
from gorkflow.events import Ref
from gorkflow.flow import DecisionSpec, MapSpec, PauseSpec, StepSpec


class RunStep(Struct, frozen=True):
    """Run an attempt: record ``step_scheduled`` as soon as there is room, then its result."""

    path: str
    spec: StepSpec
    attempt: int
    input: Ref
    failures: int
    """Attempts that failed so far, interrupted ones left aside: what a retry policy counts."""
    ready_at: float
    """When the step became able to run, in seconds since the epoch."""

    def takes(self, event: ev.Event) -> bool:
        """Return whether an event answers it."""
        if type(event) is not ev.StepScheduled:
            return False
        return event.attempt == self.attempt and event.input == self.input


class CancelStep(NamedTuple):
    """Stop the attempt, or the conditions, running at ``path``. Needs no answer."""

    path: str
    attempt: int
    reason: str


class Decide(NamedTuple):
    """Evaluate a choice's conditions in order, or a loop's: ``decided``, or ``step_failed``."""

    path: str
    spec: DecisionSpec
    input: Ref

    def takes(self, event: ev.Event) -> bool:
        """Return whether an event answers it."""
        return isinstance(event, ev.Decided) and 0 <= event.choice <= len(self.spec.conditions)


class Expand(NamedTuple):
    """Count the items of a list, and ask for their keys: ``expanded``, or ``step_failed``."""

    path: str
    spec: MapSpec
    input: Ref

    def takes(self, event: ev.Event) -> bool:
        """Return whether an event answers it."""
        if not isinstance(event, ev.Expanded):
            return False
        return is_expansion(event.count, event.keys, keyed=self.spec.keyed)


class AskTime(NamedTuple):
    """Ask the function of a sleep or wait how long it takes: ``timed``, or ``step_failed``."""

    path: str
    spec: PauseSpec
    input: Ref

    def takes(self, event: ev.Event) -> bool:
        """Return whether an event answers it."""
        if not isinstance(event, ev.Timed):
            return False
        given = [time for time in (event.seconds, event.due) if time is not None]
        if not all(map(isfinite, given)) or (event.seconds or 0) < 0:
            return False
        return len(given) == 1 or (not given and self.spec.may_be_endless)


class AwaitSignal(NamedTuple):
    """Record ``signal_received`` as soon as there is such a signal that no older wait takes."""

    path: str
    signal: str
    """The signal's name."""


class StartTimer(NamedTuple):
    """Record ``timer_fired`` when ``due`` has come."""

    path: str
    key: str
    """Its purpose: ``retry``, ``timeout``, ``deadline``, ``sleep`` or ``wait``."""
    due: float
    """Seconds since the epoch."""
    named: bool = False
    """Whether ``due`` was named as a time of day, which stays what it is when the clock is set."""


class CancelTimer(NamedTuple):
    """Forget the timer. Needs no answer."""

    path: str
    key: str


class FinishRun(NamedTuple):
    """The run has ended; its last event says how."""


Request = Decide | Expand | AskTime
"""The commands that functions of the code answer."""

Question = RunStep | Request | AwaitSignal | StartTimer
"""The commands that stay open until they are answered."""

Command = Question | CancelStep | CancelTimer | FinishRun


_KEY = re.compile(r"[A-Za-z0-9_.~%-]+")


def is_expansion(count: int, keys: tuple[str, ...] | None, *, keyed: bool) -> bool:
    """Return whether a map can have these items."""
    if keys is None:
        return count >= 0 and not keyed
    fit = len(keys) == count == len(set(keys)) and all(map(_KEY.fullmatch, keys))
    return keyed and fit
