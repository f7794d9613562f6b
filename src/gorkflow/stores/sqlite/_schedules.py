"""Schedules in the database, each within a transaction that the caller began."""

from __future__ import annotations

import json
import logging
import sqlite3
from typing import Any

from msgspec.structs import asdict

from gorkflow._durations import LONGEST
from gorkflow.errors import StoreCorruptError
from gorkflow.schedule import ScheduleRow, first_after, table_of
from gorkflow.stores.sqlite._reads import UNREADABLE, from_columns
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
    values = asdict(row) | {"tags": json.dumps(row.tags)}
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
    try:
        row = from_columns(ScheduleRow, values)
        if (row.cron is None) is (row.every is None):
            raise ValueError("it has no rule, or two")
        if row.every is not None and not 1 <= row.every <= LONGEST:
            raise ValueError(f"it is due every {row.every!r} seconds")
    except UNREADABLE as error:
        raise StoreCorruptError(
            f"schedule {values[0]!r} can't be read: {error}; remove it, and add it again"
        ) from error
    return row
