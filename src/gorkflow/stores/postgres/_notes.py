"""The notes of runs, reports and log lines: whole batches, each by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gorkflow.store import AttemptId, LineRow, ReportRow
from gorkflow.stores.postgres._arrays import Blobs, Column, Floats, Ints, Texts
from gorkflow.stores.postgres._connections import Db, Lock

_ATTEMPT: dict[str, type[Column]] = {
    "run_id": Texts, "created_at": Floats, "path": Texts, "attempt": Ints
}  # fmt: skip
_REPORT = _ATTEMPT | {"done": Floats, "total": Floats, "message": Blobs, "at": Floats}
_LINE = _ATTEMPT | {"number": Ints, "at": Floats, "level": Ints, "text": Blobs}


def note(
    db: Db,
    reports: Sequence[ReportRow],
    lines: Sequence[LineRow],
    ended: Sequence[AttemptId],
) -> None:
    """Keep reports and lines. Within a transaction."""
    noted: list[ReportRow | LineRow | AttemptId] = [*reports, *lines, *ended]
    found = db.rows("find_noted_runs", run_ids=Texts({each.run_id for each in noted}))
    # For who deletes one of the runs; and so that the ids of the lines of a run rise.
    keys = Ints(key for (key,) in found)
    db.rows("lock_notes", lock=db.lock_number(Lock.NOTES), runs=keys)
    # A statement may change a row only once.
    if latest := {row[:3]: row for row in sorted(reports, key=lambda row: row.attempt)}:
        db.change("upsert_reports", **_columns([*latest.values()], _REPORT))
    if last := {row[:5]: row for row in lines}:
        db.change("upsert_lines", **_columns([*last.values()], _LINE))
    if ended:
        db.change("delete_reports_of_attempts", **_columns(ended, _ATTEMPT))


def _columns(
    rows: Sequence[ReportRow | LineRow | AttemptId], kinds: dict[str, type[Column]]
) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, kind in kinds.items():
        given = [getattr(row, name) for row in rows]
        # Texts of steps may hold NUL, which only bytes can.
        columns[name] = kind(map(str.encode, given) if kind is Blobs else given)
    return columns
