"""The database of a store on one connection to SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from functools import partial

from gorkflow._durations import LONGEST
from gorkflow.clock import Timekeeper
from gorkflow.stores._sql.database import Row
from gorkflow.stores.sqlite._files import WorkerLocks
from gorkflow.stores.sqlite._schema import query


class SqliteDatabase:
    """A connection, as the code sees it that all dialects share.

    Args:
        connection: to the file.
        locks: they show which workers live.
    """

    __slots__ = ("connection", "locks")

    def __init__(self, connection: sqlite3.Connection, locks: WorkerLocks) -> None:
        self.connection = connection
        self.locks = locks

    text = staticmethod(query)

    def select(self, text: str, values: Mapping[str, object], /) -> list[Row]:
        """Return all rows that a text reads: a cursor left half read would hold its snapshot.

        A text that is not UTF-8 comes with lone surrogates, since it must not hide the other rows.
        """
        db = self.connection
        try:
            return db.execute(text, values).fetchall()
        except sqlite3.OperationalError as error:
            if "UTF-8" not in str(error):
                raise
        db.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        try:
            return db.execute(text, values).fetchall()
        finally:
            db.text_factory = str

    def rows(self, name: str, /, **values: object) -> list[Row]:
        return self.select(query(name), values)

    def change(self, name: str, /, **values: object) -> int:
        return self.connection.execute(query(name), values).rowcount

    def change_each(self, name: str, values: Iterable[Mapping[str, object]], /) -> None:
        self.connection.executemany(query(name), values)

    def alive(self, worker: Row, times: Timekeeper | None, /) -> bool:
        """Whether a worker lives: within its lease, and not seen to be dead."""
        worker_id, _, seen_at, lease, *_, where = worker
        if not 0 <= lease <= LONGEST:
            return False  # a damaged row: nobody has a lease like that, and it would last for ever
        if times is not None and not times.alive(seen_at, lease):
            return False
        return not self.locks.sees(where) or self.locks.is_held(worker_id)
