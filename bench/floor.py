"""The floor: what the same work costs with nothing but asyncio, or nothing but SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from ours import Small

ROW = (1, "step_completed", "step", 1795395195.35, '{"attempt":1}', b'{"id":2}')


async def plain(value: Small) -> Small:
    return {"id": value["id"] + 1}


async def sequence(length: int) -> Small:
    value = {"id": 1}
    for _ in range(length):
        value = await asyncio.create_task(plain(value))
    return value


async def block(width: int) -> Small:
    values = await asyncio.gather(*(plain({"id": 1}) for _ in range(width)))
    return {"id": len(values)}


async def small_run() -> Small:
    value = await plain({"id": 1})
    values = await asyncio.gather(*(plain(value) for _ in range(3)))
    return {"id": len(values)}


async def many(runs: int) -> None:
    await asyncio.gather(*(small_run() for _ in range(runs)))


class Disk:
    """Rows written with nothing in between: WAL, ``synchronous=FULL``."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, seq INTEGER, kind TEXT, path TEXT,"
            " at REAL, body TEXT, payload BLOB)"
        )

    async def single(self, rows: int) -> None:
        """Write rows, each in a transaction of its own."""
        for _ in range(rows):
            self._write(1)

    async def batched(self, rows: int) -> None:
        """Write rows, a hundred to a transaction."""
        for _ in range(rows // 100):
            self._write(100)

    def _write(self, rows: int) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        for _ in range(rows):
            self.db.execute(
                "INSERT INTO events (seq, kind, path, at, body, payload) VALUES (?, ?, ?, ?, ?, ?)",
                ROW,
            )
        self.db.execute("COMMIT")

    def close(self) -> None:
        self.db.close()
