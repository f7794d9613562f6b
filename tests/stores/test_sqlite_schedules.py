"""Schedules in a damaged file."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gorkflow.schedule import ScheduleRow
from gorkflow.stores.sqlite import SqliteStore


@pytest.mark.parametrize(
    "damage",
    [
        "tags = 'x'",
        "tags = '[1]'",
        "next_due = 1e300",
        "every = NULL",
        "cron = '0 3 * * *'",
        "catch_up = 'most'",
        "overlap = ''",
    ],
)
def test_a_damaged_schedule_is_reported_and_hides_no_other(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "runs.db"

    async def work() -> None:
        store = SqliteStore(path)
        await store.open()
        for name in ("bad", "good"):
            row = ScheduleRow(
                schedule_id=name, workflow_id="w", every=60, created_at=1.0, next_due=2.0
            )
            await store.put_schedule(row)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"UPDATE schedules SET {damage} WHERE schedule_id = 'bad'")
        assert [row.schedule_id for row in await store.schedules()] == ["good"]
        assert [row.schedule_id for row in await store.schedules(due_by=1e301)] == ["good"]
        (finding,) = await store.check()
        assert "schedule 'bad' can't be read" in finding.text
        assert await store.drop_schedule("bad")
        assert await store.check() == []
        await store.close()

    asyncio.run(work())
