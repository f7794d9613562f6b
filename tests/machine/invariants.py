"""What must hold after every event, whatever the tree: read off the events, and off the machine."""

from __future__ import annotations

from typing import Any

from gorkflow import events as ev
from gorkflow.flow import (
    MapSpec,
    NodeSpec,
    ParallelSpec,
    StepSpec,
    WorkflowSpec,
    join_path,
    template_of,
    undo_path,
    undone_path,
    walk,
)
from gorkflow.machine import (
    AwaitSignal,
    CancelStep,
    CancelTimer,
    Command,
    FinishRun,
    Machine,
    Request,
    RunStep,
    StartTimer,
)
from gorkflow.machine.commands import Question

from .reference import INTERRUPTIONS, NEVER, is_derived
from .symbols import waiters


class Home:
    """A block or map around a node, and the branch or item of it that the node is in."""

    def __init__(self, path: str, branch: int | str, limit: int | None) -> None:
        self.path = path
        self.branch = branch
        self.limit = limit

    def around(self, path: str) -> Home:
        """Return the home at which a node at this path is, of all that this one stands for."""
        segments, depth = path.split("/"), self.path.count("/")
        here = "/".join([*segments[:depth], self.path.split("/")[depth]])
        return Home(here, segments[depth] if self.branch == "" else self.branch, self.limit)


class Homes:
    """The blocks around every node of a run, by the node's path."""

    def __init__(self, tree: WorkflowSpec) -> None:
        self._templates = homes_of(tree)

    def __getitem__(self, path: str) -> tuple[Home, ...]:
        if undone_path(path) is not None:
            return ()  # whatever was decided of the blocks around, it is undone
        return tuple(home.around(path) for home in self._templates[template_of(path)])

    def __iter__(self):
        return iter(self._templates)


def homes_of(tree: WorkflowSpec) -> dict[str, tuple[Home, ...]]:
    """Return the blocks around every node, by the node's place in the tree."""
    found: dict[str, tuple[Home, ...]] = {"": ()}

    def visit(node: NodeSpec, prefix: str, homes: tuple[Home, ...], mark: str = "") -> None:
        path = join_path(prefix, node.id) + mark
        found[path] = homes
        inner = path if isinstance(node, WorkflowSpec) else prefix
        mark = node.mark
        for number, child in enumerate(node.children()):
            more: tuple[Home, ...] = ()
            if isinstance(node, ParallelSpec):
                more = (Home(path, number, node.max_concurrency),)
            elif isinstance(node, MapSpec):
                more = (Home(path, "", node.max_concurrency),)
            visit(child, inner, homes + more, mark)

    for node in tree.nodes:
        visit(node, "", ())
    return found


_ABOUT_WAITING = (ev.TimerSet, ev.WaitOpened, ev.TimerFired, ev.SignalReceived, ev.ClockSet)


