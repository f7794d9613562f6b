"""What the machine says, in the words of the reference: symbols instead of ``seq``s."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gorkflow import events as ev
from gorkflow.events import DRAINED, Default, Ended, FailureRef, Item, ListOf, Ref
from gorkflow.machine import AskTime, AwaitSignal, Decide, Expand, Machine, RunStep
from gorkflow.model import Failure, StepStatus

from .reference import Symbol, is_derived, item_symbol


def failure_symbol(history: Sequence[ev.Event], failure: FailureRef) -> Symbol:
    if isinstance(failure, Failure):
        return (failure.code.value, failure.path, failure.attempt)
    event: Any = history[failure - 1]
    assert isinstance(event, ev.StepFailed)
    return (event.failure.code.value, event.path, event.attempt)


def why(reason: str) -> str:
    if "is not retried" in reason:
        return "late"
    return "drained" if reason == DRAINED else "stopped"


def symbol(history: Sequence[ev.Event], ref: Ref) -> Symbol:
    """Follow a reference to what it stands for."""
    while isinstance(ref, int) and isinstance(event := history[ref - 1], ev.BlockDecided):
        ref = event.output
    match ref:
        case None:
            return None
        case tuple():
            return tuple(symbol(history, item) for item in ref)
        case ListOf():
            return ("list", symbol(history, ref.items))
        case Item():
            return item_symbol(symbol(history, ref.of), ref.index)
        case Default():
            return ("default", ref.path)
        case Ended():
            return _outcome_symbol(history, ref)
        case int():
            return _recorded_symbol(history, ref)


def _recorded_symbol(history: Sequence[ev.Event], ref: int) -> Symbol:
    event = history[ref - 1]
    if isinstance(event, ev.RunCreated):
        return "input"
    if isinstance(event, ev.SignalReceived):
        return ("payload", event.path)
    if isinstance(event, ev.ResultKept):
        return ("kept", event.path)
    assert isinstance(event, ev.StepCompleted)
    return ("out", event.path, event.attempt)


def _outcome_symbol(history: Sequence[ev.Event], ended: Ended) -> Symbol:
    if ended.status is StepStatus.COMPLETED:
        return ("completed", ended.path, symbol(history, ended.value))
    if ended.status is StepStatus.FAILED:
        failures = tuple(failure_symbol(history, failure) for failure in ended.failures)
        return ("failed", ended.path, failures)
    return ("cancelled", ended.path, why(ended.reason))


def records(history: Sequence[ev.Event]) -> list[Symbol]:
    """Return what the machine derived, each with the ``seq`` of the event that caused it."""
    found, cause = [], 0
    for event in history:
        if not is_derived(event):
            cause = event.seq
        else:
            found.append((cause, event.kind, event.path, *_details(history, event)))
    return sorted(found, key=repr)


def _details(history: Sequence[ev.Event], event: ev.Event) -> tuple[Symbol, ...]:
    if isinstance(event, ev.StepCancelled):
        stands = None if event.failure is None else failure_symbol(history, event.failure)
        return (event.attempt, why(event.reason), stands)
    if isinstance(event, ev.StepFailed):
        return (event.attempt, event.failure.code.value)
    if isinstance(event, ev.TimerSet):
        return (event.key, event.due)
    if isinstance(event, ev.WaitOpened):
        return (event.signal, event.due)
    if isinstance(event, ev.BlockDecided):
        untold = tuple(failure_symbol(history, failure) for failure in event.failures)
        return (event.verdict, symbol(history, event.output), untold)
    if isinstance(event, ev.UndoStarted):
        failures = tuple(failure_symbol(history, f) for f in event.failures)
        return (event.status.value, failures, event.paths)
    if isinstance(event, ev.RunFinished):
        failures = tuple(failure_symbol(history, f) for f in event.failures)
        return (event.status.value, symbol(history, event.output), failures)
    return ()


def state(machine: Machine, path: str = "") -> dict[str, Any]:
    """Return the state that a step sees; without one, that is seen from outside of all branches."""
    return {key: json.loads(text) for key, text in machine.texts(path).items()}


def sights(machine: Machine) -> dict[str, dict[str, Any]]:
    """Return the state that each step sees that can run or does."""
    paths = [command.path for command in machine.open_commands() if isinstance(command, RunStep)]
    paths += [path for path, _ in machine.running_attempts()]
    return {path: state(machine, path) for path in paths}


def waiters(machine: Machine, signal: str) -> list[str]:
    """Return the paths that wait for a signal, oldest first: the first gets the next one."""
    waits = [each for each in machine.open_commands() if isinstance(each, AwaitSignal)]
    return [wait.path for wait in waits if wait.signal == signal]


def open_symbols(history: Sequence[ev.Event], machine: Machine) -> list[Symbol]:
    """Return what the machine waits for."""
    found: list[Symbol] = [("running", *attempt) for attempt in machine.running_attempts()]
    for command in machine.open_commands():
        if isinstance(command, RunStep):
            given = symbol(history, command.input)
            found.append(("run", command.path, command.attempt, command.failures, given))
        elif isinstance(command, Decide):
            found.append(("decide", command.path, symbol(history, command.input)))
        elif isinstance(command, Expand):
            found.append(("expand", command.path, symbol(history, command.input)))
        elif isinstance(command, AskTime):
            found.append(("time", command.path, symbol(history, command.input)))
        elif isinstance(command, AwaitSignal):
            found.append(("signal", command.path, command.signal))
        else:
            found.append(("timer", command.path, command.key))
    return sorted(found, key=repr)
