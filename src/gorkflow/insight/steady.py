"""The steady clock of a run: events as they would be, had the time of day not been set meanwhile.

Events bring times of day. Their difference is not the time that passed between them if the clock
was set, or the machine slept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from gorkflow import events as ev


def steady(events: Sequence[ev.Event]) -> Sequence[ev.Event]:
    """Return events with their times on the clock of ``Machine.passed``.

    These are the same events if the clock was not set.

    Args:
        events: All events of a run, in order.
    """
    if not any(type(each) is ev.ClockSet for each in events):
        return events
    return [*_moved_back(events)]


def _moved_back(events: Sequence[ev.Event]) -> Iterator[ev.Event]:
    moves = [0.0]  # how far the clock was set ahead, over all, after each time that it was
    known: dict[float, float] = {}  # what the times of events became
    begun: dict[str, tuple[int, float]] = {}  # by path: the moves before its attempt, and when
    for event in events:
        if isinstance(event, ev.ClockSet):
            moves.append(moves[-1] + event.by)
        now = moves[-1]
        at = known[event.at] = event.at - now
        times: dict[str, Any] = {"at": at}
        if isinstance(event, ev.StepScheduled):
            begun[event.path] = len(moves) - 1, at
            # It became ready by an earlier event.
            times["ready_at"] = known.get(event.ready_at, min(at, event.ready_at - now))
        elif isinstance(event, ev.StepCompleted | ev.StepFailed):
            before, since = begun.get(event.path, (-1, at))
            times |= _of_handler(event, moves[before:], since, at)
            if isinstance(event, ev.StepFailed) and event.retry_at is not None:
                times["retry_at"] = event.retry_at - now
        elif isinstance(event, ev.Timed) and event.due is not None:
            times["due"] = event.due - now
        yield replace(event, **times)


def _of_handler(
    event: ev.StepCompleted | ev.StepFailed, moves: Sequence[float], since: float, until: float
) -> dict[str, float]:
    """Return when the handler of an attempt began and ended.

    It measures with the clock as that was when it began, and no event says which one that was. So
    it is the one by which all happened between when it was scheduled and when its end was recorded.
    """
    times = {"began_at": event.began_at, "ended_at": event.ended_at}
    given = {name: at for name, at in times.items() if at}
    if not given:
        return {}
    first, last = min(given.values()), max(given.values())

    def outside(move: float) -> float:
        return max(0.0, since - (first - move)) + max(0.0, last - move - until)

    move = min(moves, key=outside)
    return {name: min(until, max(since, at - move)) for name, at in given.items()}
