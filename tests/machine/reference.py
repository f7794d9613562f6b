"""A second opinion on what a history means: slow, not incremental, and built the other way round.

The machine keeps live nodes and pushes every event upwards. Here nothing is live: time is the
``seq`` of the events from outside, and a function asks, for each node, *if it is entered at this
time with this input, and is told to stop at those times, when and how does it end?* A block is
answered in three moves: ask what its branches would do if the block left them alone, find the
moment of its verdict in that, ask again about those that the verdict stops. So a verdict never has
to be kept; it is found anew in the whole history. Written from the design, not from the machine.

Values and failures are symbols, so that they can be compared without knowing any ``seq``:

* ``"input"``, ``("out", path, attempt)``, ``("payload", path)``, ``("kept", path)``,
  ``("default", path)``, ``None``, tuples of these, and the outcomes
  ``("completed", path, value)``, ``("failed", path, failures)`` and ``("cancelled", path, why)``
* of a map: ``("list", items)``, and for an item of another list ``("item", list, number)``
* failures are ``(code, path, attempt)``
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from gorkflow import events as ev
from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    ParallelSpec,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    join_path,
)
from gorkflow.model import FailureCode, StepStatus
from gorkflow.policy import Join
from tests.replacing import replace

COMPLETED, FAILED, CANCELLED = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED
NEVER = float("inf")
DERIVED = (ev.StepCancelled, ev.StepSkipped, ev.TimerSet, ev.WaitOpened, ev.BlockDecided,
           ev.UndoStarted, ev.RunFinished)  # fmt: skip
INTERRUPTIONS = 10

Symbol = Any
Op = tuple[str, str, Any]
"""Something written into the state: the key, how, and the value."""
TAGS = {"out", "payload", "kept", "default", "completed", "failed", "cancelled", "list", "item"}


class Branch(NamedTuple):
    """What runs in a block: of a map, one item."""

    node: NodeSpec
    value: Symbol
    mark: str = ""


class Alone(NamedTuple):
    """The branches of a block that never has a verdict."""

    turns: list[int]
    """In which order they start."""
    starts: list[float]
    lives: list[Life]


def item_symbol(value: Symbol, index: int) -> Symbol:
    """Return an item of a list."""
    known = value
    if isinstance(value, tuple) and value and value[0] in TAGS:
        known = value[1] if value[0] == "list" else None
    if isinstance(known, tuple) and index < len(known):
        return known[index]
    return ("item", value, index)


def is_derived(event: ev.Event) -> bool:
    """Return whether the machine made an event, rather than its surroundings."""
    if isinstance(event, ev.StepFailed):
        return event.attempt == 0 or event.failure.code is FailureCode.INTERRUPTED
    return isinstance(event, DERIVED)


@dataclass(frozen=True)
class Stop:
    """When a node is told to stop, by strength."""

    drain: float = NEVER
    cancel: float = NEVER
    due: float = NEVER
    """The earliest deadline around the node, in seconds: no attempt is made from then on."""
    tick: float = 1 / 64
    """What one event sets off takes no time, but has an order: whoever decides, stops the others
    this much later. Divided again at each block, so all that happens inside, where a few blocks may
    follow each other in the same moment, comes before what follows from it outside; and it all adds
    up to less than one ``seq``."""

    @property
    def first(self) -> float:
        return min(self.drain, self.cancel)

    def why_at(self, told: float) -> str:
        return "stopped" if told == self.cancel else "drained"

    @property
    def why(self) -> str:
        return "drained" if self.drain < self.cancel else "stopped"


@dataclass(frozen=True)
class Life:
    """What becomes of a node that is entered. ``status`` is ``None`` while it has not ended."""

    path: str
    status: StepStatus | None = None
    at: float = NEVER
    value: Symbol = None
    failures: tuple[Symbol, ...] = ()
    why: str = ""
    optional: bool = False
    tolerated: tuple[Symbol, ...] = ()
    """What it failed of, where it counts as completed all the same."""
    records: tuple[Symbol, ...] = ()
    """What must be in the history because of this node: ``(seq of the cause, what, path, …)``."""
    open: tuple[Symbol, ...] = ()
    """What the machine must still be waiting for because of this node."""
    parts: tuple[Life, ...] = ()
    undo: tuple[StepSpec, Symbol] | None = None
    """Of a step that has to be undone, should the run fail: what does that, and with what."""
    room: float = 1
    """How many parts may be undone at a time."""
    delta: tuple[Op, ...] = ()
    """What it leaves in the state around it: everything that was written, in order, but for what
    was dropped. Of a part that is under way: what is seen outside of all branches in it."""
    isolates: bool = False
    """Whether its parts do not see what each other wrote."""

    def gather(self, what: str) -> list[Symbol]:
        """Return ``records`` or ``open`` of this node and all below it."""
        found = list(getattr(self, what))
        for part in self.parts:
            found += part.gather(what)
        return found

    def undoable(self) -> list[Life]:
        """Return the steps that would be undone, in declared order."""
        own = [self] if self.undo is not None else []
        return own + [life for part in self.parts for life in part.undoable()]

    def sights(self, before: tuple[Op, ...] = ()) -> Iterator[tuple[str, Symbol]]:
        """Yield the path of every step that can or does run, and the state that it sees."""
        for what, path, *_ in self.open:
            if what in {"run", "running"}:
                yield path, state_after(before)
        for part in self.parts:
            yield from part.sights(before)
            if not self.isolates:
                before += part.delta

    def outcome(self) -> Symbol:
        if self.status is COMPLETED:
            return ("completed", self.path, self.value)
        if self.status is FAILED:
            return ("failed", self.path, self.failures)
        return ("cancelled", self.path, self.why)


def deltas(parts: Iterable[Life]) -> tuple[Op, ...]:
    """Return what nodes that ran one after another left in the state."""
    return tuple(op for part in parts for op in part.delta)


def state_after(ops: Iterable[Op]) -> dict[str, Any]:
    """Return the state that begins empty, after these operations."""
    state: dict[str, Any] = {}
    for key, op, value in ops:
        if op == "set":
            state[key] = value
        elif op == "delete":
            state.pop(key, None)
        elif op == "incr":
            state[key] = state.get(key, 0) + value
        else:
            state[key] = [*state.get(key, []), *value]
    return state


def conflicting(branches: Iterable[Life]) -> bool:
    """Return whether it matters which of the branches came first."""
    written: dict[str, list[list[Op]]] = {}
    for branch in branches:
        own: dict[str, list[Op]] = {}
        for op in branch.delta:
            own.setdefault(op[0], []).append(op)
        for key, ops in own.items():
            written.setdefault(key, []).append(ops)
    for key, each in written.items():
        kinds = {op for ops in each for _, op, _ in ops}
        if len(each) == 1 or kinds in ({"incr"}, {"append"}):
            continue
        if not all({"set", "delete"} & {op for _, op, _ in ops} for ops in each):
            return True
        left = [state_after(_since_absolute(ops)).get(key) for ops in each]
        if any(value != left[0] for value in left):
            return True
    return False


def _since_absolute(ops: list[Op]) -> list[Op]:
    last = max(number for number, (_, op, _) in enumerate(ops) if op in {"set", "delete"})
    return ops[last:]


def judge(join: Join, statuses: list[StepStatus | None]) -> StepStatus | None:
    """Return the verdict over branches of these statuses (``None``: not ended)."""
    total, open_ = len(statuses), statuses.count(None)
    completed, failed = statuses.count(COMPLETED), statuses.count(FAILED)
    if join.kind in {"settled", "tolerate"}:
        accepted = total
        if join.kind == "tolerate" and join.percent is not None:
            accepted = int(total * Fraction(str(join.percent)) / 100)
        elif join.kind == "tolerate":
            accepted = join.count or 0
        if failed > accepted:
            return FAILED
        return None if open_ else COMPLETED
    wanted = {"all": total, "first": 1}.get(join.kind, join.count or 0)
    if completed >= wanted:
        return COMPLETED
    if failed > total - wanted:
        return FAILED
    return None if open_ else CANCELLED


def _as_if_never_set(history: Iterable[ev.Event]) -> Iterator[ev.Event]:
    """Yield the events with the times that they would have, had the clock never been set."""
    moved = 0.0
    for event in history:
        if isinstance(event, ev.ClockSet):
            moved += event.by
        elif isinstance(event, ev.StepFailed) and event.retry_at is not None:
            yield replace(event, at=event.at - moved, retry_at=event.retry_at - moved)
        else:
            yield replace(event, at=event.at - moved)


class Reference:
    """Everything a history says, worked out from nothing."""

    def __init__(self, tree: WorkflowSpec, history: Iterable[ev.Event]) -> None:
        self.facts: dict[str, list[Any]] = {}
        self.kept: dict[str, ev.ResultKept] = {}
        self.cancel_at = self.started_at = NEVER
        self.due = NEVER
        self.hopeful = False
        """While it is asked what has no work to do: whatever is kept then counts as completed."""
        self.at: dict[int, float] = {}
        self.before: tuple[Op, ...] = ()
        history = list(history)
        self.shown = {event.seq: event.at for event in history}
        """What the clock showed at each event; ``at`` has it as if the clock had never been set."""
        for event in _as_if_never_set(history):
            self.at[event.seq] = event.at
            if isinstance(event, ev.RunCreated):
                self.before = ops_of(event)
            elif isinstance(event, ev.CancelRequested):
                self.cancel_at = min(event.seq, self.cancel_at)
            elif isinstance(event, ev.RunStarted):
                self.started_at = event.seq
                self.due = NEVER if event.deadline is None else event.deadline
            elif isinstance(event, ev.ResultKept):
                self.kept[event.path] = event
            elif not is_derived(event):
                self.facts.setdefault(event.path, []).append(event)
        self.run = self._run(tree)

    def records(self) -> list[Symbol]:
        records = self.run.gather("records")
        return sorted(((int(now), *record) for now, *record in records), key=repr)

    def state(self) -> dict[str, Any]:
        return state_after((*self.before, *self.run.delta))

    def sights(self) -> dict[str, Any]:
        in_the_end = self.state()  # what undo steps see, each other's writes too
        return {
            path: in_the_end if path.endswith("~undo") else seen
            for path, seen in self.run.sights(self.before)
        }

    def open(self) -> list[Symbol]:
        return sorted(self.run.gather("open"), key=repr)

    # ---- nodes ----------------------------------------------------------------------------

    def _run(self, tree: WorkflowSpec) -> Life:
        if self.started_at == NEVER:
            run = Life("", CANCELLED if self.cancel_at < NEVER else None, self.cancel_at)
        else:
            stop = Stop(cancel=self.cancel_at, due=self.due)
            key = "deadline" if self.due < NEVER else None
            run = _in_sequence(self._workflow(tree, "", self.started_at, "input", stop, key))
        undoable = run.undoable()
        if run.status in {FAILED, CANCELLED} and undoable:
            run = self._undone(run, [life.path for life in undoable])
        if run.status is None:
            return run
        end = (run.at, "run_finished", "", run.status.value, run.value, run.failures)
        return replace(run, records=(*run.records, end))

    # ---- undoing --------------------------------------------------------------------------

    def _undone(self, run: Life, paths: list[str]) -> Life:
        """Return the run with its undoing, which puts off its end."""
        assert run.status is not None
        undone = self._undo(run, run.at)
        assert undone is not None
        begun = (run.at, "undo_started", "", run.status.value, run.failures, tuple(paths[::-1]))
        done = [life for life in _flat(undone) if life.status is COMPLETED]
        whole = replace(
            run,
            records=(*run.records, begun),
            parts=(*run.parts, undone),
            delta=run.delta + deltas(sorted(done, key=lambda life: life.at)),
        )
        if undone.status is None:
            return replace(whole, status=None, at=NEVER)
        failed = [life for life in _flat(undone) if life.status is FAILED]
        failures = [life.failures[0] for life in sorted(failed, key=lambda life: life.at)]
        return replace(whole, at=undone.at, failures=(*run.failures, *failures))

    def _undo(self, life: Life, since: float) -> Life | None:
        """Return what becomes of the undoing of a node, entered at this time: its steps' lives.

        ``None``: there is nothing to undo in it.
        """
        if life.undo is not None:
            spec, given = life.undo
            return self._step(spec, f"{life.path}~undo", since, given, Stop())
        slots = [since] * int(min(life.room, len(life.parts)))
        lives: list[Life] = []
        for part in life.parts[::-1]:
            if part.undoable():
                start = heapq.heappop(slots)
                if start == NEVER:
                    lives.append(Life(part.path))
                    heapq.heappush(slots, NEVER)
                    continue
                undone = self._undo(part, start)
                assert undone is not None
                lives.append(undone)
                heapq.heappush(slots, undone.at)
        if not lives:
            return None
        end = max(each.at for each in lives)
        return Life(life.path, None if end == NEVER else COMPLETED, end, parts=tuple(lives))

    def _to_undo(self, spec: StepSpec, path: str, value: Symbol) -> tuple[StepSpec, Symbol] | None:
        """Return what undoes a step, and with what; ``None``: there is no need.

        There is where it completed, and where an attempt was made of which nobody knows how it
        went: it was cut short, or may have worked in spite of its failure.
        """
        if spec.undo is None:
            return None
        facts = self.facts.get(path, ())
        done = [event for event in facts if isinstance(event, ev.StepCompleted)]
        begun = sum(isinstance(event, ev.StepScheduled) for event in facts)
        known = sum(isinstance(event, ev.StepFailed) and not event.unknown for event in facts)
        if not done and begun == known:
            return None
        output = ("out", path, done[0].attempt) if done else None
        if spec.undo.inputs == 0:
            return spec.undo.step, output
        taken = [value]
        if spec.undo.inputs > 1:
            taken = [item_symbol(value, index) for index in range(spec.undo.inputs)]
        return spec.undo.step, (*taken, output)

    def _life(
        self,
        node: NodeSpec,
        prefix: str,
        since: float,
        value: Symbol,
        stop: Stop,
        mark: str = "",
    ) -> Life:
        path = join_path(prefix, node.id) + mark
        if isinstance(node, StepSpec):
            if path in self.kept:
                delta = ops_of(self.kept[path])
                return Life(path, COMPLETED, since, ("kept", path), delta=delta)
            life = self._step(node, path, since, value, stop)
            return replace(life, undo=self._to_undo(node, path, value))
        if isinstance(node, ParallelSpec):
            branches = [Branch(branch, value) for branch in node.branches]
            return self._timed(self._block(node, prefix, since, branches, stop), since, node)
        if isinstance(node, SleepSpec | WaitSpec):
            return self._pause(node, path, since, value, stop)
        compound: Any = {ChoiceSpec: self._choice, LoopSpec: self._loop, MapSpec: self._map}
        if type(node) in compound:
            life = compound[type(node)](node, prefix, since, value, stop)
            life = life if isinstance(node, MapSpec) else _in_sequence(life)
            return self._timed(life, since, node)
        if isinstance(node, WorkflowSpec):
            key = None if node.timeout is None else "timeout"
            life = _in_sequence(self._workflow(node, path, since, value, stop, key))
            return self._timed(life, since, node)
        return Life(path, COMPLETED, since, value)

    def _timed(self, life: Life, since: float, node: NodeSpec) -> Life:
        timeout: float | None = getattr(node, "timeout", None)
        if timeout is None:
            return life
        due = self.shown[int(since)] + timeout
        record = (since, "timer_set", life.path, "timeout", due)
        return replace(life, records=(*life.records, record))

    def _due(self, since: float, timeout: float | None) -> float:
        """Return when a node's time is over; what it was entered by says when that began."""
        return NEVER if timeout is None else self.at[int(since)] + timeout

    def _fired(self, path: str, key: str | None) -> float:
        fired = [
            event.seq
            for event in self.facts.get(path, ())
            if isinstance(event, ev.TimerFired) and event.key == key
        ]
        assert len(fired) <= 1
        return fired[0] if fired else NEVER

    def _step(self, spec: StepSpec, path: str, since: float, value: Symbol, stop: Stop) -> Life:
        """Walk through the step's events, and see between any two whether a stop came first."""
        state, attempt, failures, row = "ready", 0, 0, 0
        last: Symbol = None
        failed = Life(path, FAILED, optional=spec.continue_on_error)
        for event in [*self.facts.get(path, ()), None]:
            now = NEVER if event is None else event.seq
            told = stop.cancel if state == "running" else stop.first
            if told < now:
                number = attempt + (state == "ready")
                return _withdrawn(failed, number, told, last, stop.why_at(told))
            if isinstance(event, ev.StepScheduled):
                assert state == "ready"
                assert event.attempt == attempt + 1
                state, attempt = "running", event.attempt
            elif isinstance(event, ev.StepCompleted):
                return Life(path, COMPLETED, now, ("out", path, attempt), delta=ops_of(event))
            elif isinstance(event, ev.TimerFired):
                state = "ready"
            elif event is not None:
                over, row, last = _unsuccessful(event, row, last)
                if over is not None:
                    records = ()
                    if isinstance(event, ev.StepInterrupted):
                        records = ((now, "step_failed", path, attempt, "interrupted"),)
                    return replace(failed, at=now, failures=(over,), records=records)
                why = "drained" if stop.drain < now else self._too_late(event, stop)
                if why:
                    return _withdrawn(failed, attempt, now, last, why)
                failures += isinstance(event, ev.StepFailed)
                state = "waiting" if isinstance(event, ev.StepFailed) else "ready"
        waits = {
            "ready": ("run", path, attempt + 1, failures, value),
            "running": ("running", path, attempt),
            "waiting": ("timer", path, "retry"),
        }
        return Life(path, open=(waits[state],))

    def _too_late(self, event: ev.Event, stop: Stop) -> str:
        late = isinstance(event, ev.StepFailed) and (event.retry_at or 0) >= stop.due
        return "late" if late else ""

    def _pause(
        self, spec: SleepSpec | WaitSpec, path: str, since: float, value: Symbol, stop: Stop
    ) -> Life:
        """A node that waits: what came first, a stop, its time, or its signal?

        Where a function says the time, the wait begins only with what it said.
        """
        kept, facts = self.kept.get(path), [*self.facts.get(path, ())]
        if kept is not None:
            return _passed(spec, path, since, value, kept)
        said: Any = spec
        if spec.asks is not None:
            said = facts.pop(0) if facts else None
            asked_until = NEVER if said is None else said.seq
            if stop.first < asked_until:
                record = (stop.first, "step_cancelled", path, 0, stop.why, None)
                return Life(path, CANCELLED, stop.first, why=stop.why, records=(record,))
            if said is None:
                return Life(path, open=(("time", path, value),))
            if isinstance(said, ev.StepFailed):
                failure = (said.failure.code.value, path, said.attempt)
                return Life(path, FAILED, said.seq, failures=(failure,))
            since = said.seq
        until = said.due if isinstance(said, ev.Timed) else said.until
        seconds = getattr(said, "timeout" if isinstance(said, WaitSpec) else "seconds")
        began = self.shown[int(since)]
        due = (
            max(until, began) if until is not None else None if seconds is None else began + seconds
        )
        if isinstance(spec, SleepSpec):
            key, opened = "sleep", (since, "timer_set", path, "sleep", due)
            signals: tuple[Symbol, ...] = ()
        else:
            key, opened = "wait", (since, "wait_opened", path, spec.signal, due)
            signals = (("signal", path, spec.signal),)
        timer = () if due is None else (("timer", path, key),)
        event = next(iter(facts), None)
        now = NEVER if event is None else event.seq
        if stop.first < now:
            record = (stop.first, "step_cancelled", path, 0, stop.why, None)
            return Life(path, CANCELLED, stop.first, why=stop.why, records=(opened, record))
        if event is None:
            return Life(path, records=(opened,), open=(*signals, *timer))
        life = _passed(spec, path, now, value, event)
        return replace(life, records=(opened, *life.records))

    def _workflow(
        self,
        spec: WorkflowSpec,
        path: str,
        since: float,
        value: Symbol,
        stop: Stop,
        key: str | None,
    ) -> Life:
        expired = self._fired(path, key)
        due = min(stop.due, self._due(since, spec.timeout if path else None))
        inner = replace(stop, cancel=min(stop.cancel, expired), due=due)
        now, value_now = since, value if spec.takes_input else None
        parts: list[Life] = []
        for number, node in enumerate(spec.nodes):
            if number and stop.drain <= now:
                return Life(path, CANCELLED, now, why="drained", parts=tuple(parts))
            life = self._life(node, path, now, value_now, inner)
            parts.append(life)
            now = life.at
            if life.status is None:
                timer = () if key is None else (("timer", path, key),)
                return Life(path, open=timer, parts=tuple(parts))
            if life.status is CANCELLED and now == expired:
                failures = (("timeout", path, 0),)
                return Life(path, FAILED, now, failures=failures, parts=tuple(parts))
            if life.status is not COMPLETED and not life.optional:
                return Life(
                    path, life.status, now, None, life.failures, life.why, parts=tuple(parts)
                )
            value_now = life.value if life.status is COMPLETED else None
        return Life(path, COMPLETED, now, value_now, parts=tuple(parts))

    def _choice(
        self, spec: ChoiceSpec, prefix: str, since: float, value: Symbol, stop: Stop
    ) -> Life:
        path = join_path(prefix, spec.id)
        event = next(iter(self.facts.get(path, ())), None)
        now = NEVER if event is None else event.seq
        if path in self.kept:
            event, now = self.kept[path], since
        if stop.first < now:
            return Life(path, CANCELLED, stop.first, why=stop.why)
        if event is None:
            return Life(path, open=(("decide", path, value),))
        if isinstance(event, ev.StepFailed):
            failure = (event.failure.code.value, path, event.attempt)
            return Life(path, FAILED, now, failures=(failure,))
        arms = [arm.node for arm in spec.arms] + ([spec.otherwise] if spec.otherwise else [])
        records = tuple(
            (now, "step_skipped", join_path(prefix, node.id))
            for number, node in enumerate(arms)
            if number != event.choice
        )
        if event.choice >= len(arms):
            instead = value if spec.default is None else ("default", path)
            return Life(path, COMPLETED, now, instead, records=records)
        life = self._life(arms[event.choice], prefix, now, value, stop)
        return replace(life, path=path, records=records, open=(), parts=(life,), undo=None, room=1,
                       isolates=False)  # fmt: skip

    def _loop(self, spec: LoopSpec, prefix: str, since: float, value: Symbol, stop: Stop) -> Life:
        """Live through one iteration after another, and ask the history between any two."""
        path = join_path(prefix, spec.id)
        kept, answers = self.kept.get(path), iter(self.facts.get(path, ()))
        now, loop = since, Life(path)
        for number in range(1, spec.max_iterations + 1):
            life = self._life(spec.body, prefix, now, value, stop, f"#{number}")
            loop = replace(loop, parts=(*loop.parts, life))
            now, value = life.at, life.value if life.status is COMPLETED else None
            if life.status is None:
                return loop
            if life.status is not COMPLETED and not life.optional:
                return replace(
                    loop, status=life.status, at=now, failures=life.failures, why=life.why
                )
            if stop.drain <= now:
                return replace(loop, status=CANCELLED, at=now, why="drained")
            if kept is not None and number <= (kept.choice or 0):
                held = kept.what == "looped" and number == kept.choice
            else:
                event = next(answers, None)
                now = NEVER if event is None else event.seq
                if stop.first < now:
                    return replace(loop, status=CANCELLED, at=stop.first, why=stop.why)
                if event is None:
                    return replace(loop, open=(("decide", path, value),))
                if isinstance(event, ev.StepFailed):
                    failure = (event.failure.code.value, path, event.attempt)
                    return replace(loop, status=FAILED, at=now, failures=(failure,))
                held = event.choice == 0
            if held:
                return replace(loop, status=COMPLETED, at=now, value=value)
        record = (now, "step_failed", path, 0, "loop_limit")
        failures = (("loop_limit", path, 0),)
        return replace(loop, status=FAILED, at=now, failures=failures, records=(record,))

    # ---- blocks ---------------------------------------------------------------------------

    def _map(self, spec: MapSpec, prefix: str, since: float, value: Symbol, stop: Stop) -> Life:
        """First how many items there are, then a block of them."""
        path = join_path(prefix, spec.id)
        expired = self._fired(path, "timeout")
        found = [
            event for event in self.facts.get(path, ()) if not isinstance(event, ev.TimerFired)
        ]
        event, now = (found[0], found[0].seq) if found else (None, NEVER)
        count, keys = getattr(event, "count", 0), getattr(event, "keys", None)
        if path in self.kept:
            event, now, keys = self.kept[path], since, self.kept[path].keys
            count = self.kept[path].choice or 0
        if min(stop.first, expired) < now:
            if stop.first < expired:
                return Life(path, CANCELLED, stop.first, why=stop.why)
            return Life(path, FAILED, expired, failures=(("timeout", path, 0),))
        if event is None:
            timer = () if spec.timeout is None else (("timer", path, "timeout"),)
            return Life(path, open=(("expand", path, value), *timer))
        if isinstance(event, ev.StepFailed):
            failure = (event.failure.code.value, path, event.attempt)
            return Life(path, FAILED, now, failures=(failure,))
        items = [
            Branch(
                spec.body, item_symbol(value, index), f"[{index if keys is None else keys[index]}]"
            )
            for index in range(count)
        ]
        due = min(stop.due, self._due(since, spec.timeout))  # also of the time without items
        return self._block(spec, prefix, now, items, replace(stop, due=due))

    def _block(
        self,
        spec: ParallelSpec | MapSpec,
        prefix: str,
        since: float,
        branches: list[Branch],
        stop: Stop,
    ) -> Life:
        path = join_path(prefix, spec.id)
        expired = self._fired(path, "timeout")
        due = min(stop.due, self._due(since, spec.timeout))
        inner = Stop(stop.drain, min(stop.cancel, expired), due, stop.tick / 64)
        alone = self._left_alone(spec, prefix, since, branches, inner)
        verdict, now, ended = self._verdict(spec, since, branches, alone, stop.cancel, expired)
        lives, turns = [*alone.lives], alone.turns
        last = -1 if self.hopeful else max((turns.index(index) for index in ended), default=-1)
        drains = verdict is FAILED and spec.on_failure == "drain"
        told = now + stop.tick
        if drains:
            then = replace(inner, drain=min(told, inner.drain))
        else:
            then = replace(inner, cancel=min(told, inner.cancel))
        for index, branch in enumerate(branches if verdict else ()):
            if index in ended:
                lives[index] = ended[index]
            elif (_event_of(alone.starts[index]), turns.index(index)) < (_event_of(now), last):
                life = self._life(*_begun(branch, prefix, alone.starts[index], then))
                lives[index] = _as_seen(spec, branch.node, life)
            else:
                why = "drained" if drains else "stopped"
                branch_path = join_path(prefix, branch.node.id) + branch.mark
                lives[index] = Life(branch_path, CANCELLED, now, why=why)
        why = "stopped" if now == stop.cancel else "drained"
        return self._block_ended(spec, path, verdict, now, lives, why)

    def _turns(self, prefix: str, since: float, branches: list[Branch]) -> list[int]:
        """Return the order in which branches start: first those that have no work to do."""
        order = list(range(len(branches)))
        if self.hopeful:
            return order
        self.hopeful = True
        lives = [self._life(*_begun(branch, prefix, since, Stop())) for branch in branches]
        self.hopeful = False
        return sorted(order, key=lambda index: lives[index].at > since)

    def _left_alone(
        self,
        spec: ParallelSpec | MapSpec,
        prefix: str,
        since: float,
        branches: list[Branch],
        stop: Stop,
    ) -> Alone:
        """Return what becomes of the branches as if the block never had a verdict."""
        turns = self._turns(prefix, since, branches)
        limit = spec.max_concurrency if not self.hopeful else None
        lives = [self._life(*_begun(branch, prefix, since, stop)) for branch in branches]
        starts = [since] * len(lives)
        slots: list[float] = []  # when each slot in use is given back
        for index in turns:
            branch = branches[index]
            if len(slots) == (limit or NEVER):
                starts[index] = start = heapq.heappop(slots)
                if start >= stop.first:
                    ended = CANCELLED if stop.first < NEVER else None
                    starts[index] = NEVER
                    branch_path = join_path(prefix, branch.node.id) + branch.mark
                    lives[index] = Life(branch_path, ended, stop.first, why=stop.why)
                else:
                    lives[index] = self._life(*_begun(branch, prefix, start, stop))
            heapq.heappush(slots, lives[index].at)
        return Alone(turns, starts, lives)

    def _verdict(
        self,
        spec: ParallelSpec | MapSpec,
        since: float,
        branches: list[Branch],
        alone: Alone,
        cancel: float,
        expired: float,
    ) -> tuple[StepStatus | None, float, dict[int, Life]]:
        """Return the verdict, its time, and the branches whose ends had been counted by then."""
        turns, starts, lives = alone
        # What ends with an event is judged together; then, one by one, what ends as it starts.
        groups: dict[tuple[int, int], list[int]] = {(int(since), -1): []}  # no items, or too few
        for index in sorted(range(len(lives)), key=lambda i: lives[i].at):
            if lives[index].at < cancel:
                instant = _event_of(lives[index].at) == _event_of(starts[index])
                turn = turns.index(index) + 1 if instant else 0
                groups.setdefault((int(lives[index].at), turn), []).append(index)
        ended: dict[int, Life] = {}
        for _, group in sorted(groups.items()):
            now = max((lives[index].at for index in group), default=since)
            for index in group:
                life, branch = lives[index], branches[index].node
                if life.at == expired and life.status is CANCELLED:
                    optional = isinstance(branch, StepSpec) and branch.continue_on_error
                    failures = (("timeout", life.path, 0),)
                    life = replace(life, status=FAILED, failures=failures, optional=optional)
                ended[index] = _as_seen(spec, branch, life)
            statuses = [ended[i].status if i in ended else None for i in range(len(lives))]
            verdict = judge(spec.join, statuses)
            if verdict is not None:
                return COMPLETED if self.hopeful else verdict, now, ended
        return (None if cancel == NEVER else CANCELLED), cancel, ended

    def _block_ended(
        self,
        spec: ParallelSpec | MapSpec,
        path: str,
        verdict: StepStatus | None,
        now: float,
        lives: list[Life],
        why: str,
    ) -> Life:
        open_ = () if spec.timeout is None else (("timer", path, "timeout"),)
        room = spec.max_concurrency or NEVER
        block = Life(path, parts=tuple(lives), open=open_, room=room, isolates=True)
        if verdict is None:
            return block
        taken = [life for life in lives if life.status is COMPLETED]
        if verdict is COMPLETED and not self.hopeful and conflicting(taken):
            return _in_conflict(block, now, self._untold(lives))
        delta = deltas(taken) if verdict is COMPLETED else ()
        output: Symbol = None
        if verdict is COMPLETED:
            output = tuple(life.outcome() for life in lives)
            if spec.join.kind == "all":
                output = tuple(life.value for life in lives)
            elif spec.join.kind == "first":
                output = next((life.value for life in taken), None)
            if isinstance(spec, MapSpec) and spec.join.kind != "first":
                output = ("list", output)
        outcomes = verdict is COMPLETED and spec.join.kind not in {"all", "first"}
        untold = () if outcomes else self._untold(lives, fails=verdict is FAILED)
        record = (now, "block_decided", path, verdict.value, output, untold)
        block = replace(block, records=(record,))
        end = max((life.at for life in lives), default=now)
        if end == NEVER:
            return block
        block = replace(block, status=verdict, at=end, value=output, open=(), delta=delta)
        if verdict is FAILED:
            failures = [f for life in lives if life.status is FAILED for f in life.failures]
            return replace(block, failures=tuple(failures) or (("validation", path, 0),))
        return replace(block, why=why if verdict is CANCELLED else "")

    def _untold(self, lives: Iterable[Life], *, fails: bool = False) -> tuple[Symbol, ...]:
        """Return what branches failed of, as far as no event tells: attempt 0, and no record.

        Without that of which the block fails, if it does: whatever is around it has that.
        """
        return tuple(
            (code, path, attempt)
            for life in lives
            for code, path, attempt in (*(() if fails else life.failures), *life.tolerated)
            if attempt == 0
            and not any(it[1:4] == ("step_failed", path, 0) for it in life.gather("records"))
        )


