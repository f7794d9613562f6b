"""The checks of a database: who keeps its server from its work, and damage in its rows."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from gorkflow._text import span_of
from gorkflow.errors import StoreError
from gorkflow.store import Examination, Finding, Level
from gorkflow.stores._sql import checks
from gorkflow.stores.postgres import _schema
from gorkflow.stores.postgres._connections import Db, Settings, translated
from gorkflow.stores.postgres._liveness import Watch

_LONG = 60.0
"""Seconds after which an open transaction is worth a word."""
_FEW = 5
_OLDEST = 140000
_RESTORE = "restore a backup"


def examine(settings: Settings, now: float) -> Examination:
    """Return the state of the server, of the schema, and of the workers in it."""
    try:
        with translated(settings):
            db = Db(settings, Watch(), keeps=False)
            try:
                return _examine(db, now)
            finally:
                db.close()
    except StoreError as error:
        return Examination((Finding(Level.PROBLEM, "store", str(error)),), opens=False)


def _examine(db: Db, now: float) -> Examination:
    shown = db.settings.shown
    found = [Finding(Level.OK, "store", f"{shown!r} can be read"), *_server(db)]
    version = _schema.version_of(db)
    if version is None:
        text = f"there is no schema {db.settings.schema!r} yet"
        found.append(Finding(Level.WARNING, "schema", text, "the first engine makes it"))
        return Examination(tuple(found), opens=False)
    found.append(Finding(Level.OK, "schema", f"{db.settings.schema!r}, version {version}"))
    [(size, free)] = db.rows("measure_tables", schema=db.settings.schema)
    text = f"{size / 1e6:,.1f} MB, of which {free / 1e6:,.1f} MB are free"
    found.append(Finding(Level.OK, "size", text))
    found += [*_holders(db), *checks.examine(db, now)]
    return Examination(tuple(found), opens=True)


def _server(db: Db) -> Iterator[Finding]:
    number = db.connection.info.server_version
    name = f"PostgreSQL {number // 10000}.{number % 10000}"
    if number >= _OLDEST:
        yield Finding(Level.OK, "server", name)
    else:
        yield Finding(
            Level.PROBLEM, "server", f"{name} lacks what gorkflow needs",
            "use PostgreSQL 14 or newer",
        )  # fmt: skip


def _holders(db: Db) -> Iterator[Finding]:
    for what, name, age, seconds in db.rows("find_holders", seconds=_LONG, limit=_FEW):
        since = "" if seconds is None else f" for {span_of(seconds)}"
        yield Finding(
            Level.WARNING, "server",
            f"{what} {name} has kept old rows alive{since} ({age:,} transactions): claims get "
            "slower with each run, and the feed of events may wait for it",
            "end it, unless it is a dump that is about to end",
        )  # fmt: skip


def check(db: Db) -> list[Finding]:
    """Return what is damaged, except in single runs' events, which ``load`` checks."""
    with db.guarded():
        return [*checks.check(db, psycopg.Error, _RESTORE)]


def free_bytes(db: Db) -> int:
    """Return how much room waits for new rows."""
    [(_, free)] = db.rows("measure_tables", schema=db.settings.schema)
    return int(free)
