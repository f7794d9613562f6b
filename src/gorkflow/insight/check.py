"""The check of a workflow: advice on what it costs, before the first run. Nothing is run.

Each kind of advice has a code; docs/check.md has an example of each.

How long a workflow takes is what its timeouts say. Left aside are waiting for slots and limits,
conditions, what a crash costs, ``RetryAfterError``, and undoing, which no deadline stops.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from gorkflow._text import did_you_mean, listed
from gorkflow.definition import Definition
from gorkflow.flow import (
    BlockSpec,
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
    PauseSpec,
    Place,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    spoken,
    undo_path,
)
from gorkflow.language.functions import steps_called_by, unrecorded
from gorkflow.language.signature import unwrapped
from gorkflow.policy import Limit, RetryPolicy, backoff_delay

if TYPE_CHECKING:
    from gorkflow.step import Step, StepDefaults
    from gorkflow.workflow import Workflow

__all__ = ["CODES", "Advice", "Level", "check"]

Level = Literal["warning", "info"]
CODES = frozenset(
    {
        "deadline",
        "limit-calls",
        "shared-limit",
        "step-in-step",
        "unbounded",
        "unrecorded-value",
    }
)
"""Every kind of advice."""
_COUNTED = 1000
"""Retries whose delays are added up one by one; those of later ones count as the longest."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing about a workflow that costs something, and what to write instead."""

    code: str
    """Its kind; docs/check.md has them all."""
    path: str
    """The node that it is about; empty: the workflow itself."""
    message: str
    level: Level
    """``warning``: should be changed; ``info``: good to know."""


def check(
    workflow: Workflow[Any, Any],
    *,
    defaults: StepDefaults | None = None,
    ignore: Collection[str] = (),
) -> tuple[Advice, ...]:
    """Return what could be better in a workflow, in the order of its nodes.

    The flow tree and the source of its functions are read; nothing is run::

        assert check(workflow, ignore=["unbounded"]) == ()

    Args:
        workflow: The workflow to check.
        defaults: The options that its steps inherit from the engine. By default, none.
        ignore: Codes of advice to leave out.

    Raises:
        ValueError: If there is no such code.
        WorkflowInvalidError: If the workflow is not complete, or not valid under these defaults.
    """
    for code in ignore:
        if code not in CODES:
            raise ValueError(f"there is no advice {code!r}; {did_you_mean(code, sorted(CODES))}")
    definition = workflow.compile(defaults)
    root = Place("", definition.tree)
    order: dict[str, tuple[int, bool]] = {}
    for number, place in enumerate(root.walk()):
        order[place.path] = number, False
        order[undo_path(place.path)] = number, True  # an undo step comes right after its step
    found = [*_of_functions(definition), *_of_durations(root), *_of_limits(root)]
    wanted = [advice for advice in found if advice.code not in ignore]
    return tuple(sorted(wanted, key=lambda advice: order[advice.path]))


# ---- the functions ------------------------------------------------------------------------------


def _of_functions(definition: Definition) -> Iterator[Advice]:
    """Yield what the functions of the steps do, and what all functions hold."""
    by_code: dict[Any, dict[str, Step[Any, Any]]] = {}
    for path, step in definition.steps.items():
        inner = unwrapped(step.fn)
        by_code.setdefault(getattr(inner, "__code__", inner), {})[path] = step
    for steps in by_code.values():
        yield from _inner_steps(steps)
    for path, who, names in unrecorded(definition):
        yield Advice(
            "unrecorded-value",
            path,
            f"{who} uses {_named(names)}, which no run records: a run keeps it as long as its "
            "process lives, and another process uses its own. Make it part of the input, or a "
            "setting of a step: step.bind(id, …)",
            "info",
        )


def _inner_steps(steps: dict[str, Step[Any, Any]]) -> Iterator[Advice]:
    """Yield the steps that steps of one function call."""
    path, step = next(iter(steps.items()))
    who = f"step {_named(steps)} calls" if len(steps) == 1 else f"steps {_named(steps)} call"
    seen: set[str] = set()
    for called, line, helpers in steps_called_by(step.fn):
        if called.id in seen:
            continue
        seen.add(called.id)
        function = getattr(called, "__name__", called.id)
        through = "".join(f"{name}(), " for name in helpers)
        yield Advice(
            "step-in-step",
            path,
            f"{who} step {called.id!r} "
            f"({f'in {through}' if through else ''}line {line}): a plain call, which is not "
            "recorded, retried or timed by itself. It runs again after a crash. "
            f"Make {called.id!r} a node of the workflow; where a plain call is meant, write "
            f"{function}.fn(…)",
            "warning",
        )


# ---- deadlines ----------------------------------------------------------------------------------


class _Span(Struct, frozen=True):
    """The seconds that something takes until it has completed."""

    least: float
    most: float
    endless: tuple[str, ...] = ()
    """The paths of what has no bound."""


