"""A run, driven at random by an engine that crashes: events in groups, commits that get lost.

The driver does what the engine does. It performs only what was committed; it feeds what arrives
meanwhile as one group; then the group is committed, or lost together with the process, or committed
without the driver being told. After a loss all it has is the committed history: it replays it,
interrupts the attempts that were open, and goes on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    item_mark,
    iteration_mark,
    template_of,
    walk,
)
from gorkflow.machine import (
    AskTime,
    AwaitSignal,
    Decide,
    Expand,
    Machine,
    RunStep,
    StartTimer,
    replay,
)
from gorkflow.model import Failure, FailureCode, RunStatus
from gorkflow.state_changes import Write

from .generate import SIGNALS, random_tree
from .invariants import Observer
from .reference import Reference
from .symbols import open_symbols, records, sights, state, waiters

RUN = "run"
KEYS = ("incr", "append", "any")
"""Of the state: what is written first under each of them, or either."""
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Weather:
    """How a run's surroundings behave, as probabilities."""

    fails: float
    interrupted: float
    timer: float
    cancelled: float
    deadline: float
    crash: float
    unknown: float
    signal: float = 0.05
    kept: float = 0
    writes: float = 0
    collides: float = 0.1
    """Of the writes, those that may conflict with what other branches write."""


WEATHERS = (
    Weather(fails=0.1, interrupted=0.02, timer=0.3, cancelled=0, deadline=0, crash=0, unknown=0,
            writes=0.7),
    Weather(fails=0.2, interrupted=0.02, timer=0.3, cancelled=0, deadline=0, crash=0.05, unknown=0,
            kept=0.5, writes=0.5, collides=0.3),
    Weather(fails=0.3, interrupted=0.02, timer=0.1, cancelled=0.01, deadline=0, crash=0.05,
            unknown=0, signal=0.3, kept=0.6),
    Weather(fails=0.4, interrupted=0.1, timer=0.3, cancelled=0, deadline=0, crash=0, unknown=0.1,
            writes=0.3, collides=0.6),
    Weather(fails=0.3, interrupted=0.1, timer=0.1, cancelled=0.02, deadline=0.2, crash=0.1,
            unknown=0.1),
    Weather(fails=0.6, interrupted=0.1, timer=0.6, cancelled=0.01, deadline=0.1, crash=0.05,
            unknown=0),
    Weather(fails=0.05, interrupted=0.02, timer=0.1, cancelled=0, deadline=0, crash=0.02, unknown=0,
            writes=0.9, collides=0.6),
    Weather(fails=0.1, interrupted=0.95, timer=0.1, cancelled=0, deadline=0, crash=0.05, unknown=0),
)  # fmt: skip


def a_failure(path: str, attempt: int, code: FailureCode = FailureCode.STEP_FAILED) -> Failure:
    """Return the failure of an attempt."""
    return Failure(
        path=path,
        step_id=path.rpartition("/")[2],
        attempt=attempt,
        code=code,
        type="builtins.ValueError",
        message="no",
        at=_EPOCH,
    )


def snapshot(machine: Machine) -> dict[str, Any]:
    """Return all of a machine's state that anybody can see."""
    return {
        "seq": machine.seq,
        "at": machine.at,
        "status": machine.status,
        "result": machine.result,
        "open": machine.open_commands(),
        "running": machine.running_attempts(),
        "frames": list(machine.frames),
        "waiting": (machine.is_waiting, machine.next_due()),
        "waiters": {signal: machine.next_waiter(signal) for signal in SIGNALS},
        "undoing": machine.undoing,
        "scopes": {path: dict(scope.results) for path, scope in machine.scopes.items()},
        "state": (state(machine), sights(machine)),
    }


