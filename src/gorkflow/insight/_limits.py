"""What the named limits of steps mean for a run: where branches queue, how many calls there are."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf

from gorkflow._record import record
from gorkflow.flow import (
    BlockSpec,
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    ParallelSpec,
    Place,
    StepSpec,
    WorkflowSpec,
)
from gorkflow.insight._advice import Advice
from gorkflow.insight._tree import in_words
from gorkflow.policy import Limit


@record
class _Calls:
    """How many attempts of one run take a limit."""

    least: float
    """Of a run that completes."""
    most: float


def advise(root: Place) -> Iterator[Advice]:
    """Yield the blocks whose branches queue for a limit, and the calls of each limit."""
    for place in root.walk():
        for limit in _limits_in(place):
            yield from _queueing(place, limit)
            yield from _too_many(place, limit)
    for limit in _limits_in(root):
        yield _told(root, limit)


def _limits_in(place: Place) -> list[Limit]:
    found = {
        limit.name: limit
        for inner in place.walk()
        if isinstance(inner.spec, StepSpec)
        for limit in inner.spec.limits
    }
    return [found[name] for name in sorted(found)]


# ---- branches that queue -----------------------------------------------------------------------


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
        text = f"only {places} of its {what} get past it at a time, though {beside} could run"
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


# ---- how many calls ----------------------------------------------------------------------------


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
            f"take {in_words(seconds)} at {limit}, and its timeout is {in_words(node.timeout)}: "
            "make the timeout longer or the rate higher",
            "warning",
        )


def _told(root: Place, limit: Limit) -> Advice:
    calls = _calls(root, limit.name)
    if calls.most == inf:
        text = "makes as many calls as its maps have items, and more with retries"
    else:
        text = f"makes up to {calls.most:g} call{'' if calls.most == 1 else 's'}, retries included"
        seconds = _seconds_for(calls.most, limit)
        if seconds:
            text += f", and these take {in_words(seconds)} or more"
    return Advice("limit-calls", "", f"limit {limit.name!r} allows {limit}: a run {text}", "info")


def _seconds_for(calls: float, limit: Limit) -> float:
    """Return how long a number of calls takes at least, if nobody else makes any."""
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
