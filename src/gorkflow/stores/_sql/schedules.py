"""Schedules in a database, each within a transaction that the caller began."""

from __future__ import annotations

import json

from msgspec.structs import asdict

from gorkflow.errors import StoreCorruptError
from gorkflow.schedule import ScheduleRow, first_after, table_of
from gorkflow.stores._sql.database import Database
from gorkflow.stores._sql.rows import readable, schedule_row


def schedules(db: Database, due_by: float | None) -> list[ScheduleRow]:
    """Return the schedules; a damaged one must not hide the others."""
    if due_by is None:
        found = db.rows("list_schedules")
    else:
        found = db.rows("list_due_schedules", due_by=due_by)
    return [*readable(found, schedule_row, "a schedule")]


def put(db: Database, row: ScheduleRow) -> bool:
    """Keep a schedule, if its revision is the next one."""
    name = "insert_schedule" if row.revision == 1 else "update_schedule"
    return db.change(name, **asdict(row) | {"tags": json.dumps(row.tags)}) > 0


def drop(db: Database, schedule_id: str) -> bool:
    return db.change("delete_schedule", schedule_id=schedule_id) > 0


def check(db: Database) -> list[StoreCorruptError]:
    found: list[StoreCorruptError] = []
    for values in db.rows("list_schedules"):
        try:
            row = schedule_row(values)
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
