"""Machines with one mistake each. The suite is good if it catches every one of them.

Each is a function that puts its mistake into the machine through ``patch`` (pytest's
``monkeypatch``), which takes it out again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from gorkflow import events, state_changes
from gorkflow.flow import ParallelSpec, WorkflowSpec
from gorkflow.machine import block, commands, joins, step, undo
from gorkflow.machine.ask import ChoiceFrame, LoopFrame
from gorkflow.machine.block import BlockFrame, MapFrame, ParallelFrame
from gorkflow.machine.frame import NEVER, Frame
from gorkflow.machine.machine import FRAMES, Machine
from gorkflow.machine.pause import Pausing, SleepFrame, WaitFrame
from gorkflow.machine.sequence import WorkflowFrame
from gorkflow.machine.step import StepFrame
from gorkflow.machine.undo import Group, Undo, UndoFrame
from gorkflow.model import FailureCode, StepStatus
from gorkflow.policy import Join
from tests.replacing import replace

COMPLETED, FAILED, CANCELLED = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED

Patch = Any
Mutant = Callable[[Patch], None]
MUTANTS: dict[str, Mutant] = {}


def mutant(function: Mutant) -> Mutant:
    MUTANTS[function.__name__] = function
    return function


def _instead(patch: Patch, cls: type, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a method by what ``make`` makes of it."""
    patch.setattr(cls, name, make(getattr(cls, name)))


@mutant
def starts_queued_branches_while_draining(patch: Patch) -> None:
    def make(stop_rest: Any) -> Any:
        def mutated(self: Any, strength: str, reason: str) -> None:
            kept: deque[int] = deque()
            if strength == "drain":
                kept, self.queue = self.queue, kept
            stop_rest(self, strength, reason)
            if kept:
                self.queue = kept
                self._fill()

        return mutated

    _instead(patch, ParallelFrame, "_stop_rest", make)


@mutant
def goes_on_with_the_next_step_while_draining(patch: Patch) -> None:
    def make(advance: Any) -> Any:
        def mutated(self: Any, index: int) -> None:
            self.stopping = None
            advance(self, index)

        return mutated

    _instead(patch, WorkflowFrame, "_advance", make)