class Simulation:
    """One run of a tree, in one weather."""

    def __init__(self, rng: random.Random, tree: WorkflowSpec, weather: Weather) -> None:
        self.rng = rng
        self.tree = tree
        self.weather = weather
        self.history: list[ev.Event] = []
        """What was committed."""
        self.group: list[ev.Event] = []
        """What was fed since the last commit."""
        self.todo: list[Any] = []
        """What the committed history asks for: commands, and running attempts."""
        self.inbox: dict[int, str] = {}
        """The signals that were sent, by message. A crash of the run does not touch them."""
        self.at = 1_700_000_000.0
        self.crashes = 0
        self.machine = Machine(RUN, tree)
        self.observer = Observer(tree)

    def run(self) -> Machine:
        """Drive the run to its end, and return the machine."""
        self._in_one_group(self._create)
        while not self.machine.status.terminal:
            assert self.todo, "the run is stuck"
            assert len(self.history) < 5_000, "the run does not end"
            self._in_one_group(self._some_events)
        self.check_against_reference()
        self._check_replay()
        return self.machine

    # ---- groups and commits ---------------------------------------------------------------

    def _in_one_group(self, feed_some: Callable[[], None]) -> None:
        before = None
        if self.history and self.crashes < 5 and self._chance(self.weather.crash):
            before = snapshot(self.machine)
        feed_some()
        if before is not None:
            self._crash(before)
            return
        self.history += self.group
        self.group = []
        if self._chance(self.weather.unknown):
            self._check_replay()  # whether it was committed is unknown: read it back
        if self._chance(0.1):
            self.check_against_reference()
        self._look_around()

    def _look_around(self) -> None:
        self.todo = [*self.machine.open_commands(), *self.machine.running_attempts()]

    def _crash(self, before: dict[str, Any]) -> None:
        """Lose the group and the process; begin again with what was committed."""
        self.crashes += 1
        self.group = []
        self.machine = replay(RUN, self.tree, self.history)
        assert snapshot(self.machine) == before, "replay leads elsewhere"
        self.observer = Observer(self.tree)
        for event in self.history:
            self.observer.note(event)
        self.observer.cancelled.clear()
        self.observer.open = self.machine.open_commands()
        self.at = self.machine.at
        self._look_around()
        self._in_one_group(self._interrupt_all)

    def _interrupt_all(self) -> None:
        for path, attempt in self.machine.running_attempts():
            if self.machine.expects(path, attempt):
                self.feed(ev.StepInterrupted, path, attempt, "the process died", self._chance(0.8))

    def _check_replay(self) -> None:
        replayed = replay(RUN, self.tree, self.history)
        assert snapshot(replayed) == snapshot(self.machine), "replay leads elsewhere"
        self.machine = replayed
        self.observer.open = replayed.open_commands()

    def check_against_reference(self) -> None:
        """Compare all that the machine said and waits for with the reference."""
        history = self.history + self.group
        reference = Reference(self.tree, history)
        assert records(history) == reference.records()
        assert open_symbols(history, self.machine) == reference.open()
        assert state(self.machine) == reference.state()
        assert sights(self.machine) == reference.sights()

    # ---- events ---------------------------------------------------------------------------

    def feed(self, cls: type[ev.Event], path: str, *fields: object) -> None:
        """Feed an event from outside, and look at what follows from it."""
        self.at += self.rng.choice((0.0, 0.0, 0.001, 0.7))
        make: Callable[..., ev.Event] = cls
        event = make(RUN, self.machine.seq + 1, path, self.at, *fields)
        for each in (event, *self.machine.feed(event)):
            self.observer.note(each)
            self.group.append(each)
        self.observer.check(self.machine, event, self.machine.take_commands())

    def refuses(self, cls: type[ev.Event], path: str, *fields: object) -> None:
        """Check that an event which can't happen is refused, and leaves no trace."""
        make: Callable[..., ev.Event] = cls
        event = make(RUN, self.machine.seq + 1, path, self.at, *fields)
        before = snapshot(self.machine)
        try:
            self.machine.feed(event)
        except HistoryError:
            pass
        else:
            raise AssertionError(f"{event} was taken")
        assert snapshot(self.machine) == before, "a refused event left a trace"

    def _create(self) -> None:
        fields = ("fingerprint", b"{}", None, None, None)
        self.feed(ev.RunCreated, "", *fields, self._writes({}, KEYS[:2]))
        if self._chance(self.weather.cancelled / 2):
            self.feed(ev.CancelRequested, "", "not any more")
            return
        if self.weather.kept:
            self._keep_some()
        deadline = None
        if self._chance(self.weather.deadline):
            deadline = self.at + self.rng.choice((4, 100))
        self.feed(ev.RunStarted, "", deadline)

    def _keep_some(self) -> None:
        """Begin with some results of another run, whichever these are."""
        expanded: dict[str, tuple[Any, ...]] = {}

        def marks(path: str, node: MapSpec | LoopSpec) -> list[str]:
            if isinstance(node, LoopSpec):
                return [iteration_mark(n) for n in range(1, node.max_iterations + 1)]
            count, keys = expanded[path] = self._items(node)
            return [item_mark(index, keys) for index in range(count)]

        for path, node in [*walk(self.tree, marks)]:
            if not self._chance(self.weather.kept):
                continue
            fields = self._result_of(node, expanded.get(path, ()))
            if fields:
                self.feed(ev.ResultKept, path, *fields)
                self.refuses(ev.ResultKept, path, *fields)
                if template_of(path) != path:
                    self.refuses(ev.ResultKept, template_of(path), *fields)
            elif isinstance(node, LoopSpec):
                self.refuses(ev.ResultKept, path, "looping", None, node.max_iterations, 7)
        self.refuses(ev.ResultKept, "nowhere", "completed", b"1", None, 7)
        for path, node in walk(self.tree):
            if isinstance(node, SleepSpec):
                self.refuses(
                    ev.ResultKept, path, "slept", None, None, 7, None, (Write("k", "set", "1"),)
                )

    def _result_of(self, node: NodeSpec, items: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the fields of a result that a node can have; none: it can have none."""
        match node:
            case StepSpec():
                return ("completed", b"1", None, 7, None, self._writes({}, KEYS[:2]))
            case ChoiceSpec():
                return ("decided", None, self.rng.randint(0, len(node.arms)), 7)
            case SleepSpec():
                return ("slept", None, None, 7)
            case WaitSpec():
                payload = None if node.default is not None and self._chance(0.5) else b"1"
                return ("received", payload, None, 7)
            case MapSpec():
                count, keys = items
                return ("expanded", None, count, 7, keys)
            case LoopSpec():
                what = self.rng.choice(("looped", "looping"))
                most = node.max_iterations - (what == "looping")
                return (what, None, self.rng.randint(1, most), 7) if most else ()
        return ()

    def _items(self, spec: MapSpec) -> tuple[int, tuple[str, ...] | None]:
        count = self.rng.choice((0, 1, 2, 2, 3))
        return count, tuple(f"k{n}" for n in range(count)) if spec.keyed else None

    def _send(self, signal: str) -> None:
        self.inbox[len(self.inbox) + 1] = signal

    def _deliver(self) -> None:
        """Give the signals that were sent to those who wait for them."""
        for number, signal in self.inbox.items():
            paths = waiters(self.machine, signal)
            if number not in self._received() and paths:
                for other in paths[1:]:
                    self.refuses(ev.SignalReceived, other, number, b"1")
                self.feed(ev.SignalReceived, paths[0], number, b"1")

    def _received(self) -> set[int]:
        """Return the messages that brought a signal."""
        fed = [*self.history, *self.group]
        return {event.inbox_id for event in fed if isinstance(event, ev.SignalReceived)}

    def _some_events(self) -> None:
        """Feed what a few of the things to do lead to."""
        if self._chance(self.weather.cancelled):
            self.feed(ev.CancelRequested, "", "enough")
        if self._chance(0.03) and self.machine.status is RunStatus.RUNNING:
            by = self.rng.choice((-4096.0, 4096.0))
            self.at += by
            self.feed(ev.ClockSet, "", by)
        if self._chance(self.weather.signal):
            self._send(self.rng.choice(SIGNALS))
        if self._chance(0.5):
            self._deliver()
        number = self.rng.choice((1, 1, 2, 3))
        guards = [item for item in self.todo if _is_guard(item)]
        works = [item for item in self.todo if not _is_guard(item)]
        for item in self.rng.sample(works, min(number, len(works))):
            if not isinstance(item, StartTimer) or self._chance(0.4):
                self._perform(item)
        if guards and (self._chance(self.weather.timer / 4) or not works):
            self._perform(self.rng.choice(guards))
        if self._chance(0.05):
            self._nonsense()

    def _perform(self, item: Any) -> None:
        if type(item) is tuple:
            self._result(*item)
        elif not self.machine.wants(item):
            if not isinstance(item, StartTimer) or (item.path, item.key) not in self.machine.timers:
                self._refuse(item)  # else it was set anew, for the clock was
        elif isinstance(item, AwaitSignal):
            if self._chance(0.3):
                self._send(item.signal)
            self._deliver()
        elif isinstance(item, RunStep):
            self.feed(ev.StepScheduled, item.path, item.attempt, item.input, item.ready_at)
        elif isinstance(item, Decide):
            self._decide(item)
        elif isinstance(item, Expand):
            self._expand(item)
        elif isinstance(item, AskTime):
            self._say(item)
        else:
            self.at = self.at if _is_guard(item) else max(self.at, item.due)
            self.feed(ev.TimerFired, item.path, item.key)

    def _decide(self, item: Decide) -> None:
        if self._chance(self.weather.fails / 3):
            failure = a_failure(item.path, 1, FailureCode.CONDITION)
            self.feed(ev.StepFailed, item.path, 1, failure, None, None)
        else:
            self.feed(ev.Decided, item.path, self.rng.randint(0, len(item.spec.conditions)))

    def _say(self, item: AskTime) -> None:
        if self._chance(self.weather.fails / 3):
            failure = a_failure(item.path, 1, FailureCode.CONDITION)
            self.feed(ev.StepFailed, item.path, 1, failure, None, None)
        else:
            self.feed(ev.Timed, item.path, *self._time(item))

    def _time(self, item: AskTime) -> tuple[float | None, float | None]:
        """Return what the function of a sleep or wait may say."""
        never = isinstance(item.spec, WaitSpec) and self._chance(0.2)
        if never and not item.spec.asks.is_due:
            return None, None
        if item.spec.asks.is_due:
            return None, self.at + self.rng.choice((-50.0, 0.0, 3.0, 8.0))
        return self.rng.choice((0.0, 3.0, 8.0)), None

    def _refuse(self, item: Any) -> None:
        """Answer a command that was withdrawn."""
        if isinstance(item, Decide):
            self.refuses(ev.Decided, item.path, 0)
        elif isinstance(item, Expand):
            self.refuses(ev.Expanded, item.path, *self._items(item.spec))
        elif isinstance(item, AskTime):
            self.refuses(ev.Timed, item.path, 1.0, None)
        elif isinstance(item, StartTimer):
            self.refuses(ev.TimerFired, item.path, item.key)
        elif isinstance(item, AwaitSignal):
            self.refuses(ev.SignalReceived, item.path, 1_000, b"1")
        else:
            self.refuses(ev.StepScheduled, item.path, item.attempt, item.input, item.ready_at)

    def _expand(self, item: Expand) -> None:
        if self._chance(self.weather.fails / 3):
            failure = a_failure(item.path, 1, FailureCode.VALIDATION)
            self.feed(ev.StepFailed, item.path, 1, failure, None, None)
        else:
            self.feed(ev.Expanded, item.path, *self._items(item.spec))

    def _result(self, path: str, attempt: int) -> None:
        if not self.machine.expects(path, attempt):
            self.refuses(ev.StepCompleted, path, attempt, b"1", self.at)
        elif self._chance(self.weather.interrupted):
            self.feed(ev.StepInterrupted, path, attempt, "the worker closed", self._chance(0.8))
        elif self._chance(self.weather.fails):
            delay = self.rng.choice((1.0, 1.0, 5.0, 9.0))
            retry_at = self.at + delay if self._chance(0.5) else None
            unknown = self._chance(0.3)
            failure = a_failure(path, attempt)
            fields = (attempt, failure, self.at, retry_at, self.at, unknown)
            self.feed(ev.StepFailed, path, *fields)
        else:
            writes = self._writes(state(self.machine, path))
            self.feed(ev.StepCompleted, path, attempt, b"1", self.at, None, writes)

    def _writes(self, seen: dict[str, Any], keys: tuple[str, ...] = KEYS) -> tuple[Write, ...]:
        """Return some writes of a step that sees this state: each of a kind that fits it."""
        if not self._chance(self.weather.writes):
            return ()
        chosen = self.rng.sample(keys, self.rng.choice((1, 1, 2)))
        return tuple(self._write(key, seen.get(key)) for key in chosen)

    def _write(self, key: str, value: object) -> Write:
        relative = "incr" if isinstance(value, int) else "append"
        if value is None:
            relative = self.rng.choice(("incr", "append")) if key == "any" else key
        number = self.rng.choice((1, 1, 1, 2))
        op = relative
        if self._chance(self.weather.collides):
            op = self.rng.choice(("set", "set", "delete"))
        if op == "delete":
            return Write(key, op)
        is_list = op == "append" or (op == "set" and relative == "append")
        return Write(key, op, f"[{number}]" if is_list else str(number))

    def _nonsense(self) -> None:
        """Feed something that can't happen now."""
        for item in self.todo:
            if isinstance(item, AskTime):
                self._nonsense_of_time(item)
            elif isinstance(item, RunStep):
                self.refuses(ev.StepScheduled, item.path, item.attempt + 1, item.input, 0.0)
                self.refuses(ev.StepScheduled, item.path, item.attempt, ("other",), 0.0)
                self.refuses(ev.StepCompleted, item.path, item.attempt + 1, b"1", 0.0)
            elif isinstance(item, Decide):
                self.refuses(ev.Decided, item.path, len(item.spec.conditions) + 1)
                self.refuses(ev.Decided, item.path, -1)
                self.refuses(ev.StepScheduled, item.path, 1, None, 0.0)
            elif isinstance(item, Expand):
                keys = ("k", "k") if item.spec.keyed else ("k1", "k2")
                self.refuses(ev.Expanded, item.path, 2, keys)
                self.refuses(ev.Expanded, item.path, 1, ("",) if item.spec.keyed else ("k",))
                self.refuses(ev.Expanded, item.path, -1, None)
                self.refuses(ev.Decided, item.path, 0)
            elif isinstance(item, StartTimer):
                self.refuses(ev.Timed, item.path, 1.0, None)
                self.refuses(ev.TimerFired, item.path, "other")
                self.refuses(ev.StepCompleted, item.path, 9, b"1", 0.0)
            elif isinstance(item, AwaitSignal):
                for number in self._received():
                    self.refuses(ev.SignalReceived, item.path, number, b"1")
            else:
                path, attempt = item
                self.refuses(ev.StepInterrupted, path, attempt + 1, "")
                self.refuses(ev.StepFailed, path, attempt + 1, a_failure(path, 1), None, None)
        self._nonsense_of_the_run()

    def _nonsense_of_the_run(self) -> None:
        self.refuses(ev.RunStarted, "", None)
        self.refuses(ev.SignalReceived, "nowhere", 1_000, b"1")
        for path in self.machine.running:
            self.refuses(ev.SignalReceived, path, 1_000, b"1")
        self.refuses(ev.RunCreated, "", "fingerprint", None)
        self.refuses(ev.StepCompleted, "nowhere", 1, b"1", 0.0)
        self.refuses(ev.StepCancelled, self.rng.choice([*self.observer.homes]), 1, "", None)

    def _nonsense_of_time(self, item: AskTime) -> None:
        times = [(1.0, 1.0), (-1.0, None), (float("nan"), None), (None, float("inf"))]
        if isinstance(item.spec, SleepSpec):
            times.append((None, None))
        for time in times:
            self.refuses(ev.Timed, item.path, *time)
        if self.machine.wants(item):
            self.refuses(ev.TimerFired, item.path, "sleep")
            self.refuses(ev.SignalReceived, item.path, 1_000, b"1")

    def _chance(self, share: float) -> bool:
        return share > 0 and self.rng.random() < share


def _is_guard(item: Any) -> bool:
    return isinstance(item, StartTimer) and item.key not in {"retry", "sleep"}


def simulate(rng: random.Random) -> Simulation:
    """Make a random tree and run it to its end, checking everything."""
    simulation = Simulation(rng, random_tree(rng), rng.choice(WEATHERS))
    simulation.run()
    return simulation
