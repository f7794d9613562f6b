"""The verdict over a block, from how many of its branches ended in which way. Pure arithmetic.

Judged after every branch that ends, so it must not look at the branches one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gorkflow.model import StepStatus
from gorkflow.policy import Join


@dataclass(slots=True)
class Tally:
    """How many branches of a block ended in which way."""

    total: int
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def ended(self) -> int:
        """How many ended at all."""
        return self.completed + self.failed + self.cancelled


def verdict(join: Join, tally: Tally) -> StepStatus | None:
    """Return ``completed``, ``failed`` or ``cancelled``, or ``None`` while it is open.

    ``completed`` as soon as the join is met; ``failed`` as soon as the failures alone make it
    impossible; ``cancelled`` when only branches that were cancelled (by a drain from outside) make
    it impossible, and all have ended.
    """
    done = tally.ended == tally.total
    match join.kind:
        case "all":
            needed = tally.total
        case "first":
            needed = 1
        case "at_least":
            needed = join.count or 1
        case "settled":
            return StepStatus.COMPLETED if done else None
        case "tolerate":
            if tally.failed > tolerated(join, tally.total):
                return StepStatus.FAILED
            return StepStatus.COMPLETED if done else None
        case _:
            assert_never(join.kind)
    if tally.completed >= needed:
        return StepStatus.COMPLETED
    if tally.total - tally.failed < needed:
        return StepStatus.FAILED
    return StepStatus.CANCELLED if done else None


def met(join: Join, total: int, completed: int) -> bool:
    """Return whether so many completed branches decide a block, whatever becomes of the others."""
    return verdict(join, Tally(total, completed=completed)) is not None


def tolerated(join: Join, total: int) -> int:
    """Return how many failures a ``tolerate`` join accepts of ``total`` branches."""
    if join.percent is not None:
        return int(round(total * join.percent / 100, 9))  # 1.15 % of 10,000 are 115, as written
    return join.count or 0


_NAMED = 5  # a reason is one line for people: more names than this don't help them


def reason(
    join: Join, status: StepStatus, results: dict[StepStatus, list[str]], after: float
) -> str:
    """Return the verdict in words.

    Args:
        join: the block's join.
        status: the verdict.
        results: the ids of the branches by how they ended, in declared order.
        after: seconds since the block was entered.
    """
    total = sum(len(ids) for ids in results.values())
    met = "met" if status is StepStatus.COMPLETED else "can't be met"
    ids = results.get(status, [])
    shown = f" ({names(ids)})" if ids else ""
    parts = [f"{len(ids)} of {total} {status.value}{shown}"]
    parts.append(f"{join} {met} after {after:.3g} s")
    parts += [
        f"{names(results[other])} {other.value}"
        for other in (StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED)
        if other is not status and results.get(other)
    ]
    return "; ".join(parts)


def names(ids: list[str]) -> str:
    """Return ids in a few words, the first few of many."""
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