def _of_durations(root: Place) -> Iterator[Advice]:
    """Yield what does not fit into its deadline, and what nothing bounds."""
    found: list[Advice] = []
    span = _Durations(found).of(root)
    yield from found
    data_says = {place.path for place in root.walk() if _is_timed_by_data(place.spec)}
    endless = [path for path in span.endless if path not in data_says]
    if endless:
        yield Advice(
            "unbounded",
            "",
            f"{_named(endless)} may take any time, and so may a run. Give "
            f"{'it' if len(endless) == 1 else 'them'} a timeout=, or the workflow: "
            f"Workflow({root.spec.id!r}, timeout=…)",
            "info",
        )


class _Durations:
    """Adds up, and notes what does not fit."""

    def __init__(self, found: list[Advice]) -> None:
        self._found = found

    def of(self, place: Place) -> _Span:
        """Return how long a node may take."""
        node, inside = place.spec, place.inside()
        if not inside:
            return _of_leaf(node, place.path)
        span = _of_parts(node, [self.of(inner) for inner in inside], place.path)
        if isinstance(node, WorkflowSpec | BlockSpec):
            return self._within(place, span, node.timeout)
        return span

    def _within(self, place: Place, span: _Span, timeout: float | None) -> _Span:
        """Return how long something may take that has a timeout of its own."""
        if timeout is None:
            return span
        if span.least >= timeout:
            self._note(
                place,
                f"{place} never completes: its sleeps alone take {_in_words(span.least)}, and its "
                f"timeout is {_in_words(timeout)}: make the timeout longer",
            )
        elif span.most > timeout and not span.endless and _fails_late(place.spec):
            self._note(
                place,
                f"{place} may take {_in_words(span.most)}, with every retry that its steps may "
                f"need and every timeout used up, but its timeout is {_in_words(timeout)}: then it "
                "is stopped, and later retries are not tried. Make it longer, or the steps' "
                "timeouts and retries smaller",
            )
        return _Span(min(span.least, timeout), min(span.most, timeout))

    def _note(self, place: Place, message: str) -> None:
        self._found.append(Advice("deadline", place.path, message, "warning"))


def _fails_late(node: NodeSpec) -> bool:
    """Return whether a timeout is a failure: not where the join continues without the late ones."""
    return not isinstance(node, BlockSpec) or node.join.kind == "all"


def _is_timed_by_data(node: NodeSpec) -> bool:
    """Return whether a function, or a date, bounds how long a pause takes."""
    if not isinstance(node, PauseSpec):
        return False
    return node.asks is not None or node.until is not None


def _of_leaf(node: NodeSpec, path: str) -> _Span:
    if isinstance(node, PassthroughSpec):
        return _Span(0, 0)
    if isinstance(node, SleepSpec) and node.seconds is not None:
        return _Span(node.seconds, node.seconds)
    if isinstance(node, StepSpec) and node.timeout is not None:
        return _Span(0, node.timeout * (node.retry.retries + 1) + _delays(node.retry))
    if isinstance(node, WaitSpec) and node.timeout is not None:
        return _Span(0, node.timeout)
    return _Span(0, inf, (path,))


def _of_parts(node: NodeSpec, inside: list[_Span], path: str) -> _Span:
    """Return how long a node may take, its own timeout aside, from what is inside takes."""
    endless = tuple(path for span in inside for path in span.endless)
    least, most = max(span.least for span in inside), max(span.most for span in inside)
    if isinstance(node, WorkflowSpec):
        return _Span(sum(span.least for span in inside), sum(span.most for span in inside), endless)
    if isinstance(node, LoopSpec):
        return _Span(least, most * node.max_iterations, endless)
    if isinstance(node, ChoiceSpec):
        # Without an otherwise, the choice may be nothing at all.
        return _Span(min(span.least for span in inside) if node.otherwise else 0, most, endless)
    if isinstance(node, ParallelSpec):
        # Of other joins, a branch that fails early may decide.
        return _Span(least if node.join.kind == "all" else 0, _last_end(node, inside), endless)
    if isinstance(node, MapSpec) and (endless or node.max_concurrency is None):
        return _Span(0, most, endless)
    return _Span(0, inf, endless or (path,))  # nobody knows how many items there will be


def _delays(policy: RetryPolicy) -> float:
    """Return how long all delays between the attempts of a step may take together."""
    counted = min(policy.retries, _COUNTED)
    delays = sum(backoff_delay(policy, failures) for failures in range(1, counted + 1))
    if policy.retries > counted:
        delays += (policy.retries - counted) * backoff_delay(policy, policy.retries)
    return delays * (1 + policy.jitter)


def _last_end(node: ParallelSpec, inside: list[_Span]) -> float:
    """Return when the last branch ends, if each takes its longest.

    A branch begins when one of the places gets free, in declared order; a branch that takes less
    never makes another one end later.
    """
    free = [0.0] * min(node.max_concurrency or len(inside), len(inside))
    for span in inside:
        heapq.heapreplace(free, free[0] + span.most)
    return max(free)


# ---- limits -------------------------------------------------------------------------------------


