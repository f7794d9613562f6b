"""The link of a lane to its database: a connection that is made anew when it broke."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg

from gorkflow.store import Transition, Written, hints_of
from gorkflow.stores.postgres import _hinting, _schema, _writes
from gorkflow.stores.postgres._connections import (
    Db,
    LaterError,
    Settings,
    is_passing,
    translated,
)
from gorkflow.stores.postgres._liveness import Watch

_logger = logging.getLogger("gorkflow.store")
T = TypeVar("T")
_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
_PATIENT = "SET LOCAL lock_timeout = '2s'"
_UNSYNCED = f"{_PATIENT}; SET LOCAL synchronous_commit = off"
_TRIES = 2
"""Times that a call is made: a connection may have broken while it was idle."""


class Link:
    """A connection, made anew when it broke.

    Args:
        settings: of the store.
        watch: of the store.
        keeps: whether it writes.
    """

    def __init__(self, settings: Settings, watch: Watch, *, keeps: bool = True) -> None:
        self._settings = settings
        self._watch = watch
        self._keeps = keeps
        self._db = self._connect()

    def _connect(self) -> Db:
        with translated(self._settings):
            db = Db(self._settings, self._watch, keeps=self._keeps)
            try:
                _schema.prepare(db)
            except BaseException:
                db.close()
                raise
        return db

    @property
    def broken(self) -> bool:
        return self._db.broken

    def _again(self, error: psycopg.Error, tries: int) -> None:
        """Connect anew, if the same may succeed then.

        Raises:
            Exception: If it may not: the error.
        """
        if not is_passing(error) or tries >= _TRIES:
            raise error
        if self._db.broken:
            self._db.close()
            self._db = self._connect()

    def read(self, work: Callable[[Db], T]) -> T:
        """Read as of one moment; again, if the connection broke."""
        return self.do(lambda db: _within(db, _SNAPSHOT, work))

    def do(self, work: Callable[[Db], T]) -> T:
        """Do what may be done twice, and begins its own transactions."""
        tries = 0
        with translated(self._settings):
            while True:
                tries += 1
                try:
                    return work(self._db)
                except psycopg.Error as error:
                    self._again(error, tries)

    def change(self, work: Callable[[Db], T], *, synced: bool = True) -> T:
        """Do the work in one transaction, durable on return.

        Raises:
            StoreUnavailableError: If nothing of it was recorded.
        """
        tries = 0
        with translated(self._settings):
            while True:
                tries += 1
                done: list[tuple[T, str | None]] = []
                try:
                    self._change(work, done, synced=synced)
                except psycopg.Error as error:
                    self._again(error, tries)
                    if not done or not self._was_committed(done[0][1]):
                        continue
                return done[0][0]

    def _change(
        self, work: Callable[[Db], T], done: list[tuple[T, str | None]], *, synced: bool
    ) -> None:
        """Do it once. Append the result and the number of the transaction before the commit."""
        with self._db.transaction(settings=_PATIENT if synced else _UNSYNCED):
            self._db.transaction_number = None
            result = work(self._db)
            number = self._db.transaction_number
            if number is None:
                [(number,)] = self._db.select("SELECT pg_current_xact_id_if_assigned()::text")
            done.append((result, number))

    def _was_committed(self, number: str | None) -> bool:
        if number is None:
            return True  # there was nothing to commit
        [(status,)] = self._db.select("SELECT pg_xact_status(:number::xid8)", {"number": number})
        return bool(status == "committed")

    def write(self, batch: Sequence[Transition]) -> list[Written]:
        """Write transitions; one that would wait for another program's transaction is undecided."""
        try:
            with translated(self._settings):
                answers = _writes.write(self._db, batch)
        except LaterError:
            answers = [self._write_alone(item) for item in batch]
        for item, written in zip(batch, answers, strict=True):
            if written is Written.OK:
                self._db.hints |= dict.fromkeys(hints_of(item.row))
        return answers

    def _write_alone(self, item: Transition) -> Written:
        try:
            with translated(self._settings):
                return _writes.write(self._db, [item])[0]
        except LaterError:
            return Written.UNDECIDED

    @property
    def untidy(self) -> bool:
        return bool(self._db.hints)

    def tidy(self) -> None:
        """Send hints, apart from the writes: else the commits of all would take turns."""
        hints, self._db.hints = self._db.hints, {}
        with translated(self._settings):
            _hinting.send(self._db, hints)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def _within(db: Db, begin: str, work: Callable[[Db], T]) -> T:
    with db.transaction(begin):
        return work(db)
