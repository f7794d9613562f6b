"""The notes in a database: reports and log lines, each within a transaction of the caller."""

from __future__ import annotations

from collections.abc import Sequence

from gorkflow.store import AttemptId, LineRow, ReportRow
from gorkflow.stores._sql.database import Database


def note(
    db: Database,
    reports: Sequence[ReportRow],
    lines: Sequence[LineRow],
    ended: Sequence[AttemptId],
) -> None:
    db.change_each("upsert_report", [row._asdict() for row in reports])
    db.change_each("upsert_line", [row._asdict() for row in lines])
    db.change_each("delete_report", [attempt._asdict() for attempt in ended])