def _flat(life: Life) -> list[Life]:
    """Return what has no parts, of all below a node."""
    return [leaf for part in life.parts for leaf in _flat(part)] if life.parts else [life]


def _in_conflict(block: Life, now: float, untold: tuple[Symbol, ...]) -> Life:
    """A block whose join was met, by branches that do not go together."""
    path = block.path
    records = (
        (now, "step_failed", path, 0, "state_conflict"),
        (now, "block_decided", path, "failed", None, untold),
    )
    end = max(life.at for life in block.parts)
    failures = (("state_conflict", path, 0),)
    return replace(block, status=FAILED, at=end, failures=failures, records=records, open=())


def _in_sequence(life: Life) -> Life:
    return replace(life, delta=deltas(life.parts))


def ops_of(event: Any) -> tuple[Op, ...]:
    """Return what an event says was written."""
    return tuple(
        (write.key, write.op, json.loads(write.text) if write.text else None)
        for write in event.state
    )


def _event_of(at: float) -> float:
    """Return the time of the event that set off what happens at this time."""
    return at if at == NEVER else int(at)


def _begun(branch: Branch, prefix: str, start: float, stop: Stop) -> tuple[Any, ...]:
    """What to ask for the life of a branch."""
    return branch.node, prefix, start, branch.value, stop, branch.mark