class _Calls(Struct, frozen=True):
    """The number of attempts of one run that take a limit."""

    least: float
    """In a run that completes."""
    most: float


def _of_limits(root: Place) -> Iterator[Advice]:
    """Yield the blocks whose branches queue for a limit, and the calls of each limit."""
    for place in root.walk():
        for limit in _limits_in(place):
            yield from _queueing(place, limit)
            yield from _too_many(place, limit)
    for limit in _limits_in(root):
        yield _total_calls(root, limit)


def _limits_in(place: Place) -> list[Limit]:
    found = {
        limit.name: limit
        for inner in place.walk()
        if isinstance(inner.spec, StepSpec)
        for limit in inner.spec.limits
    }
    return [found[name] for name in sorted(found)]


def _queueing(place: Place, limit: Limit) -> Iterator[Advice]:
    """Yield advice where every branch needs a limit that lets fewer through than could run."""
    node, places = place.spec, limit.concurrency
    if places is None or not isinstance(node, BlockSpec):
        return
    if isinstance(node, MapSpec):
        side_by_side, what = node.max_concurrency, "items"
        if side_by_side is None and places > 1:
            return  # there may be any number of items, so that one of the two has to bound them
    else:
        count = len(place.inside())
        side_by_side, what = min(node.max_concurrency or count, count), "branches"
    if side_by_side is not None and places >= side_by_side:
        return
    if not all(_takes(branch, limit) for branch in place.inside()):
        return
    whole = all(_takes_all_through(branch, limit) for branch in place.inside())
    if places == 1 and whole:
        text = f"its {what} run one after another"
    else:
        beside = "all" if side_by_side is None else str(side_by_side)
        text = f"only {places} of its {what} pass it at a time, though {beside} could run"
    yield Advice(
        "shared-limit",
        place.path,
        f"all of {place} needs limit {limit.name!r}, which allows {limit}: {text}. Give the limit "
        f"a higher concurrency=, or take it only in the steps that need it",
        "warning" if places == 1 and whole else "info",
    )


def _takes(place: Place, limit: Limit) -> bool:
    return any(limit.name == found.name for found in _limits_in(place))


def _takes_all_through(place: Place, limit: Limit) -> bool:
    return all(
        any(limit.name == found.name for found in inner.spec.limits)
        for inner in place.walk()
        if isinstance(inner.spec, StepSpec)
    )


def _too_many(place: Place, limit: Limit) -> Iterator[Advice]:
    """Yield advice where a rate is too slow for what a timeout leaves."""
    node = place.spec
    if not isinstance(node, WorkflowSpec | BlockSpec) or node.timeout is None:
        return
    least = _calls(place, limit.name).least
    seconds = _seconds_for(least, limit)
    if seconds > node.timeout:
        yield Advice(
            "limit-calls",
            place.path,
            f"{place} never completes: it needs {least:g} calls of limit {limit.name!r}, which "
            f"take {_in_words(seconds)} at {limit}, and its timeout is {_in_words(node.timeout)}: "
            "make the timeout longer or the rate higher",
            "warning",
        )


def _total_calls(root: Place, limit: Limit) -> Advice:
    calls = _calls(root, limit.name)
    if calls.most == inf:
        text = "makes as many calls as its maps have items, and more with retries"
    else:
        text = f"makes up to {calls.most:g} call{'' if calls.most == 1 else 's'}, retries included"
        seconds = _seconds_for(calls.most, limit)
        if seconds:
            text += f", and these take {_in_words(seconds)} or more"
    return Advice("limit-calls", "", f"limit {limit.name!r} allows {limit}: a run {text}", "info")


def _seconds_for(calls: float, limit: Limit) -> float:
    """Return how long a number of calls takes at least, if there are no others."""
    if limit.window is None or calls <= 0:
        return 0.0
    starts, per = limit.window
    return (ceil(calls / starts) - 1) * per


def _calls(place: Place, name: str) -> _Calls:
    node = place.spec
    if isinstance(node, StepSpec):
        taken = any(limit.name == name for limit in node.limits)
        return _Calls(1, node.retry.retries + 1) if taken else _Calls(0, 0)
    inside = [_calls(inner, name) for inner in place.inside()]
    least, most = sum(calls.least for calls in inside), sum(calls.most for calls in inside)
    if isinstance(node, MapSpec):
        return _Calls(0, inf if most else 0)
    if isinstance(node, LoopSpec):
        return _Calls(least, most * node.max_iterations)
    if isinstance(node, ChoiceSpec):
        fewest = min(calls.least for calls in inside) if node.otherwise else 0
        return _Calls(fewest, max(calls.most for calls in inside))
    if isinstance(node, ParallelSpec) and node.join.kind != "all":
        return _Calls(0, most)  # a branch that fails early may decide
    return _Calls(least, most)


def _named(paths: Iterable[str]) -> str:
    """Return paths as a list in words, the first few of many."""
    return listed([repr(spoken(path)) for path in dict.fromkeys(paths)])


def _in_words(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 120:
        return f"{seconds:.4g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"
