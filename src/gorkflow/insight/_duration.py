"""How long a workflow may take, as far as its timeouts say, held against its deadlines.

Left aside: waiting for slots and limits, conditions, what a crash costs, ``RetryAfterError``, and
undoing, which no deadline stops.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf

from gorkflow._record import record
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
)
from gorkflow.insight._advice import Advice
from gorkflow.insight._tree import in_words, named
from gorkflow.policy import RetryPolicy, backoff_delay

_COUNTED = 1000
"""Retries whose delays are added up one by one; those of later ones count as the longest."""


@record
class _Span:
    """How many seconds something takes until it has completed."""

    least: float
    most: float
    endless: tuple[str, ...] = ()
    """The paths of what has no bound."""


def advise(root: Place) -> Iterator[Advice]:
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
            f"nothing bounds how long a run may take, since {named(endless)} may take any "
            f"time: give {'it' if len(endless) == 1 else 'them'} a timeout=, or the workflow: "
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
                f"{place} never completes: its sleeps alone take {in_words(span.least)}, and its "
                f"timeout is {in_words(timeout)}: make the timeout longer",
            )
        elif span.most > timeout and not span.endless and _fails_late(place.spec):
            self._note(
                place,
                f"{place} may take {in_words(span.most)}, with every retry that its steps may need "
                f"and every timeout used up, but its own timeout is {in_words(timeout)}: what is "
                "left then is stopped, and retries that would come later are not tried. Make it "
                "longer, or the steps' timeouts and retries smaller",
            )
        return _Span(min(span.least, timeout), min(span.most, timeout))

    def _note(self, place: Place, message: str) -> None:
        self._found.append(Advice("deadline", place.path, message, "warning"))


def _fails_late(node: NodeSpec) -> bool:
    """Return whether a timeout is a failure: not where the join goes on with what there is."""
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
