"""Schedules in the database, each within a transaction that the caller began."""

from __future__ import annotations

import json
import logging
import sqlite3
from typing import Any

from gorkflow._durations import LONGEST
from gorkflow.errors import StoreCorruptError
from gorkflow.model import instant
from gorkflow.schedule import ScheduleRow, first_after, table_of
from gorkflow.stores.sqlite._reads import tag_pairs
from gorkflow.stores.sqlite._schema import query, rows

_logger = logging.getLogger("gorkflow.store")


def schedules(db: sqlite3.Connection, due_by: float | None) -> list[ScheduleRow]:
    """Return the schedules; a damaged one must not hide the others."""
    if due_by is None:
        found = rows(db, query("list_schedules"))
    else:
        found = rows(db, query("list_due_schedules"), (due_by,))
    readable: list[ScheduleRow] = []
    for values in found:
        try:
            readable.append(_row(values))
        except StoreCorruptError:
            _logger.exception("left out a schedule")
    return readable


def put(db: sqlite3.Connection, row: ScheduleRow) -> bool:
    """Keep a schedule, if its revision is the next one."""
    values: dict[str, Any] = {
        "schedule_id": row.schedule_id,
        "workflow_id": row.workflow_id,
        "cron": row.cron,
        "every": row.every,
        "timezone": row.timezone,
        "input": row.input,
        "catch_up": row.catch_up,
        "overlap": row.overlap,
        "tags": json.dumps(row.tags),
        "priority": row.priority,
        "created_at": row.created_at,
        "paused": row.paused,
        "next_due": row.next_due,
        "revision": row.revision,
    }
    statement = "insert_schedule" if row.revision == 1 else "update_schedule"
    return db.execute(query(statement), values).rowcount > 0


def drop(db: sqlite3.Connection, schedule_id: str) -> bool:
    return db.execute(query("delete_schedule"), (schedule_id,)).rowcount > 0


def check(db: sqlite3.Connection) -> list[StoreCorruptError]:
    found: list[StoreCorruptError] = []
    for values in rows(db, query("list_schedules")):
        try:
            row = _row(values)
            if row.input is not None:
                json.loads(row.input)
            first_after(table_of(row), row.next_due)
        except StoreCorruptError as error:
            found.append(error)
        except ModuleNotFoundError:
            pass  # nothing here knows cron rules
        except Exception as error:  # noqa: BLE001 - whatever it is, the schedule starts nothing
            text = f"schedule {values[0]!r} can't start its runs: {error}"
            found.append(StoreCorruptError(f"{text}; remove it, and add it again"))
    return found


def _row(values: tuple[Any, ...]) -> ScheduleRow:
    (schedule_id, workflow_id, cron, every, timezone, data, catch_up, overlap, tags, priority,
     created_at, paused, next_due, revision) = values  # fmt: skip
    try:
        f"{schedule_id}{workflow_id}{cron}{timezone}{tags}".encode()  # else it was not UTF-8
        instant(created_at)
        instant(next_due)
        if (cron is None) is (every is None):
            raise ValueError("it has no rule, or two")
        if catch_up not in {"skip", "last", "all"} or overlap not in {"allow", "skip"}:
            raise ValueError(f"{catch_up!r} or {overlap!r} is not a policy")
        if every is not None and not 1 <= every <= LONGEST:
            raise ValueError(f"it is due every {every!r} seconds")
        return ScheduleRow(
            schedule_id=schedule_id, workflow_id=workflow_id, cron=cron, every=every,
            timezone=timezone, input=data, catch_up=catch_up, overlap=overlap, tags=tag_pairs(tags),
            priority=priority, created_at=created_at, paused=bool(paused), next_due=next_due,
            revision=revision,
        )  # fmt: skip
    except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise StoreCorruptError(
            f"schedule {schedule_id!r} can't be read: {error}; remove it, and add it again"
        ) from error
