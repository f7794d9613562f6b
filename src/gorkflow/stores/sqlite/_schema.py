"""The SQL of a database: the statements, and the schema."""

from __future__ import annotations

import sqlite3
from functools import cache
from importlib.resources import files

from gorkflow.errors import StoreUnavailableError, StoreVersionError
from gorkflow.stores._sql.database import query as _query

_APPLICATION = 0x676F726B
"""``gork``: the mark of our files among SQLite databases."""
SCHEMA = 10
"""The version of tables and records. Raise it when either changes."""


@cache
def query(name: str) -> str:
    """Return the statement of a name."""
    return _query(name, "gorkflow.stores.sqlite")


@cache
def repeated(name: str, rows: int) -> str:
    """Return the named ``INSERT … VALUES (…)`` for so many rows at once."""
    into, _, values = query(name).strip().partition("VALUES ")
    return f"{into}VALUES {', '.join([values] * rows)}"


@cache
def statements() -> tuple[str, ...]:
    """Return the statements that make the schema."""
    return tuple(
        _statements(
            files("gorkflow.stores.sqlite").joinpath("schema.sql").read_text(encoding="utf-8")
        )
    )


def _statements(text: str) -> list[str]:
    found: list[str] = []
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found


def create(db: sqlite3.Connection, path: str) -> None:
    """Make the schema in an empty file, in one transaction: all of it or nothing.

    Raises:
        StoreUnavailableError: If the file is another program's.
        StoreVersionError: If its schema is another one than this code has.
    """
    if version_of(db, path):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if not version_of(db, path):  # another process may have been faster
            for statement in statements():
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def version_of(db: sqlite3.Connection, path: str) -> int:
    """Return the version of the schema; 0 for an empty file.

    Raises:
        StoreUnavailableError: If the file is another program's.
        StoreVersionError: If its schema is another one than this code has.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != _APPLICATION:
        (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
        if version or application or tables:
            raise StoreUnavailableError(
                f"{path!r} is the SQLite database of another program; name another file"
            )
        return 0
    if version > SCHEMA:
        raise StoreVersionError(
            f"the store {path!r} has schema version {version}, made by a newer gorkflow; this one "
            f"has {SCHEMA}: upgrade gorkflow"
        )
    if version < SCHEMA:
        raise StoreVersionError(
            f"the store {path!r} was made by a gorkflow from before the first release, whose "
            "records this one can't read; name another file"
        )
    return SCHEMA
