"""SQL in files: the statements, and the steps that bring a schema up to date."""

from __future__ import annotations

import re
import sqlite3
from functools import cache
from importlib.resources import files

from gorkflow.errors import StoreUnavailableError, StoreVersionError

_HERE = files("gorkflow.stores.sqlite")
_APPLICATION = 0x676F726B
"""``gork``: tells our files from other SQLite databases."""


@cache
def query(name: str) -> str:
    """Return the statement in ``queries/<name>.sql``."""
    return _HERE.joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")


@cache
def repeated(name: str, rows: int) -> str:
    """Return the named ``INSERT … VALUES (…)`` for so many rows at once."""
    into, _, values = query(name).strip().partition("VALUES ")
    return f"{into}VALUES {', '.join([values] * rows)}"


@cache
def migrations() -> tuple[tuple[str, ...], ...]:
    """Return the statements of each migration; the first one leads to version 1."""
    found = sorted(
        (item.name, item.read_text(encoding="utf-8"))
        for item in _HERE.joinpath("migrations").iterdir()
        if item.name.endswith(".sql")
    )
    return tuple(tuple(_statements(text)) for _, text in found)


def _statements(text: str) -> list[str]:
    found: list[str] = []
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the schema up to date, each version in one transaction: all of it or nothing.

    Raises:
        StoreUnavailableError: the file is another program's.
        StoreVersionError: its schema is newer than this code.
    """
    steps = migrations()
    while (version := version_of(db, path)) < len(steps):
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster.
            if version_of(db, path) == version:
                for statement in steps[version]:
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def version_of(db: sqlite3.Connection, path: str) -> int:
    """Return the version of the schema; 0 for an empty file."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != _APPLICATION:
        (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
        if version or application or tables:
            raise StoreUnavailableError(
                f"{path!r} is the SQLite database of another program; name another file"
            )
        return 0
    if version > len(migrations()):
        raise StoreVersionError(
            f"the store {path!r} has schema version {version}, made by a newer gorkflow; this one "
            f"knows up to {len(migrations())}: upgrade gorkflow"
        )
    return int(version)


def with_filters(statement: str, filters: list[str]) -> str:
    """Return a listing statement with more conditions at its mark."""
    return re.sub(r"/\* and: the filters \*/", "".join(f"AND {f} " for f in filters), statement)