class Observer:
    """Watches one run, event by event."""

    def __init__(self, tree: WorkflowSpec) -> None:
        self.homes = Homes(tree)
        self.nodes = dict(walk(tree))
        self.due: dict[tuple[str, str], float] = {}
        """What was recorded of due times, by path and key."""
        self.seq = 0
        self.at = 0.0
        self.sights: dict[str, dict[str, str]] = {}
        """The state that each running step saw when it was scheduled, by path."""
        self.decided: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        self.running: set[str] = set()
        self.ended: dict[str, ev.Event] = {}
        self.interrupted: dict[str, int] = {}
        self.finished = False
        self.started = False
        self.waits: dict[str, str] = {}
        """The signals that are waited for, by path, oldest first."""
        self.received: set[int] = set()
        self.kept: set[str] = set()
        self.said: dict[str, ev.Timed] = {}
        """What functions said of times, by path."""
        self.undoing: ev.UndoStarted | None = None
        self.open: list[Question] = []
        self.cancelled: list[tuple[str, int]] = []
        """Attempts that were running when they were cancelled, since the last check."""

    def note(self, event: ev.Event) -> None:
        """Take an event of the history."""
        assert event.seq == self.seq + 1, "seq has a gap"
        assert event.at >= self.at or isinstance(event, ev.ClockSet), "time went back"
        assert not self.finished, f"{event.kind} after the run finished"
        self.seq, self.at = event.seq, event.at
        path = event.path
        if isinstance(event, ev.StepScheduled):
            self._scheduled(event)
        elif isinstance(event, ev.StepCompleted | ev.StepFailed | ev.StepInterrupted):
            self._result(event)
        elif isinstance(event, _ABOUT_WAITING):
            self._wait(event)
        elif isinstance(event, ev.Timed | ev.ResultKept):
            self._learn(event)
        elif isinstance(event, ev.RunStarted):
            self.started = True
            self.due["", "deadline"] = event.deadline or NEVER
        elif isinstance(event, ev.StepCancelled | ev.StepSkipped):
            if isinstance(event, ev.StepCancelled) and path in self.running:
                self.running.remove(path)
                self.cancelled.append((path, event.attempt))
            self._end(event)
        elif isinstance(event, ev.BlockDecided):
            assert path not in self.decided, f"block {path} was decided twice"
            self.decided[path] = event.verdict
        elif isinstance(event, ev.UndoStarted | ev.RunFinished):
            self._wind_up(event)

    def _learn(self, event: ev.Timed | ev.ResultKept) -> None:
        if isinstance(event, ev.ResultKept):
            assert not self.started, "a result is kept too late"
            self.kept.add(event.path)
        else:
            assert event.path not in self.said, f"{event.path} is asked twice"
            self.said[event.path] = event

    def _scheduled(self, event: ev.StepScheduled) -> None:
        path = event.path
        assert path not in self.ended, f"{path} starts after its end"
        assert path not in self.running, f"{path} has two attempts at once"
        assert path not in self.kept, f"{path} does again what was kept"
        assert event.attempt == self.attempts.get(path, 0) + 1, f"{path} skips an attempt"
        undoes = undone_path(path)
        if self.undoing is None:
            assert undoes is None, f"{path} undoes what may still be needed"
        else:
            assert undoes in self.undoing.paths, f"{path} starts in a run that has failed"
        for home in self.homes[path]:
            assert home.path not in self.decided, f"{path} starts in decided {home.path}"
        self.attempts[path] = event.attempt
        self.running.add(path)

    def _wind_up(self, event: ev.UndoStarted | ev.RunFinished) -> None:
        if isinstance(event, ev.RunFinished):
            self.finished = True
            assert not self.running, f"attempts without an end: {self.running}"
            self._check_undone(event)
            return
        assert self.undoing is None, "undoes twice"
        assert not self.running, f"undoes while {self.running} run"
        assert event.status.value in {"failed", "cancelled"}
        assert event.paths, "undoes nothing"
        assert not self.kept.intersection(event.paths), "undoes what another run did"
        self.undoing = event

    def _check_undone(self, event: ev.RunFinished) -> None:
        planned = () if self.undoing is None else self.undoing.paths
        for path in planned:
            assert undo_path(path) in self.ended, f"{path} is never undone"
        if self.undoing is not None:
            assert event.status is self.undoing.status
            assert event.failures[: len(self.undoing.failures)] == self.undoing.failures
        elif event.status.value != "completed":
            for path in self.attempts:
                node = self.nodes[template_of(path)]
                undo = node.undo if isinstance(node, StepSpec) else None
                done = isinstance(self.ended.get(path), ev.StepCompleted)
                assert undo is None or not done, f"{path} is not undone"

    def _move_timers(self, by: float) -> None:
        for place, due in self.due.items():
            path, key = place
            said = self.said.get(path, self.nodes.get(template_of(path)))
            named = getattr(said, "due" if isinstance(said, ev.Timed) else "until", None)
            if key in {"sleep", "wait"} and named is not None:
                continue
            if key != "sleep" or by < 0:
                self.due[place] = due + by

    def _wait(
        self,
        event: ev.TimerSet | ev.WaitOpened | ev.TimerFired | ev.SignalReceived | ev.ClockSet,
    ) -> None:
        path = event.path
        if isinstance(event, ev.ClockSet):
            self._move_timers(event.by)
        if isinstance(event, ev.TimerSet | ev.WaitOpened):
            assert path not in self.ended, f"{path} waits after its end"
            guard = isinstance(event, ev.TimerSet) and event.key == "timeout"
            assert guard or path not in self.kept, f"{path} waits for what it has"
            node = self.nodes[template_of(path)]
            assert event.due == _due(self.said.get(path, node), event.at), (
                f"{path} is due at another time"
            )
            if event.due is not None:
                key = event.key if isinstance(event, ev.TimerSet) else "wait"
                self.due[path, key] = event.due
        if isinstance(event, ev.WaitOpened):
            self.waits[path] = event.signal
        elif isinstance(event, ev.SignalReceived):
            signal = self.waits[path]
            oldest = next(waiter for waiter, name in self.waits.items() if name == signal)
            assert path == oldest, f"{path} gets a signal before {oldest}"
            assert event.inbox_id not in self.received, f"{event.inbox_id} is received twice"
            self.received.add(event.inbox_id)
            self._end(event)
        elif isinstance(event, ev.TimerFired) and event.key == "sleep":
            self._end(event)
        elif isinstance(event, ev.TimerFired) and event.key == "wait":
            self.waits.pop(path)  # what follows from it says how the wait ended

    def _result(self, event: ev.StepCompleted | ev.StepFailed | ev.StepInterrupted) -> None:
        path = event.path
        if isinstance(event, ev.StepFailed) and (path not in self.attempts or is_derived(event)):
            self._end(event)  # of a condition or a wait, or after an interruption
            return
        assert path in self.running, f"{path} has a result without an attempt"
        assert event.attempt == self.attempts[path], f"{path} has a result of another attempt"
        self.running.remove(path)
        in_a_row = 0
        if isinstance(event, ev.StepInterrupted):
            in_a_row = self.interrupted.get(path, 0) + event.counts
        self.interrupted[path] = in_a_row
        assert in_a_row <= INTERRUPTIONS + 1, f"{path} is tried for ever"
        if isinstance(event, ev.StepCompleted) or (
            isinstance(event, ev.StepFailed) and event.retry_at is None
        ):
            self._end(event)

    def _end(self, event: ev.Event) -> None:
        assert event.path not in self.ended, f"{event.path} ends twice"
        self.waits.pop(event.path, None)
        self.ended[event.path] = event

    def _check_interruptions(self, machine: Machine) -> None:
        live = {path: n for path, n in self.interrupted.items() if path not in self.ended}
        assert machine.interruptions(died=False) == max(live.values(), default=0)
        both = [live.get(path, 0) + (path in self.running) for path in {*live, *self.running}]
        assert machine.interruptions(died=True) == max(both, default=0)

    def check(self, machine: Machine, event: ev.Event, commands: list[Command]) -> None:
        """Compare what the machine asked for and waits for with what may happen.

        Args:
            machine: after it was fed.
            event: what it was fed.
            commands: what it issued since the last check.
        """
        assert machine.seq == self.seq
        assert machine.status.terminal == self.finished
        for path in self.running:
            timer = machine.deadline(path)
            assert (timer.due if timer else NEVER) == self.deadline(path), f"{path} has longer"
        open_commands, running = machine.open_commands(), machine.running_attempts()
        assert {path for path, _ in running} == self.running
        self._check_sights(machine)
        self._check_interruptions(machine)
        self._check_waiting(machine, open_commands)
        if self.finished:
            assert not open_commands, "commands are open after the finish"
            assert not machine.frames, "frames are live after the finish"
            assert not machine.scopes, "scopes are live after the finish"
        for command in open_commands:
            for home in self.homes[command.path]:
                guard = isinstance(command, StartTimer) and command.key == "timeout"
                verdict = self.decided.get(home.path)
                assert verdict is None or (guard and verdict == "failed"), (
                    f"{command} is open in decided {home.path}"
                )
            assert command.path not in self.ended, f"{command} is open after its step ended"
            if isinstance(command, StartTimer):
                due = self.due.get((command.path, command.key), command.due)
                assert command.due == due, f"{command} is not what was recorded"
                if command.key == "retry":
                    assert due < self.deadline(command.path), f"{command} can't lead to anything"
            if isinstance(command, RunStep):
                row = self.interrupted.get(command.path, 0)
                assert row <= INTERRUPTIONS, f"{command} is open after {row} interruptions"
        for prefix, scope in machine.scopes.items():
            for name, ended in scope.results.items():
                assert ended.path == join_path(prefix, name), f"{ended.path} is seen as {name}"
        self._check_commands(open_commands, event, commands)
        self._check_limits([c.path for c in open_commands] + [path for path, _ in running])

    def _check_sights(self, machine: Machine) -> None:
        """What a step sees of the state stands still while it runs."""
        seen = {path: machine.texts(path) for path in self.running}
        for path, state in seen.items():
            if not path.endswith("~undo"):  # these see each other's
                assert state == self.sights.get(path, state), f"{path} sees something new"
        self.sights = seen

    def deadline(self, path: str) -> float:
        """Return the earliest deadline around a node."""
        if undone_path(path) is not None:
            return NEVER
        around = [home.path for home in self.homes[path]]
        while path:
            path = path.rpartition("/")[0]
            around.append(path)
            around += [home.path for home in self.homes[path]]
        keys = [(each, "timeout") for each in around]
        return min(self.due.get(key, NEVER) for key in [*keys, ("", "deadline")])

    def _check_waiting(self, machine: Machine, open_commands: list[Question]) -> None:
        """Whoever drives may put a run away that only waits, and must wake it in time."""
        work = [c for c in open_commands if isinstance(c, RunStep | Request)]
        live = self.started and not self.finished
        assert machine.is_waiting == (live and not self.running and not work)
        if machine.is_waiting:
            due = [c.due for c in open_commands if isinstance(c, StartTimer)]
            assert machine.next_due() == (min(due) if due else None)
            assert open_commands, "waits for nothing"
        waits = {} if self.finished else self.waits
        for signal in {*waits.values()}:
            paths = [path for path, name in waits.items() if name == signal]
            assert waiters(machine, signal) == paths, f"wrong order for {signal}"
            assert machine.next_waiter(signal) == paths[0]
        asked = {c.path: c.signal for c in open_commands if isinstance(c, AwaitSignal)}
        assert asked == waits

    def _check_commands(
        self,
        open_commands: list[Question],
        event: ev.Event,
        commands: list[Command],
    ) -> None:
        """Whoever drives hears of all that begins to be wanted, and of all that no longer is."""
        assert (FinishRun() in commands) == self.finished
        for attempt in self.cancelled:
            assert any(isinstance(c, CancelStep) and (c.path, c.attempt) == attempt
                       for c in commands), f"{attempt} was not told to stop"  # fmt: skip
        known = {id(command) for command in [*self.open, *commands]}
        assert all(id(command) in known for command in open_commands), "open, but never asked"
        still = {id(command) for command in open_commands}
        for gone in self.open:
            if (
                id(gone) in still
                or _answers(event, gone)
                or isinstance(gone, RunStep | AwaitSignal)
            ):
                continue  # or answered just now; or merely not begun
            if isinstance(gone, StartTimer):
                assert CancelTimer(gone.path, gone.key) in commands, f"{gone} was not withdrawn"
            else:
                assert any(isinstance(c, CancelStep) and c.path == gone.path for c in commands)
        self.open, self.cancelled = open_commands, []

    def _check_limits(self, live: list[str]) -> None:
        branches: dict[str, set[int]] = {}
        for path in live:
            for home in self.homes[path]:
                if home.limit is not None:
                    branches.setdefault(home.path, set()).add(home.branch)
                    assert len(branches[home.path]) <= home.limit, (
                        f"{home.path} has {len(branches[home.path])} live branches"
                    )


def _due(said: Any, now: float) -> float | None:
    """Return when a node is due that begins now, as its spec or a function says."""
    until = getattr(said, "due" if isinstance(said, ev.Timed) else "until", None)
    if until is not None:
        return max(until, now)
    seconds = getattr(said, "seconds" if hasattr(said, "seconds") else "timeout")
    return None if seconds is None else now + seconds


def _answers(event: ev.Event, question: Question) -> bool:
    if isinstance(question, StartTimer):
        fired = isinstance(event, ev.TimerFired) and event.key == question.key
        return fired and event.path == question.path
    return event.path == question.path
