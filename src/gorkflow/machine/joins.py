"""The verdict over a block, from how many of its branches ended in which way. Pure arithmetic.

Judged after every branch that ends, so it must not look at the branches one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from msgspec import Struct

from gorkflow._text import listed
from gorkflow.events import Ended
from gorkflow.model import StepStatus
from gorkflow.policy import Join

COMPLETED, FAILED, CANCELLED = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED
TOLERATED = "failed (tolerated)"
"""How a branch ended that failed, but counts as completed: ``None`` stands in for it."""


class Tally(Struct):
    """How many branches of a block ended in which way."""

    total: int
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    tolerated: int = 0
    """The tolerated failures among the completed ones."""


def told(ended: Ended) -> str:
    """Return how a branch ended, in the words of a verdict's reason."""
    return TOLERATED if ended.optional and ended.status is COMPLETED else ended.status


def verdict(join: Join, tally: Tally) -> StepStatus | None:
    """Return ``completed``, ``failed`` or ``cancelled``, or ``None`` while it is open.

    ``completed`` as soon as the join is met; ``failed`` as soon as the failures alone make it
    impossible; ``cancelled`` when only branches that were cancelled (by a drain from outside) make
    it impossible, and all have ended.
    """
    done = tally.completed + tally.failed + tally.cancelled == tally.total
    if join.kind in {"settled", "tolerate"}:
        if join.kind == "tolerate" and tally.failed > tolerated(join, tally.total):
            return FAILED
        return COMPLETED if done else None
    needed = enough(join, tally.total)
    if tally.completed >= needed:
        return COMPLETED
    if tally.total - tally.failed < needed:
        return FAILED
    return CANCELLED if done else None


def enough(join: Join, total: int) -> int:
    """Return how many completed branches it takes before they can decide a block."""
    match join.kind:
        case "all" | "settled" | "tolerate":
            return total
        case "first":
            return 1
        case "at_least":
            return join.count or 1
        case _:
            assert_never(join.kind)


def met(join: Join, total: int, completed: int) -> bool:
    """Return whether so many completed branches complete a block, without the others."""
    return verdict(join, Tally(total, completed=completed)) is COMPLETED


def tolerated(join: Join, total: int) -> int:
    """Return how many failures a ``tolerate`` join accepts of ``total`` branches."""
    if join.percent is not None:
        return int(round(total * join.percent / 100, 9))  # 1.15 % of 10,000 are 115, as written
    return join.count or 0


_NAMED = 5  # a reason is one line for people: more names than this don't help them


def reason(
    join: Join,
    status: StepStatus,
    tally: Tally,
    first: Callable[[str, int], list[str]],
    after: float,
) -> str:
    """Return the verdict in words.

    Args:
        join: the block's join.
        status: the verdict.
        tally: how the branches ended.
        first: given how, in the words of ``told``, and a number: the first so many that ended so.
        after: seconds since the block was entered.
    """
    met = "met" if status is COMPLETED else "can't be met"
    numbers: dict[str, int] = {
        COMPLETED: tally.completed - tally.tolerated,
        FAILED: tally.failed,
        CANCELLED: tally.cancelled,
        TOLERATED: tally.tolerated,
    }
    ended = numbers.pop(status)
    shown = f" ({listed(first(status, _NAMED), _NAMED, ended)})" if ended else ""
    parts = [f"{ended} of {tally.total} {status}{shown}", f"{join} {met} after {after:.3g} s"]
    parts += [
        f"{listed(first(other, _NAMED), _NAMED, number)} {other}"
        for other, number in numbers.items()
        if number
    ]
    return "; ".join(parts)
