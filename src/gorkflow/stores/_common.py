"""The cursors of a store."""

from __future__ import annotations

import base64
import json
from typing import Any

from gorkflow._text import brief
from gorkflow.listing import RunFilter

NEWEST = (float("inf"), "")
"""The place before the first page."""


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
        case ["runs", float() as created_at, str() as run_id]:
            return created_at, run_id
        case _:
            raise ValueError(
                f"cursor={brief(query.cursor)} is not one of list_runs; give the next_cursor of a "
                "page"
            )


def feed_cursor(position: int) -> str:
    """Return the cursor after the event at this position."""
    return _encode(["events", position])


def feed_position(cursor: str) -> int:
    """Return the position that a cursor of ``read_all_events`` stands for; empty: 0.

    Raises:
        ValueError: If the cursor is not from ``read_all_events``.
    """
    if not cursor:
        return 0
    match _decode(cursor):
        case ["events", int() as position]:
            return position
        case _:
            raise ValueError(
                f"after={brief(cursor)} is not a cursor of events; give one that came with some, "
                "or ''"
            )


def _encode(parts: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _decode(cursor: str) -> Any:
    try:
        return json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