@mutant
def retries_while_draining(patch: Patch) -> None:
    def make(on_failed: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            self.stopping = None
            on_failed(self, event)

        return mutated

    _instead(patch, StepFrame, "_on_failed", make)


@mutant
def repeats_interrupted_attempts_while_draining(patch: Patch) -> None:
    def make(on_interrupted: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            self.stopping = None
            on_interrupted(self, event)

        return mutated

    _instead(patch, StepFrame, "_on_interrupted", make)


@mutant
def drain_stops_running_attempts(patch: Patch) -> None:
    def make(stop: Any) -> Any:
        return lambda self, _strength, reason: stop(self, "cancel", reason)

    _instead(patch, StepFrame, "stop", make)


@mutant
def drain_forgets_the_last_failure(patch: Patch) -> None:
    def make(withdraw: Any) -> Any:
        return lambda self, late="": withdraw(self, late) if late else self._cancel("drained")

    _instead(patch, StepFrame, "_withdraw", make)


@mutant
def drain_forgets_it_only_once_the_retry_is_due(patch: Patch) -> None:
    def make(stop: Any) -> Any:
        def mutated(self: Any, strength: str, reason: str) -> None:
            if self.state == "ready":
                self._cancel(reason)
            else:
                stop(self, strength, reason)

        return mutated

    _instead(patch, StepFrame, "stop", make)


@mutant
def first_does_not_cancel_the_rest(patch: Patch) -> None:
    def make(stop_rest: Any) -> Any:
        def mutated(self: Any, strength: str, reason: str) -> None:
            met = self.verdict is COMPLETED and self.spec.join.kind == "first"
            stop_rest(self, "drain" if met else strength, reason)

        return mutated

    _instead(patch, ParallelFrame, "_stop_rest", make)


@mutant
def at_least_is_off_by_one(patch: Patch) -> None:
    def make(verdict: Any) -> Any:
        def mutated(join: Join, tally: Any) -> Any:
            if join.kind == "at_least":
                join = Join("at_least", min((join.count or 1) + 1, tally.total))
            return verdict(join, tally)

        return mutated

    patch.setattr(joins, "verdict", make(joins.verdict))


@mutant
def tolerate_counts_cancelled_as_failed(patch: Patch) -> None:
    def make(verdict: Any) -> Any:
        def mutated(join: Join, tally: Any) -> Any:
            if join.kind == "tolerate":
                tally = replace(tally, failed=tally.failed + tally.cancelled, cancelled=0)
            return verdict(join, tally)

        return mutated

    patch.setattr(joins, "verdict", make(joins.verdict))


@mutant
def verdict_waits_for_every_branch(patch: Patch) -> None:
    def make(verdict: Any) -> Any:
        def mutated(join: Join, tally: Any) -> Any:
            return verdict(join, tally) if tally.ended == tally.total else None

        return mutated

    patch.setattr(joins, "verdict", make(joins.verdict))


@mutant
def block_leaves_at_its_verdict(patch: Patch) -> None:
    def make(announce: Any) -> Any:
        def mutated(self: Any, verdict: Any) -> None:
            announce(self, verdict)
            self.children = {}

        return mutated

    _instead(patch, ParallelFrame, "_announce", make)


@mutant
def block_timeout_skips_queued_branches(patch: Patch) -> None:
    def make(receive: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            while self.queue:
                self._replace(self.queue.popleft(), CANCELLED, reason="late")
            receive(self, event)

        return mutated

    _instead(patch, ParallelFrame, "receive", make)


@mutant
def continue_on_error_substitutes_under_every_join(patch: Patch) -> None:
    def make(count: Any) -> Any:
        def mutated(self: Any, index: int, ended: Any) -> None:
            if ended.optional:
                ended = replace(ended, status=COMPLETED, value=None, failures=(), optional=False)
            count(self, index, ended)

        return mutated

    _instead(patch, ParallelFrame, "_count", make)


@mutant
def continue_on_error_is_forgotten_in_a_choice(patch: Patch) -> None:
    def make(child_ended: Any) -> Any:
        return lambda self, child, ended: child_ended(self, child, replace(ended, optional=False))

    _instead(patch, ChoiceFrame, "child_ended", make)


@mutant
def outputs_in_completion_order(patch: Patch) -> None:
    def make(output: Any) -> Any:
        def mutated(self: Any) -> Any:
            value = output(self)
            if self.spec.join.kind == "all" and all(isinstance(item, int) for item in value):
                return tuple(sorted(value))
            return value

        return mutated

    _instead(patch, ParallelFrame, "_output", make)


@mutant
def failures_in_arrival_order(patch: Patch) -> None:
    def make(end: Any) -> Any:
        def mutated(self: Any, status: Any, **fields: Any) -> None:
            failures = fields.get("failures", ())
            if all(isinstance(item, int) for item in failures):
                fields["failures"] = tuple(sorted(failures))
            end(self, status, **fields)

        return mutated

    _instead(patch, ParallelFrame, "end", make)


@mutant
def failures_while_draining_are_dropped(patch: Patch) -> None:
    def make(count: Any) -> Any:
        def mutated(self: Any, index: int, ended: Any) -> None:
            if self.verdict is FAILED:
                ended = replace(ended, failures=())
            count(self, index, ended)

        return mutated

    _instead(patch, ParallelFrame, "_count", make)


@mutant
def max_concurrency_is_exceeded_by_one(patch: Patch) -> None:
    def make(fill: Any) -> Any:
        def mutated(self: Any) -> None:
            spec = self.spec
            if spec.max_concurrency is not None:
                self.spec = replace(spec, max_concurrency=spec.max_concurrency + 1)
            fill(self)
            self.spec = spec

        return mutated

    _instead(patch, ParallelFrame, "_fill", make)


@mutant
def cancel_does_not_reach_nested_workflows(patch: Patch) -> None:
    def make(stop: Any) -> Any:
        def mutated(self: Any, strength: str, reason: str) -> None:
            stop(self, strength if self.parent is None else "drain", reason)

        return mutated

    _instead(patch, WorkflowFrame, "stop", make)


@mutant
def cancelled_attempts_are_not_told(patch: Patch) -> None:
    def make(command: Any) -> Any:
        def mutated(self: Any, given: Any) -> None:
            if type(given).__name__ != "CancelStep":
                command(self, given)

        return mutated

    _instead(patch, Machine, "command", make)


@mutant
def timers_outlive_what_they_are_for(patch: Patch) -> None:
    patch.setattr(Machine, "_cancel_timers", lambda _self, _path: None)


@mutant
def interruptions_count_against_the_retries(patch: Patch) -> None:
    def make(on_interrupted: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            self.failures += 1
            on_interrupted(self, event)

        return mutated

    _instead(patch, StepFrame, "_on_interrupted", make)


@mutant
def waits_for_retries_past_the_deadline(patch: Patch) -> None:
    def make(on_failed: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            self.due = NEVER
            on_failed(self, event)

        return mutated

    _instead(patch, StepFrame, "_on_failed", make)


@mutant
def retries_at_the_very_deadline(patch: Patch) -> None:
    def make(on_failed: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            self.due += (event.retry_at == self.due) * 1e-6
            on_failed(self, event)

        return mutated

    _instead(patch, StepFrame, "_on_failed", make)


@mutant
def only_the_innermost_deadline_counts(patch: Patch) -> None:
    def make(start_timeout: Any) -> Any:
        def mutated(self: Any, frame: Any, seconds: float) -> None:
            frame.due = NEVER
            start_timeout(self, frame, seconds)

        return mutated

    _instead(patch, Machine, "start_timeout", make)


@mutant
def what_a_block_went_on_from_is_told_nowhere(patch: Patch) -> None:
    patch.setattr(BlockFrame, "_untold", lambda _self, _verdict: ())


@mutant
def a_cancelled_block_forgets_what_failed_in_it(patch: Patch) -> None:
    def make(untold: Any) -> Any:
        return lambda self, verdict: () if verdict is CANCELLED else untold(self, verdict)

    _instead(patch, BlockFrame, "_untold", make)


@mutant
def what_a_block_fails_of_is_told_twice(patch: Patch) -> None:
    def make(untold: Any) -> Any:
        return lambda self, verdict: untold(self, CANCELLED if verdict is FAILED else verdict)

    _instead(patch, BlockFrame, "_untold", make)


@mutant
def a_block_fails_of_what_may_fail(patch: Patch) -> None:
    def make(end: Any) -> Any:
        def mutated(self: Any, status: Any, **fields: Any) -> None:
            if status is FAILED and self.tally.tolerated:
                fields["failures"] = tuple(f for r in self.results for f in r.failures)
            end(self, status, **fields)

        return mutated

    _instead(patch, ParallelFrame, "end", make)


@mutant
def a_late_retry_is_a_cancellation(patch: Patch) -> None:
    def make(withdraw: Any) -> Any:
        return lambda self, late="": self._cancel(late) if late else withdraw(self)

    _instead(patch, StepFrame, "_withdraw", make)


@mutant
def gives_up_one_interruption_early(patch: Patch) -> None:
    patch.setattr(step, "MAX_INTERRUPTIONS", 9)


@mutant
def every_interruption_counts(patch: Patch) -> None:
    def make(on_interrupted: Any) -> Any:
        return lambda self, event: on_interrupted(self, replace(event, counts=True))

    _instead(patch, StepFrame, "_on_interrupted", make)


@mutant
def an_interruption_that_does_not_count_ends_the_row(patch: Patch) -> None:
    def make(on_interrupted: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            self.interruptions *= event.counts
            on_interrupted(self, event)

        return mutated

    _instead(patch, StepFrame, "_on_interrupted", make)


@mutant
def open_attempts_always_count_as_interrupted(patch: Patch) -> None:
    def make(interruptions: Any) -> Any:
        return lambda self, died: interruptions(self, died=True)

    _instead(patch, Machine, "interruptions", make)


@mutant
def a_failure_does_not_end_a_row_of_interruptions(patch: Patch) -> None:
    def make(on_failed: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            before = self.interruptions
            on_failed(self, event)
            self.interruptions = before

        return mutated

    _instead(patch, StepFrame, "_on_failed", make)


@mutant
def instant_branches_are_counted_in_their_turn(patch: Patch) -> None:
    patch.setattr(Machine, "is_instant", lambda _self, _place: False)


@mutant
def instant_means_without_any_work_inside(patch: Patch) -> None:
    def make(is_instant: Any) -> Any:
        def mutated(self: Any, place: Any) -> bool:
            if isinstance(place.spec, WorkflowSpec | ParallelSpec):
                return all(mutated(self, inner) for inner in place.inside())
            return bool(is_instant(self, place))

        return mutated

    _instead(patch, Machine, "is_instant", make)


@mutant
def skipped_choice_always_gives_its_default(patch: Patch) -> None:
    def make(choose: Any) -> Any:
        def mutated(self: Any, choice: int) -> None:
            spec = self.spec
            self.spec = replace(spec, default=spec.default or "null")
            choose(self, choice)

        return mutated

    _instead(patch, ChoiceFrame, "_choose", make)


@mutant
def results_of_other_attempts_are_taken(patch: Patch) -> None:
    patch.setattr(StepFrame, "expects", lambda self, _attempt: self.state == "running")


@mutant
def a_refused_event_leaves_a_trace(patch: Patch) -> None:
    def make(impossible: Any) -> Any:
        def mutated(self: Any, event: Any, why: str) -> Any:
            self._open.pop(event.path, None)
            return impossible(self, event, why)

        return mutated

    _instead(patch, Machine, "_impossible", make)


# ---- sleeps, waits and signals --------------------------------------------------------------


@mutant
def sleeps_outlast_a_drain(patch: Patch) -> None:
    _outlasts_a_drain(patch, SleepFrame)


@mutant
def waits_outlast_a_drain(patch: Patch) -> None:
    _outlasts_a_drain(patch, WaitFrame)


def _outlasts_a_drain(patch: Patch, cls: type) -> None:
    def make(stop: Any) -> Any:
        def mutated(self: Any, strength: str, reason: str) -> None:
            if strength == "cancel":
                stop(self, strength, reason)

        return mutated

    _instead(patch, cls, "stop", make)


@mutant
def cancelled_sleeps_leave_no_trace(patch: Patch) -> None:
    def mutated(self: Any, strength: str, why: str) -> None:
        self.end(CANCELLED, reason=why)

    patch.setattr(Pausing, "stop", mutated)


@mutant
def a_moment_that_has_passed_stays_in_the_past(patch: Patch) -> None:
    def make(pause: Any) -> Any:
        def mutated(self: Any, seconds: float | None, until: float | None) -> None:
            if until is None:
                pause(self, seconds, until)
            else:
                pause(self, until - self.machine.at, None)

        return mutated

    _instead(patch, Pausing, "_pause", make)


@mutant
def what_a_function_said_of_a_time_is_forgotten(patch: Patch) -> None:
    patch.setattr(Pausing, "answered", lambda self, _: self._pause(5.0, None))


@mutant
def a_wait_is_open_while_it_asks(patch: Patch) -> None:
    def make(ask: Any) -> Any:
        def mutated(self: Any, question: Any) -> None:
            ask(self, question)
            if isinstance(self, WaitFrame):
                self.open(None)

        return mutated

    _instead(patch, Pausing, "ask", make)


@mutant
def sleeps_take_no_slot(patch: Patch) -> None:
    def make(start: Any) -> Any:
        def mutated(self: Any) -> None:
            start(self)
            block = self.parent
            if self.live and isinstance(block, WorkflowFrame):
                block = block.parent
            if isinstance(block, ParallelFrame) and block.spec.max_concurrency is not None:
                more = block.spec.max_concurrency + 1
                block.spec = replace(block.spec, max_concurrency=more)

        return mutated

    _instead(patch, SleepFrame, "start", make)


@mutant
def a_timer_is_due_later_than_recorded(patch: Patch) -> None:
    def make(ask: Any) -> Any:
        def mutated(self: Any, command: Any) -> None:
            late = getattr(command, "key", "") == "sleep"
            ask(self, command._replace(due=command.due + 1) if late else command)

        return mutated

    _instead(patch, Machine, "start_timer", make)


@mutant
def the_newest_wait_gets_the_signal(patch: Patch) -> None:
    def make(ask: Any) -> Any:
        def mutated(self: Any, command: Any) -> None:
            ask(self, command)
            signal = command.signal
            self._waits[signal] = {command.path: command} | self._waits[signal]

        return mutated

    _instead(patch, Machine, "await_signal", make)


@mutant
def a_signal_goes_to_any_wait(patch: Patch) -> None:
    def mutated(self: Any, event: Any, _frame: Any) -> None:
        self._received[event.inbox_id] = None

    patch.setattr(Machine, "_take_signal", mutated)


@mutant
def a_signal_is_received_twice(patch: Patch) -> None:
    def make(take: Any) -> Any:
        def mutated(self: Any, event: Any, frame: Any) -> None:
            take(self, event, frame)
            self._received.clear()

        return mutated

    _instead(patch, Machine, "_take_signal", make)


@mutant
def a_wait_gives_the_payload_alone(patch: Patch) -> None:
    patch.setattr(WaitFrame, "_go_on", lambda self, payload: self.end(COMPLETED, value=payload))


@mutant
def a_wait_fails_in_spite_of_its_default(patch: Patch) -> None:
    def make(receive: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            self.spec = replace(self.spec, default=None)
            receive(self, event)

        return mutated

    _instead(patch, WaitFrame, "receive", make)


@mutant
def a_wait_goes_on_without_a_default(patch: Patch) -> None:
    patch.setattr(WaitFrame, "_time_out", lambda self: self._go_on(None))


@mutant
def a_waits_timeout_has_no_event(patch: Patch) -> None:
    def mutated(self: Any) -> None:
        failure = self.failure(FailureCode.TIMEOUT, "late")
        self.end(FAILED, failures=(failure,))

    patch.setattr(WaitFrame, "_time_out", mutated)


@mutant
def the_last_interruption_has_no_event(patch: Patch) -> None:
    def mutated(self: Any, event: Any) -> Any:
        return self.failure(FailureCode.INTERRUPTED, "dead", attempt=event.attempt)

    patch.setattr(StepFrame, "_worn_out", mutated)


@mutant
def a_run_waits_while_steps_run(patch: Patch) -> None:
    patch.setattr(
        Machine, "is_waiting", property(lambda self: self.status == "running" and not self._open)
    )


@mutant
def a_run_waits_while_conditions_are_evaluated(patch: Patch) -> None:
    def mutated(self: Any) -> bool:
        ready = any(hasattr(command, "attempt") for command in self._open.values())
        return self.status == "running" and not ready and not self.running

    patch.setattr(Machine, "is_waiting", property(mutated))


@mutant
def next_due_is_the_latest(patch: Patch) -> None:
    def mutated(self: Any) -> float | None:
        return max((timer.due for timer in self.timers.values()), default=None)

    patch.setattr(Machine, "next_due", mutated)


# ---- kept results ---------------------------------------------------------------------------


@mutant
def kept_steps_run_again(patch: Patch) -> None:
    _forgets_what_is_kept(patch, StepFrame)


@mutant
def kept_decisions_are_made_again(patch: Patch) -> None:
    _forgets_what_is_kept(patch, ChoiceFrame)


@mutant
def kept_sleeps_are_slept_again(patch: Patch) -> None:
    _forgets_what_is_kept(patch, SleepFrame)


@mutant
def kept_signals_are_awaited_again(patch: Patch) -> None:
    _forgets_what_is_kept(patch, WaitFrame)


def _forgets_what_is_kept(patch: Patch, cls: type) -> None:
    def make(start: Any) -> Any:
        def mutated(self: Any) -> None:
            self.machine.kept, before = {}, self.machine.kept
            start(self)
            self.machine.kept = before

        return mutated

    _instead(patch, cls, "start", make)


@mutant
def kept_branches_wait_for_their_turn(patch: Patch) -> None:
    _sees_as_kept(patch, lambda _result: False)


@mutant
def a_kept_choice_counts_as_work(patch: Patch) -> None:
    _sees_as_kept(patch, lambda result: result.choice is None)


def _sees_as_kept(patch: Patch, sees: Callable[[Any], bool]) -> None:
    def make(is_instant: Any) -> Any:
        def mutated(self: Any, place: Any) -> bool:
            before = self.kept
            self.kept = {path: result for path, result in before.items() if sees(result)}
            found = bool(is_instant(self, place))
            self.kept = before
            return found

        return mutated

    _instead(patch, Machine, "is_instant", make)


@mutant
def anything_can_be_kept_anywhere(patch: Patch) -> None:
    for kind in FRAMES.values():
        patch.setattr(kind, "fits", lambda _spec, _result: True)
        patch.setattr(kind, "keeps", ("completed",) if kind.keeps else ())


@mutant
def a_kept_default_is_no_default(patch: Patch) -> None:
    def make(go_on: Any) -> Any:
        return lambda self, payload: go_on(self, payload if isinstance(payload, int) else None)

    _instead(patch, WaitFrame, "_go_on", make)


# ---- maps and loops -------------------------------------------------------------------------


def _item_gets(patch: Patch, given: Callable[[Any, int], Any]) -> None:
    def make(child_at: Any) -> Any:
        def mutated(self: Any, index: int) -> Any:
            child = child_at(self, index)
            child.input = given(self, index)
            return child

        return mutated

    _instead(patch, MapFrame, "child_at", make)


@mutant
def items_get_the_whole_list(patch: Patch) -> None:
    _item_gets(patch, lambda frame, _index: frame.input)


@mutant
def items_get_their_neighbours(patch: Patch) -> None:
    _item_gets(patch, lambda frame, index: events.item_of(frame.input, index + 1))


@mutant
def keys_are_ignored_in_paths(patch: Patch) -> None:
    patch.setattr(MapFrame, "mark", lambda _self, index: f"[{index}]")


@mutant
def a_map_gives_a_tuple(patch: Patch) -> None:
    patch.setattr(MapFrame, "composed", lambda _self, values: values)


@mutant
def items_are_seen_from_outside(patch: Patch) -> None:
    def make(init: Any) -> Any:
        def mutated(self: Any, machine: Any, parent: Any, scope: Any, *rest: Any) -> None:
            init(self, machine, parent, scope, *rest)
            self.known = scope is not None

        return mutated

    _instead(patch, Frame, "__init__", make)


@mutant
def too_few_items_are_found_out_late(patch: Patch) -> None:
    def make(judge: Any) -> Any:
        def mutated(self: Any) -> None:
            if self.tally.ended or not self.results or self.children:
                judge(self)

        return mutated

    _instead(patch, MapFrame, "_judge", make)


@mutant
def a_map_that_can_not_be_met_fails_without_a_failure(patch: Patch) -> None:
    def make(end: Any) -> Any:
        def mutated(self: Any, status: Any, **fields: Any) -> None:
            fields["failures"] = tuple(
                f for f in fields.get("failures", ()) if "can't be met by" not in str(f)
            )
            end(self, status, **fields)

        return mutated

    _instead(patch, MapFrame, "end", make)


@mutant
def a_map_outlasts_a_drain_until_it_is_expanded(patch: Patch) -> None:
    _outlasts_a_drain(patch, MapFrame)


@mutant
def an_expansion_takes_any_keys(patch: Patch) -> None:
    patch.setattr(commands, "is_expansion", lambda _count, _keys, **_: True)


@mutant
def a_timeout_before_the_items_cancels_the_map(patch: Patch) -> None:
    def make(receive: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            if not self.asking or event.kind != "timer_fired":
                receive(self, event)
            else:
                self.stop("cancel", "late")

        return mutated

    _instead(patch, MapFrame, "receive", make)


@mutant
def kept_items_are_counted_again(patch: Patch) -> None:
    _forgets_what_is_kept(patch, MapFrame)


@mutant
def a_loop_goes_on_while_draining(patch: Patch) -> None:
    def make(goes_on: Any) -> Any:
        def mutated(self: Any) -> bool:
            self.stopping = None
            return bool(goes_on(self))

        return mutated

    _instead(patch, LoopFrame, "_goes_on", make)


@mutant
def every_iteration_gets_the_first_input(patch: Patch) -> None:
    def make(iterate: Any) -> Any:
        def mutated(self: Any) -> None:
            self.value = self.input
            iterate(self)

        return mutated

    _instead(patch, LoopFrame, "_iterate", make)


@mutant
def a_loop_stops_one_iteration_late(patch: Patch) -> None:
    def make(judged: Any) -> Any:
        def mutated(self: Any, *, held: bool) -> bool:
            spec = self.spec
            self.spec = replace(spec, max_iterations=spec.max_iterations + 1)
            goes_on = bool(judged(self, held=held))
            self.spec = spec
            return goes_on

        return mutated

    _instead(patch, LoopFrame, "_judged", make)


@mutant
def the_limit_wins_over_the_condition(patch: Patch) -> None:
    def make(judged: Any) -> Any:
        def mutated(self: Any, *, held: bool) -> bool:
            last = self.iteration >= self.spec.max_iterations
            return bool(judged(self, held=held and not last))

        return mutated

    _instead(patch, LoopFrame, "_judged", make)


@mutant
def a_loops_limit_has_no_event(patch: Patch) -> None:
    def make(judged: Any) -> Any:
        def mutated(self: Any, *, held: bool) -> bool:
            if not held and self.iteration >= self.spec.max_iterations:
                self.end(FAILED, failures=(self.failure(FailureCode.LOOP_LIMIT, "too often"),))
                return False
            return bool(judged(self, held=held))

        return mutated

    _instead(patch, LoopFrame, "_judged", make)


@mutant
def kept_iterations_are_judged_again(patch: Patch) -> None:
    def make(goes_on: Any) -> Any:
        def mutated(self: Any) -> bool:
            self.machine.kept, before = {}, self.machine.kept
            on = bool(goes_on(self))
            self.machine.kept = before
            return on

        return mutated

    _instead(patch, LoopFrame, "_goes_on", make)


@mutant
def a_kept_loop_ends_one_iteration_early(patch: Patch) -> None:
    def make(goes_on: Any) -> Any:
        def mutated(self: Any) -> bool:
            self.iteration += 1
            on = bool(goes_on(self))
            self.iteration -= 1
            return on

        return mutated

    _instead(patch, LoopFrame, "_goes_on", make)


@mutant
def workflows_without_input_get_one(patch: Patch) -> None:
    def make(start: Any) -> Any:
        def mutated(self: Any) -> None:
            self.spec = replace(self.spec, takes_input=True)
            start(self)

        return mutated

    _instead(patch, WorkflowFrame, "start", make)


# ---- undo -----------------------------------------------------------------------------------


@mutant
def what_was_done_first_is_undone_first(patch: Patch) -> None:
    def make(fill: Any) -> Any:
        def mutated(self: Any, group: Any) -> None:
            if not group.running:
                group.queue.reverse()
            fill(self, group)

        return mutated

    _instead(patch, Undo, "_fill", make)


@mutant
def a_sequence_is_undone_side_by_side(patch: Patch) -> None:
    patch.setattr(Frame, "room", float("inf"))


@mutant
def a_block_is_undone_one_by_one(patch: Patch) -> None:
    patch.setattr(BlockFrame, "room", 1)


@mutant
def max_concurrency_does_not_hold_for_undoing(patch: Patch) -> None:
    patch.setattr(BlockFrame, "room", float("inf"))


@mutant
def iterations_overwrite_each_other(patch: Patch) -> None:
    patch.setattr(LoopFrame, "place_of", lambda _self, _child: 0)


@mutant
def unknown_outcomes_are_not_undone(patch: Patch) -> None:
    patch.setattr(StepFrame, "_doubt", lambda _self: None)


@mutant
def a_retry_that_fails_settles_the_doubt(patch: Patch) -> None:
    def make(fail: Any) -> Any:
        def mutated(self: Any, failure: int, reason: str = "") -> None:
            known = self.machine.undo
            self.machine.undo = None
            fail(self, failure, reason)
            self.machine.undo = self.machine.undo or known

        return mutated

    _instead(patch, StepFrame, "_fail", make)


@mutant
def what_failed_is_undone(patch: Patch) -> None:
    def make(on_failed: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            self._doubt()
            on_failed(self, event)

        return mutated

    _instead(patch, StepFrame, "_on_failed", make)


@mutant
def what_another_run_did_is_undone(patch: Patch) -> None:
    def make(start: Any) -> Any:
        def mutated(self: Any) -> None:
            found = self.machine.kept.get(self.path)
            if found is not None and self.spec.undo is not None:
                self.machine.note_undo(self, found.seq)
            start(self)

        return mutated

    _instead(patch, StepFrame, "start", make)


@mutant
def a_completed_run_is_undone(patch: Patch) -> None:
    def make(finish: Any) -> Any:
        def mutated(self: Any, ended: Any) -> None:
            if self.undo is not None and ended.status is COMPLETED:
                ended = replace(ended, status=FAILED)
            finish(self, ended)

        return mutated

    _instead(patch, Machine, "finish", make)


@mutant
def a_cancelled_run_is_not_undone(patch: Patch) -> None:
    def make(finish: Any) -> Any:
        def mutated(self: Any, ended: Any) -> None:
            if ended.status is CANCELLED:
                self.undo = None
            finish(self, ended)

        return mutated

    _instead(patch, Machine, "finish", make)


@mutant
def a_cancel_ends_the_undoing(patch: Patch) -> None:
    def make(cancel: Any) -> Any:
        def mutated(self: Any, reason: str) -> None:
            if self.undoing is not None:
                self.frames.clear()
                self.running.clear()
                self._open.clear()
                self.timers.clear()
                self.conclude(self.undoing)
            else:
                cancel(self, reason)

        return mutated

    _instead(patch, Machine, "_cancel", make)


@mutant
def an_undo_step_that_fails_ends_the_undoing(patch: Patch) -> None:
    def make(ended: Any) -> Any:
        def mutated(self: Any, frame: Any, status: Any, failures: Any) -> None:
            if status is FAILED and frame.group.queue:
                frame.group.queue.clear()
            ended(self, frame, status, failures)

        return mutated

    _instead(patch, Undo, "ended", make)


@mutant
def what_could_not_be_undone_is_forgotten(patch: Patch) -> None:
    def make(ended: Any) -> Any:
        return lambda self, frame, status, failures: ended(self, frame, status, failures[:0])

    _instead(patch, Undo, "ended", make)


@mutant
def an_undo_step_gets_the_inputs_as_one(patch: Patch) -> None:
    patch.setattr(undo, "_given", lambda note: (note.input, note.output))


@mutant
def an_undo_step_does_not_get_the_output(patch: Patch) -> None:
    def make(given: Any) -> Any:
        return lambda note: given(note._replace(output=None))

    patch.setattr(undo, "_given", make(undo._given))


@mutant
def undo_steps_are_not_retried(patch: Patch) -> None:
    def make(on_failed: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            if isinstance(self, UndoFrame):
                event = replace(event, retry_at=None)
            on_failed(self, event)

        return mutated

    _instead(patch, StepFrame, "_on_failed", make)


@mutant
def nested_groups_are_listed_in_order(patch: Patch) -> None:
    patch.setattr(Group, "paths", lambda self: iter([*_paths(self)][::-1]))


def _paths(group: Any) -> Any:
    for _, child in sorted(group.children.items(), key=lambda item: item[0], reverse=True):
        yield from _paths(child) if isinstance(child, Group) else [child.path]


# ---- state ----------------------------------------------------------------------------------


@mutant
def branches_write_into_one_state(patch: Patch) -> None:
    patch.setattr(BlockFrame, "overlay_for", Frame.overlay_for)
    patch.setattr(BlockFrame, "layers_for", Frame.layers_for)


@mutant
def state_of_branches_that_did_not_complete_is_taken(patch: Patch) -> None:
    patch.setattr(block, "_is_completed", lambda _result: True)


@mutant
def state_of_a_failed_block_is_taken(patch: Patch) -> None:
    def make(announce: Any) -> Any:
        def mutated(self: Any, verdict: StepStatus) -> None:
            if verdict is FAILED and self.overlays:
                self._merge(self.overlays)
            announce(self, verdict)

        return mutated

    _instead(patch, BlockFrame, "_announce", make)


@mutant
def state_is_merged_in_the_order_of_writing(patch: Patch) -> None:
    patch.setattr(block, "sorted", list, raising=False)


@mutant
def the_last_branch_wins(patch: Patch) -> None:
    def make(merged: Any) -> Any:
        def mutated(overlays: Any) -> Any:
            overlays = [*overlays]
            last = {key: entry for each in overlays for key, entry in each.items()}
            changes, conflicts = merged(overlays)
            return (last if conflicts else changes), []

        return mutated

    patch.setattr(block, "merged", make(block.merged))


@mutant
def equal_values_conflict(patch: Patch) -> None:
    patch.setattr(state_changes, "_same", lambda _one, _other: False)


@mutant
def a_conflict_leaves_the_branches_state(patch: Patch) -> None:
    def make(fail_over: Any) -> Any:
        def mutated(self: Any, conflicts: Any) -> None:
            outer = self.overlay()
            state_changes.lay(outer, conflicts[0].key, conflicts[0].one)
            fail_over(self, conflicts)

        return mutated

    _instead(patch, BlockFrame, "_fail_over", make)


@mutant
def kept_results_lose_their_state(patch: Patch) -> None:
    def make(keep: Any) -> Any:
        def mutated(self: Any, event: Any) -> None:
            keep(self, event)
            self.kept[event.path] = self.kept[event.path]._replace(state=())

        return mutated

    _instead(patch, Machine, "_keep", make)


@mutant
def a_sleep_keeps_state(patch: Patch) -> None:
    fits = SleepFrame.fits
    patch.setattr(SleepFrame, "fits", lambda spec, result: fits(spec, result._replace(state=())))


@mutant
def a_deleted_key_shows_what_is_below(patch: Patch) -> None:
    patch.setattr(state_changes, "_ABSOLUTE", (state_changes.SET,))
