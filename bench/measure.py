"""Timing ours and the floor in turns, so that what else the machine does hits both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

Work = Callable[[], Awaitable[object]]


@dataclass
class Series:
    """What one thing took, each time."""

    values: list[float] = field(default_factory=list)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass
class Figure:
    """One line of the report: ours against the floor, both in ``unit``."""

    group: str
    name: str
    unit: str
    ours: Series
    floor: Series | None = None
    floor_name: str = ""
    target: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours.least / self.floor.least if self.floor else None

    @property
    def median_ratio(self) -> float | None:
        return self.ours.median / self.floor.median if self.floor else None

    def judged(self, target: str, *, met: bool) -> Figure:
        self.target, self.met = target, met
        return self

    def to_json(self) -> dict[str, Any]:
        body = {**asdict(self), "ratio": self.ratio, "median_ratio": self.median_ratio}
        return {key: value for key, value in body.items() if value not in (None, "")}


async def in_turns(
    ours: Work, floor: Work | None, *, per: int, repeat: int, budget: float = 8.0, warm: int = 1
) -> tuple[Series, Series | None]:
    """Run both in turns and return the microseconds per unit of each.

    Args:
        ours: what is measured.
        floor: what it is measured against.
        per: units of work in each, by which the time is divided.
        repeat: how often; at least 3 times, and no longer than the budget after that.
        budget: seconds.
        warm: rounds that don't count.
    """
    mine, theirs = Series(), Series()
    for _ in range(warm):
        await ours()
        if floor is not None:
            await floor()
    end = time.perf_counter() + budget
    for done in range(repeat):
        if done >= 3 and time.perf_counter() > end:
            break
        mine.values.append(await _once(ours) / per * 1e6)
        if floor is not None:
            theirs.values.append(await _once(floor) / per * 1e6)
    return mine, theirs if floor is not None else None


async def _once(work: Work) -> float:
    gc.collect()  # nobody pays for the garbage of the other
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began
