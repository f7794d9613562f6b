"""The driver of a live run: feeds its machine, has transitions written, performs commands.

The cycle: results gather in the inbox; the committer asks for a ``transition``; what gathered is
fed to the machine as one group; the events, with all that follows from them, become one append;
once that is durable, ``committed`` performs the commands. At most one append is in flight, and what
a later event of the group withdrew is never performed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, assert_never

from gorkflow import events as ev
from gorkflow.engine._attempt import Attempt
from gorkflow.engine._call import Answer
from gorkflow.engine._decision import evaluate
from gorkflow.engine._handlers import Handlers
from gorkflow.engine._row import NOT_RECORDED, log_end, refusal, summary
from gorkflow.engine._sync import Promise
from gorkflow.engine._timers import Timers
from gorkflow.flow import UNDO
from gorkflow.machine import (
    AskTime,
    AwaitSignal,
    CancelStep,
    CancelTimer,
    Command,
    Decide,
    Expand,
    FinishRun,
    RunStep,
    StartTimer,
)
from gorkflow.model import RunStatus
from gorkflow.store import Append, NewRun, RunRow, Written

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Iterable, Sequence

    from gorkflow.engine._asleep import RunState
    from gorkflow.engine._call import Call
    from gorkflow.engine._observer import Activations
    from gorkflow.engine._runtime import Runtime
    from gorkflow.store import Message

logger = logging.getLogger("gorkflow.run")

Inbound = tuple["Callable[..., ev.Event]", str, int | None, tuple[Any, ...]]
_TOO_LATE = "run %r: the result of %r, attempt %d, came too late"
NAP = 5.0
"""Seconds of nothing but waiting up to which a run stays in the process."""


class Driver:
    """A run that this engine runs.

    Args:
        runtime: the parts that all runs of the engine share.
        row: the run's summary, as the store has it, or will have it.
        run: its state.
        context: the context variables that its handlers see.
        opening: for a run that the store doesn't have yet: its first events, as ``post`` has them.
    """

    on_end: Callable[[Driver], None] | None = None
    """Called once, when it has nothing more to do."""

    def __init__(
        self,
        runtime: Runtime,
        row: RunRow,
        run: RunState,
        context: contextvars.Context,
        *,
        opening: list[Inbound] | None = None,
    ) -> None:
        self.runtime = runtime
        self.row = row
        self.run = run
        self.run_id = row.run_id
        self.definition = run.definition
        self.machine = run.machine
        self.values = run.values
        self.mail = run.mail
        self.context = context
        self.defined_at = row.created_at if run.defined_at is None else run.defined_at
        self.admitted: list[RunStep] = []
        """Steps that waited for their slots and got them."""
        self.created: Promise[BaseException | None] = Promise()
        """Resolved when the run is durable, or with why it can't be."""
        self.done: Promise[BaseException | None] = Promise()
        """Resolved when the run has ended or is suspended, or with why it can't run on here."""
        self.noted: tuple[Promise[None], ...] = ()  # resolved when what was fed so far is durable
        self.opening = opening  # until it is recorded
        self._inbox: list[Inbound] = [*(opening or ())]
        self._todo: list[Command] = []
        # A new run is submitted by who starts it, when all is posted that comes first.
        self._submitted = opening is not None
        self._writing = self._more_mail = False
        self.trace = row.trace
        self.observed: Activations | None = None
        if runtime.observers is not None:
            self.observed = runtime.observers.activation(row, context)
            self.trace = self.observed.trace(row.trace)
        self._news: Sequence[ev.Event] = ()  # for the observers, while they are being written
        self.begun = False
        """Whether it had its turn; until then, it can only be cancelled."""
        self._calls: dict[str, Call] = {}
        self.handlers = Handlers(runtime.loop, context)
        self.timers = Timers(runtime.clock)
        if opening is None:
            self.created.set_result(None)

    # ---- in -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a new run, or continue one: it has its turn."""
        self.begun = True
        if self.observed is not None:
            self.observed.begin(self.runtime.clock.now(), self.context)
            self.trace = self.observed.trace(self.row.trace)
        if self.machine.status is not RunStatus.PENDING:
            self.resume()
            return
        timeout = self.run.timeout
        deadline = None if timeout is None else self.runtime.clock.now() + timeout
        self.post(ev.RunStarted, "", None, (deadline,))

    def post(
        self,
        event: Callable[..., ev.Event],
        path: str,
        attempt: int | None,
        fields: tuple[Any, ...],
        *,
        last: bool = False,
    ) -> None:
        """Have an event recorded, if it is still of interest by then.

        Args:
            event: its class.
            path: where it happened.
            attempt: the attempt it is the result of; ``None`` where it is not a result.
            fields: what follows ``at`` in the event.
            last: whether that is the last act of a task or callback.
        """
        self._inbox.append((event, path, attempt, fields))
        self.submit(last=last)

    def receive(self, messages: Iterable[Message]) -> None:
        """Take in what was sent to the run. Messages it knows already are passed over."""
        if self.mail.put(messages):
            self._more_mail = True  # where a transition is being written, the next one reads it
            self.submit()

    def submit(self, *, last: bool = False) -> None:
        """Ask for a transition to be written; see ``post``."""
        if self.done.is_set or self._writing:
            return
        if last and not self._calls:  # else theirs may join it
            self._submitted = True
            self.runtime.committer.commit(self)
        elif not self._submitted:
            self._submitted = True
            self.runtime.committer.submit(self)

    def resume(self) -> None:
        """Continue a run that was replayed: interrupt what was open, do what remains."""
        died = self.row.orphaned
        reason = "the process that ran it is gone" if died else "its worker had released the run"
        for path, attempt in self.machine.running_attempts():
            self.post(ev.StepInterrupted, path, attempt, (attempt, reason, died))
        for command in self.machine.open_commands():
            if not isinstance(command, RunStep):
                self.perform(command)
            elif self.runtime.admission.admit(self, command):
                self.admitted.append(command)
        if self.admitted or self.machine.is_waiting:
            self.submit()

    def granted(self, command: RunStep) -> None:
        """Start a step that waited for its slots."""
        self.admitted.append(command)
        self.submit()

    def wants(self, command: RunStep) -> bool:
        """Return whether a step that waits for its slots still should run."""
        return not self.done.is_set and self.machine.wants(command)

    # ---- a transition ---------------------------------------------------------------------

    def transition(self) -> NewRun | Append | None:
        """Feed what has gathered, and return what is to be written; ``None``: nothing."""
        if self.done.is_set:
            return None
        machine = self.machine
        before = machine.seq
        events: list[ev.Event] = []
        now = self._look_at_the_clock(events)
        inbox, self._inbox = self._inbox, []
        for event, path, attempt, fields in inbox:
            if attempt is not None:
                if not machine.expects(path, attempt):
                    logger.info(_TOO_LATE, self.run_id, path, attempt)
                    continue
            elif self._is_void(event, path, fields):
                continue
            fed = event(self.run_id, machine.seq + 1, path, now, *fields)
            events.append(fed)
            events += machine.feed(fed)
        self._more_mail = False
        if self.mail.unread:
            for sent in self.mail.events(now, signals=self.begun):
                events += [sent, *machine.feed(sent)]
        self._schedule(events, now)
        rests = self._rests(now)
        leaves = rests and self.runtime.recovers
        if not events and not leaves:
            self._submitted = False
            return None
        self._writing = True
        self.values.note(events)
        self._news = () if self.observed is None else events
        row = summary(
            self.row, self.run, now, rests=rests, leaves=leaves, begun=self.begun, trace=self.trace
        )
        changed, self.row = row is not self.row, row
        if self.opening is not None:
            return NewRun(row, self.definition.text, events)
        return Append(row, events, before, self.mail.taken(), changed)

    def _look_at_the_clock(self, events: list[ev.Event]) -> float:
        """Return the time, and have the machine know if that was set."""
        now, by = self.timers.look(self.machine.at)
        if by and self.machine.status is RunStatus.RUNNING:
            events.append(ev.ClockSet(self.run_id, self.machine.seq + 1, "", now, by))
            events += self.machine.feed(events[-1])
        return max(now, self.machine.at)

    def _is_void(self, event: Any, path: str, fields: tuple[Any, ...]) -> bool:
        if event is ev.TimerFired:
            return (path, fields[0]) not in self.machine.timers
        return self.machine.status.terminal

    def _rests(self, now: float) -> bool:
        """Return whether there is nothing to do but wait, and that for long."""
        machine = self.machine
        if self._calls or self.admitted or not self.begun or not machine.is_waiting:
            return False
        due = machine.next_due()
        return due is None or due > now + NAP

    def _schedule(self, events: list[ev.Event], now: float) -> None:
        """Record every step that has its slots as scheduled, and keep the other commands."""
        machine = self.machine
        self._admit()
        while machine.timers and self._meet_deadlines(events, now):
            self._admit()
        if not self.admitted:
            return
        admitted, self.admitted = self.admitted, []
        for command in admitted:
            if machine.wants(command) and not self.runtime.closing:
                self._use_up(command, events, now)
            else:
                self.runtime.admission.release(command)

    def _admit(self) -> None:
        machine, runtime = self.machine, self.runtime
        commands = machine.take_commands()
        if not self.begun:
            return  # it was cancelled, and has something to undo: ``resume`` sees to that
        for asked in commands:
            if not isinstance(asked, RunStep):
                if machine.wants(asked):
                    self._todo.append(asked)
            elif not runtime.closing and runtime.admission.admit(self, asked):
                self.admitted.append(asked)  # if it is wanted, which is seen next

    def _meet_deadlines(self, events: list[ev.Event], now: float) -> bool:
        """Let the deadlines that have passed stop what would start now; return whether one did."""
        fired = False  # by their timers, which come a moment later where the process was stopped
        for command in self.admitted:
            deadline = self.machine.deadline(command.path)
            if deadline is not None and deadline.due <= now:
                fired = True
                seq = self.machine.seq + 1
                event = ev.TimerFired(self.run_id, seq, deadline.path, now, deadline.key)
                events += [event, *self.machine.feed(event)]
        return fired

    def _use_up(self, command: RunStep, events: list[ev.Event], now: float) -> None:
        event = ev.StepScheduled(
            self.run_id,
            self.machine.seq + 1,
            command.path,
            now,
            command.attempt,
            command.input,
            command.ready_at,
            tuple([limit.name for limit in command.spec.limits]) if command.spec.limits else (),
        )
        self._todo.append(command)  # from here on it is the list that holds the slots
        events.append(event)
        self.machine.feed(event)

    # ---- after it -------------------------------------------------------------------------

    def committed(self, written: Written) -> None:
        """Continue, now that the store has answered."""
        self._submitted = self._writing = False
        error = None if written is Written.OK else refusal(self.row, written)
        if not self.created.is_set:
            self.created.set_result(error)
        if self.done.is_set:
            return  # given up while it was being written
        if error is not None:
            self.broken(error)
            return
        self.opening = None
        if self.noted or self.observed is not None:
            self._announce()
        self._todo.reverse()
        while self._todo:
            self.perform(self._todo.pop())
        self.runtime.changed(self.run_id)
        if self.machine.status.terminal:
            log_end(self.row)
            self.close()
        elif self.row.worker_id is None:
            self.close()  # queued, or suspended: whoever claims it goes on with it
        elif self._more_mail or self._inbox or self.admitted or self.timers.are_off:
            self.submit()

    def _announce(self) -> None:
        """Have those know what is durable now who asked for it."""
        if self.observed is not None:
            self.observed.recorded(self.row, self._news, self.values.redaction)
            self._news = ()
        for promise in self.noted:
            promise.set_result(None)
        self.noted = ()

    def perform(self, command: Command) -> None:
        """Do what the machine asked for."""
        match command:
            case RunStep():
                self._start(Attempt(self, command))
            case CancelStep():
                running = self._calls.get(command.path)
                if running is not None:
                    running.cancel()
            case Decide() | Expand() | AskTime():
                self._calls[command.path] = evaluate(self, command)
            case StartTimer():
                self.timers.set(command, self._fire)
            case CancelTimer():
                self.timers.cancel(command.path, command.key)
            case AwaitSignal() | FinishRun():
                pass  # the machine knows who waits, and its status says that it is over
            case _:
                assert_never(command)

    def _start(self, attempt: Attempt) -> None:
        """Start an attempt; an undo step once the handler has ended that it undoes."""
        self._calls[attempt.path] = attempt
        before = (
            self._calls.get(attempt.path[: -len(UNDO)]) if attempt.path.endswith(UNDO) else None
        )
        if isinstance(before, Attempt):
            before.then = attempt.start_late
        else:
            attempt.start()

    def _fire(self, path: str, key: str) -> None:
        self.post(ev.TimerFired, path, None, (key,))

    def clock_was_set(self, by: float) -> None:
        """Note that the time of day was set, by so many seconds."""
        self.timers.clock_was_set(by)
        self.submit()

    def ended(self, call: Call, answer: Answer | BaseException | None) -> None:
        """Take how a call ended, and have that recorded."""
        if self._calls.get(call.path) is call:
            del self._calls[call.path]
        if call.then is not None:
            call.then()
        if isinstance(answer, Answer):
            self.post(answer.event, call.path, call.attempt, answer.fields, last=True)
        elif answer is not None:
            self.broken(answer)
        elif not self._calls and self.machine.is_waiting:
            self.submit()  # it was all that kept the run from being suspended

    @property
    def busy(self) -> bool:
        """Whether a handler is running or something is being written."""
        return bool(self._calls) or self._submitted

    # ---- the end --------------------------------------------------------------------------

    def broken(self, error: BaseException) -> None:
        """Give the run up, since it can't continue here.

        The store keeps what it has; the next worker continues from that.
        """
        self._writing = False
        if self.created.is_set and not isinstance(error, NOT_RECORDED):
            logger.error("run %r can't be continued by this engine: %s", self.run_id, error)
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """Free everything that the run holds here: timers, slots, handlers, those who wait.

        Attempts that run stay without a result; who waits for the end gets the error.
        """
        if self.done.is_set:
            return
        self.done.set_result(error)
        if not self._writing and not self.created.is_set:
            self.created.set_result(error)  # else the store's answer decides that
        if self.observed is not None:
            self.observed.left(self.row, self.runtime.clock.now(), self.values.redaction)
        self.timers.clear()
        self._inbox.clear()
        unused = [*self.admitted, *(item for item in self._todo if isinstance(item, RunStep))]
        self.admitted.clear()
        self._todo.clear()
        for command in unused:
            self.runtime.admission.release(command)
        for attempt in list(self._calls.values()):
            attempt.cancel()
        if self.on_end is not None:
            self.on_end(self)

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the tasks in which handlers run."""
        return [a.task for a in self._calls.values() if a.task is not None]
