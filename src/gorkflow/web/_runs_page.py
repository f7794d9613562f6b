"""The page of runs: a list with filters, and each run at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gorkflow.engine._row import summary_of
from gorkflow.errors import GorkflowError, RunNotFoundError, StoreCorruptError
from gorkflow.listing import RunFilter
from gorkflow.model import Failure, Run, RunStatus, instant
from gorkflow.web._render import brief_value, kind_of
from gorkflow.web._view import RunView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gorkflow.store import RunRow
    from gorkflow.web._visit import Visit

_LIMIT = 50
_STATUSES = (
    ("running", "Running", (RunStatus.RUNNING, RunStatus.PENDING)),
    ("suspended", "Suspended", (RunStatus.SUSPENDED,)),
    ("failed", "Failed", (RunStatus.FAILED,)),
    ("completed", "Completed", (RunStatus.COMPLETED,)),
    ("cancelled", "Cancelled", (RunStatus.CANCELLED,)),
)
_COUNTED = frozenset({"running", "suspended"})
"""Statuses of which there are few, so that to count them costs little."""
_FILTERS = ("workflow", "tag", "resource", "waiting_for")


class Glance(NamedTuple):
    """A run in the list."""

    run: Run
    input: str
    cells: list[str]
    words: str
    seconds: float | None
    note: str
    note_kind: str


class Chip(NamedTuple):
    """A filter to switch on or off."""

    label: str
    url: str
    on: bool
    number: str = ""
    """The runs that it leaves."""


async def show(visit: Visit) -> dict[str, Any]:
    """Return what the page of runs shows."""
    query = visit.query
    shown: dict[str, Any] = {
        "chips": await _chips(visit),
        "filters": [(name, query[name]) for name in _FILTERS if name in query],
        "workflows": sorted(each.id for each in visit.engine.workflows),
        "urls": visit.url,
        "live": "" if query.get("cursor") else visit.url("api", "events"),
        "rows": [],
        "next_url": "",
        "searched_to": None,
        "problem": "",
    }
    try:
        found, by = await _found(visit)
    except ValueError as error:
        return {**shown, "problem": str(error)}
    views = list(zip(found, await visit.views.brief(list(found)), strict=True))
    return {
        **shown,
        "rows": await visit.views.apart(_glances, visit, views),
        "next_url": found.next_cursor
        and visit.url.again(visit.path, query, **by, cursor=found.next_cursor),
        "searched_to": found.searched_to,
    }


async def _found(visit: Visit) -> tuple[Any, dict[str, str]]:
    """Return the rows that the page lists, and how the query of its next page differs."""
    query = visit.query
    asked = query.get("q", "").strip()
    tag = query.get("tag", "")
    if tag and "=" not in tag:
        raise ValueError(f"the filter of tags needs a value: {tag}=VALUE")
    filters: dict[str, Any] = {
        "status": next(
            (found for name, _, found in _STATUSES if name == query.get("status")), None
        ),
        "workflow_id": query.get("workflow"),
        "resource_id": query.get("resource"),
        "waiting_for": query.get("waiting_for"),
        "tags": dict([tag.split("=", 1)]) if tag else {},
        "created_after": instant(visit.now - 86_400) if query.get("since") == "24h" else None,
        "limit": _LIMIT,
        "cursor": query.get("cursor"),
    }
    store = visit.engine.store
    if not asked:
        return await store.list_runs(RunFilter(**filters)), {}
    if "=" in asked:
        name, value = asked.split("=", 1)
        filters["tags"] = {**filters["tags"], name: value}
        return await store.list_runs(RunFilter(**filters)), {}
    by_id = await store.list_runs(RunFilter(**filters, id_prefix=asked))
    if by_id or by_id.next_cursor or filters["resource_id"]:  # there may be more of these
        return by_id, {}
    filters |= {"resource_id": asked, "cursor": None}  # it was a place among the ids
    return await store.list_runs(RunFilter(**filters)), {"q": "", "resource": asked}


async def _chips(visit: Visit) -> list[Chip]:
    query, again = visit.query, visit.url.again
    chosen = query.get("status")
    chips = [Chip("All", again(visit.path, query, status="", cursor=""), not chosen)]
    for name, label, statuses in _STATUSES:
        number = ""
        if name in _COUNTED:
            number = str(await visit.engine.count_runs(RunFilter(status=statuses)))
        url = again(visit.path, query, status=name, cursor="")
        chips.append(Chip(label, url, chosen == name, number))
    lately = query.get("since") == "24h"
    url = again(visit.path, query, since="" if lately else "24h", cursor="")
    return [*chips, Chip("Last 24 h", url, lately)]


def _glances(
    visit: Visit, views: Sequence[tuple[RunRow, RunView | GorkflowError | None]]
) -> list[Glance]:
    """Return runs at a glance, without those that were removed meanwhile."""
    return [
        _glance(visit, row, view) for row, view in views if not isinstance(view, RunNotFoundError)
    ]


def _glance(visit: Visit, row: RunRow, view: RunView | GorkflowError | None) -> Glance:
    try:
        if isinstance(view, GorkflowError):
            raise view
        return _seen(visit, row, view)
    except StoreCorruptError as error:
        return Glance(summary_of(row), "", [], "damaged", None, str(error), "bad")


def _seen(visit: Visit, row: RunRow, view: RunView | None) -> Glance:
    run = summary_of(row)
    ended = row.finished_at or visit.now
    seconds = None if row.started_at is None else max(0.0, ended - row.started_at)
    if view is None:
        why = run.reason if run.status is RunStatus.FAILED or not run.status.terminal else ""
        return Glance(run, "", [], f"{row.seq:,} events", seconds, why, "soft")
    return Glance(
        run=run,
        input="" if view.recorded.created.input is None else brief_value(view.input, 400),
        cells=view.glance(),
        words=progress_of(view),
        seconds=seconds,
        note=note_of(view),
        note_kind="bad" if run.status is RunStatus.FAILED else "soft",
    )


def progress_of(view: RunView) -> str:
    """Return how many steps of a run ended."""
    progress = view.run.progress
    return "" if progress is None else f"{progress.done:,} of {progress.total:,} steps"


def _failure(failure: Failure) -> str:
    tries = f" (attempt {failure.attempt})" if failure.attempt > 1 else ""
    return f"{failure.path or 'the run'}: {kind_of(failure)}: {failure.message}{tries}"


def note_of(view: RunView) -> str:
    """Return why a run failed, or what it waits for."""
    run = view.run
    if run.status is RunStatus.FAILED:
        return next((_failure(each) for each in run.failures if not each.handled), run.reason)
    if run.status.terminal:
        return ""
    waits = view.waits()
    if waits:
        return "waits for " + ", ".join(f"signal {each.signal}" for each in waits[:3])
    if run.due_at is not None and run.status is RunStatus.SUSPENDED:
        return f"sleeps until {run.due_at:%Y-%m-%d %H:%M:%S} UTC"
    return run.reason
