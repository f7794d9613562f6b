"""The filter of a list of runs, one page of it, and cursors. The same from every store."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, overload

from gorkflow._text import brief, is_utf8, suggesting
from gorkflow.model import RunStatus

T_co = TypeVar("T_co", covariant=True)
_PAGE = 50
MOST_COUNTED = 10_000
"""A count of runs ends there, by default."""
_MOST = 1_000_000_000
"""A longer page is cut to that: no store holds so many, and SQLite counts in 64 bits."""
_TEXTS = ("workflow_id", "resource_id", "queue", "waiting_for", "id_prefix", "cursor")
_INSTANTS = ("created_after", "created_before", "finished_after", "finished_before")


@suggesting
@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """The filter of ``list_runs``. Unset fields, and ``None``, don't restrict.

    Raises:
        ValueError: If a status is unknown, an instant lacks its zone, a limit is below 1, or a
            text is invalid.
        TypeError: If a field has the wrong type.

    Example:
        from gorkflow import Engine, RunFilter

        async with Engine("memory:") as engine:
            page = await engine.list_runs(RunFilter(status=["failed", "cancelled"], limit=10))
            assert len(page) == 0
    """

    workflow_id: str | None = None
    status: RunStatus | str | Iterable[RunStatus | str] | None = None
    """One, or several; the text ``"failed"`` means the status of that name."""
    resource_id: str | None = None
    queue: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Every one of these must be on the run."""
    waiting_for: str | None = None
    """Only live runs that wait for the signal of this name now."""
    id_prefix: str | None = None
    """Only runs whose id begins so."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    """Only runs that have ended, at this instant or later."""
    finished_before: datetime | None = None
    """Only runs that have ended, before this instant."""
    limit: int = _PAGE
    """The number of runs on a page."""
    cursor: str | None = None
    """``next_cursor`` of the page before."""

    def __post_init__(self) -> None:
        """Check every field, and bring it into the one form that stores read."""
        made = {
            "status": None if self.status is None else _statuses(self.status),
            "tags": _tags(self.tags),
            "limit": _limit(self.limit),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)
        for name in _TEXTS:
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        for name in _INSTANTS:
            if getattr(self, name) is not None:
                _check_instant(name, getattr(self, name))

    @property
    def statuses(self) -> tuple[RunStatus, ...] | None:
        """The statuses that are allowed, each once; ``None``: any."""
        status: Any = self.status  # as ``__post_init__`` left it
        return (status,) if isinstance(status, RunStatus) else status

    @property
    def wants_ended(self) -> bool:
        """Whether a run must have ended to be meant."""
        return self.finished_after is not None or self.finished_before is not None


def _statuses(given: Any) -> RunStatus | tuple[RunStatus, ...]:
    if isinstance(given, str):
        return _status(given)
    if not isinstance(given, Iterable) or isinstance(given, Mapping | bytes):
        raise TypeError(f"status must be a status, or several in a list, not {brief(given)}")  # pyright: ignore[reportUnknownArgumentType]
    several: Iterable[Any] = given  # pyright: ignore[reportUnknownVariableType]
    return tuple(dict.fromkeys(_status(each) for each in several))


def _status(given: Any) -> RunStatus:
    try:
        return RunStatus(given)
    except ValueError:
        known = ", ".join(RunStatus)
        raise ValueError(f"there is no run status {brief(given)}; there are: {known}") from None


def _tags(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"tags must map names to texts, not {brief(given)}")
    tags: dict[Any, Any] = dict(given)  # pyright: ignore[reportUnknownArgumentType]
    for name, value in tags.items():
        _check_text("the name of a tag", name)
        _check_text(f"tag {name!r}", value)
    return tags


def _limit(given: Any) -> int:
    if given is None:
        return _PAGE
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"limit must be a whole number of runs, not {brief(given)}")
    if given < 1:
        raise ValueError("a page holds at least 1 run; limit is below 1")
    return min(given, _MOST)


def _check_text(name: str, given: Any) -> None:
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a text, not {brief(given)}")
    if not is_utf8(given):
        raise ValueError(f"{name} holds a lone surrogate: {brief(given)}")


def _check_instant(name: str, given: Any) -> None:
    if not isinstance(given, datetime):
        raise TypeError(f"{name} must be a datetime, not {brief(given)}")
    if given.utcoffset() is None:
        raise ValueError(
            f"{name} {given!r} has no time zone; say which, as in datetime.now(timezone.utc)"
        )


class Page(Sequence[T_co]):
    """One page of a listing: a sequence, with the cursor of the next page.

    A page may have few items, or none, and still a ``next_cursor``: no index has just the runs of
    the filter, and the store has looked at enough for one page. Then ``searched_to`` says how far
    back it came.

    Example:
        from gorkflow import Engine, RunFilter

        async with Engine("memory:") as engine:
            page = await engine.list_runs()
            while page.next_cursor is not None:
                page = await engine.list_runs(RunFilter(cursor=page.next_cursor))
    """

    __slots__ = ("_items", "next_cursor", "searched_to")

    def __init__(
        self,
        items: Sequence[T_co],
        next_cursor: str | None = None,
        searched_to: datetime | None = None,
    ) -> None:
        self._items = tuple(items)
        self.next_cursor = next_cursor
        """Give it as ``RunFilter(cursor=…)``; ``None`` on the last page."""
        self.searched_to = searched_to
        """The page stopped early: it has all runs of the filter that were created after this
        instant, and the next page continues there. ``None``: the page is full, or the last."""

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T_co]: ...
    def __getitem__(self, index: int | slice) -> T_co | Sequence[T_co]:
        """Return one item, or several."""
        return self._items[index]

    def __len__(self) -> int:
        """Return how many items this page has."""
        return len(self._items)

    def __iter__(self) -> Iterator[T_co]:
        """Iterate over the items of this page."""
        return iter(self._items)

    def __repr__(self) -> str:
        """Return the items and the cursor."""
        early = "" if self.searched_to is None else f", searched_to={self.searched_to!r}"
        return f"Page({list(self._items)!r}, next_cursor={self.next_cursor!r}{early})"


class RunCount(NamedTuple):
    """How many runs a filter has, counted up to a bound.

    Example:
        >>> from gorkflow.listing import RunCount
        >>> str(RunCount(10_000, more=True)), str(RunCount(37))
        ('10,000+', '37')
    """

    runs: int
    """The number of runs that were found."""
    more: bool = False
    """Whether there may be more: the count stopped early."""

    def __str__(self) -> str:
        """Return the number, with a ``+`` if there may be more."""
        return f"{self.runs:,}{'+' if self.more else ''}"


# ---- cursors

NEWEST = (float("inf"), "")
"""The place before the first page."""
OLDEST = (float("-inf"), "")
"""The place after the last page."""
MOST_READ = 10_000
"""Rows that a page reads at most, where no index has just the runs of its filter."""


def page_cursor(created_at: float, run_id: str) -> str:
    """Return the cursor of the page after this run."""
    return _encode(["runs", created_at, run_id])


def page_start(query: RunFilter) -> tuple[float, str]:
    """Return the age and id of the run that the page comes after.

    Raises:
        ValueError: If the cursor is not from ``list_runs``.
    """
    if query.cursor is None:
        return NEWEST
    match _decode(query.cursor):
        case ["runs", float() as created_at, str() as run_id] if is_utf8(run_id):
            return created_at, run_id
        case _:
            raise ValueError(
                f"cursor={brief(query.cursor)} is not one of list_runs; give the next_cursor of a "
                "page"
            )


def page_bounds(query: RunFilter) -> tuple[tuple[float, str], tuple[float, str]]:
    """Return the places, age and id, between which all runs of a page are: newest, and oldest.

    Runs at the first are not among them; those at the second are.

    Raises:
        ValueError: If the cursor is not from ``list_runs``.
    """
    # A run is created before it ends.
    before = [at for at in (query.created_before, query.finished_before) if at is not None]
    start = min([page_start(query), *((at.timestamp(), "") for at in before)])
    return start, OLDEST if query.created_after is None else (query.created_after.timestamp(), "")


def feed_cursor(*place: int) -> str:
    """Return the cursor after the event at this place, which is one number or several."""
    return _encode(["events", *place])


def feed_place(cursor: str, numbers: int = 1) -> tuple[int, ...]:
    """Return the place that a cursor of ``read_all_events`` stands for; empty: zeros.

    Args:
        cursor: what was given.
        numbers: how many numbers a place has.

    Raises:
        ValueError: If the cursor is not from ``read_all_events``.
    """
    return _place(cursor, "events", numbers, "cursor of events; give one that came with some")


def feed_position(cursor: str) -> int:
    """Return the one number of the place that a cursor of ``read_all_events`` stands for.

    Raises:
        ValueError: If the cursor is not from ``read_all_events``.
    """
    return feed_place(cursor)[0]


def mail_cursor(*place: int) -> str:
    """Return the cursor after the message at this place."""
    return _encode(["mail", *place])


def mail_place(cursor: str, numbers: int = 1) -> tuple[int, ...]:
    """Return the place that the cursor of a heartbeat stands for; empty: zeros.

    Args:
        cursor: what was given.
        numbers: how many numbers a place has.

    Raises:
        ValueError: If the cursor is not of a heartbeat.
    """
    return _place(cursor, "mail", numbers, "cursor of a heartbeat; give one that came with it")


def mail_position(cursor: str) -> int:
    """Return the one number of the place that the cursor of a heartbeat stands for.

    Raises:
        ValueError: If the cursor is not of a heartbeat.
    """
    return mail_place(cursor)[0]


def _place(cursor: str, kind: str, numbers: int, wanted: str) -> tuple[int, ...]:
    if not cursor:
        return (0,) * numbers
    match _decode(cursor):
        case [str() as found, *place] if (
            found == kind and len(place) == numbers and all(map(_is_place, place))
        ):
            return tuple(place)
        case _:
            raise ValueError(f"after={brief(cursor)} is not a {wanted}, or ''")


def _is_place(given: Any) -> bool:
    return type(given) is int and -(2**63) <= given < 2**63  # stores count in 64 bits


def _encode(parts: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _decode(cursor: str) -> Any:
    try:
        return json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
