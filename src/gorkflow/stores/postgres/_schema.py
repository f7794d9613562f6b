"""The schema of a database: made, and brought up to date, by one store at a time."""

from __future__ import annotations

import secrets

from psycopg.errors import InsufficientPrivilege

from gorkflow.errors import StoreUnavailableError, StoreVersionError
from gorkflow.stores.postgres._connections import LOCKS, Db, State, hashed
from gorkflow.stores.postgres._sql import migrations

_LOCK = 0x676F726B  # "gork"
_NEW_ERA = (
    "UPDATE meta SET era = era + 1",
    # A worker asks for messages from the number of a transaction on.
    "UPDATE inbox SET tx = '0'",
)


def script(schema: str) -> str:
    """Return the SQL that makes the schema in an empty database, to be run by who may."""
    return "".join(
        [
            f'CREATE SCHEMA IF NOT EXISTS "{schema}";\n\n',
            f'SET search_path TO "{schema}";\n\n',
            *migrations(),
            f"\n{_meta(len(migrations()))};\n",
        ]
    )


def _meta(version: int) -> str:
    number = secrets.randbelow(2**31 - LOCKS)
    return f"INSERT INTO meta (version, era, id) VALUES ({version}, 1, {number})"  # noqa: S608


def prepare(db: Db) -> None:
    """Learn the numbers of the store. Bring the schema up to date first: all of it, or nothing.

    Raises:
        StoreUnavailableError: If it is not there, and the user may not make it.
        StoreVersionError: If it is newer than this code.
    """
    found = _look(db)
    if found is not None:
        db.state = found
        return
    # By a hash: two schemas that share one only wait for each other.
    schema = db.settings.schema
    with db.transaction(settings="SET LOCAL lock_timeout = '60s'"):
        db.select(
            "SELECT pg_advisory_xact_lock(:lock::integer, :schema::integer)",
            {"lock": _LOCK, "schema": hashed(schema)},
        )
        found = _look(db)
        if found is None:
            _bring_up_to_date(db)
            found = _look(db)
    assert found is not None  # it was just made
    db.state = found


def version_of(db: Db) -> int | None:
    """Return the version of the schema; ``None``: there is none.

    Raises:
        StoreVersionError: If it is newer than this code.
    """
    [(_, has_meta, _)] = db.rows("find_schema", schema=db.settings.schema)
    if not has_meta:
        return None
    [(version,)] = db.select("SELECT version FROM meta")
    _check_version(db, version)
    return int(version)


def _check_version(db: Db, version: int) -> None:
    latest = len(migrations())
    if version > latest:
        raise StoreVersionError(
            f"the store {db.settings.shown!r} has schema version {version}, made by a newer "
            f"gorkflow; this one has {latest}: upgrade gorkflow"
        )


def _look(db: Db) -> State | None:
    """Return the state of a schema in which there is nothing to do; ``None``: there is something.

    Raises:
        StoreVersionError: If it is newer than this code.
    """
    [(_, has_meta, _)] = db.rows("find_schema", schema=db.settings.schema)
    if not has_meta:
        return None
    found = db.rows("get_state")
    if not found:
        return None
    [(version, era, number, is_ahead)] = found
    _check_version(db, version)
    return State(era, number) if version == len(migrations()) and not is_ahead else None


def _bring_up_to_date(db: Db) -> None:
    schema = db.settings.schema
    [(has_schema, has_meta, user)] = db.rows("find_schema", schema=schema)
    connection = db.connection
    try:
        if not has_schema:
            connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
        connection.execute(f'SET LOCAL search_path TO "{schema}"'.encode())
        version = db.select("SELECT version FROM meta")[0][0] if has_meta else 0
        steps = migrations()
        for step in steps[version:]:
            connection.execute(step.encode())
        if not has_meta:
            connection.execute(_meta(len(steps)).encode())
        elif version < len(steps):
            db.select("UPDATE meta SET version = :version", {"version": len(steps)})
        else:
            for text in _NEW_ERA:
                db.select(text)
    except InsufficientPrivilege as error:
        raise StoreUnavailableError(
            f"the store {db.settings.shown!r} has no schema {schema!r} of this version, and "
            f"{user!r} may not make it; run `gorkflow db migrate` as a user who may, or run the "
            f"SQL of `gorkflow db migrate --print-sql`, then grant {user!r} the rights to it "
            f"({db.settings.scrub(str(error))})"
        ) from None