def _as_seen(spec: ParallelSpec | MapSpec, branch: NodeSpec, life: Life) -> Life:
    """What the block makes of a branch's end: only ``all`` lets ``None`` stand in."""
    if spec.join.kind == "all" and isinstance(branch, StepSpec) and life.optional:
        return replace(
            life,
            status=COMPLETED,
            value=None,
            failures=(),
            optional=False,
            tolerated=life.failures,
        )
    return life


def _unsuccessful(event: Any, row: int, last: Symbol) -> tuple[Symbol, int, Symbol]:
    """Return the failure that ends the step, the deaths in a row, the last failure."""
    if isinstance(event, ev.StepInterrupted) and not event.counts:
        return None, row, last
    if isinstance(event, ev.StepInterrupted):
        over = ("interrupted", event.path, event.attempt) if row == INTERRUPTIONS else None
        return over, row + 1, last
    failure = (event.failure.code.value, event.path, event.attempt)
    return (failure if event.retry_at is None else None), 0, failure


def _withdrawn(failed: Life, attempt: int, now: float, last: Symbol, why: str) -> Life:
    """A step that was stopped: only a cancel does not leave the last failure standing."""
    stands = None if why == "stopped" else last
    record = (now, "step_cancelled", failed.path, attempt, why, stands)
    if stands is not None:
        return replace(failed, at=now, failures=(stands,), records=(record,))
    return Life(failed.path, CANCELLED, now, why=why, records=(record,))


def _passed(spec: SleepSpec | WaitSpec, path: str, now: float, value: Symbol, event: Any) -> Life:
    """A sleep or wait that was not stopped, and what ended it."""
    if isinstance(spec, SleepSpec):
        assert not isinstance(event, ev.SignalReceived)
        return Life(path, COMPLETED, now, value)
    if isinstance(event, ev.SignalReceived):
        return Life(path, COMPLETED, now, (value, ("payload", path)))
    if isinstance(event, ev.ResultKept) and event.output is not None:
        return Life(path, COMPLETED, now, (value, ("kept", path)))
    if spec.default is not None:
        return Life(path, COMPLETED, now, (value, ("default", path)))
    record = (now, "step_failed", path, 0, "timeout")
    return Life(path, FAILED, now, failures=(("timeout", path, 0),), records=(record,))
