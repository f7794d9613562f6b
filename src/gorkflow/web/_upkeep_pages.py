"""The pages of schedules, limits and workers: what starts runs, holds them back and runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gorkflow.listing import RunFilter

if TYPE_CHECKING:
    from gorkflow.store import RunRow
    from gorkflow.web._visit import Visit


async def show_schedules(visit: Visit) -> dict[str, Any]:
    """Return what the page of schedules shows."""
    schedules = await visit.engine.schedules()
    last: dict[str, RunRow | None] = {}
    for each in schedules:
        query = RunFilter(tags={"schedule": each.id}, limit=1)
        last[each.id] = next(iter(await visit.engine.store.list_runs(query)), None)
    return {"schedules": schedules, "last": last}


async def show_limits(visit: Visit) -> dict[str, Any]:
    """Return what the page of limits shows."""
    return {"limits": await visit.engine.limits()}


async def show_workers(visit: Visit) -> dict[str, Any]:
    """Return what the page of workers shows."""
    return {"workers": await visit.engine.workers()}
