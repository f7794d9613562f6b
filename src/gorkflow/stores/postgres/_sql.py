"""The SQL of a database: the statements, under the names of one schema."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from gorkflow.stores._sql import database

_TABLES = (
    "runs", "summaries", "definitions", "run_tags", "run_waits", "events", "feed", "inbox",
    "reports", "log_lines", "hook_calls", "workers", "limits", "limit_leases", "schedules", "meta",
)  # fmt: skip
_TABLE = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE)(\s+)({'|'.join(_TABLES)})\b")
_FUNCTION = re.compile(r"\b(wake_at\()")
_RECORDING = frozenset(["append_events", "append_runs", "create_runs"])
"""Statements that end alike: they write the events of a batch."""
_SEQUENCE = re.compile(r"nextval\('(\w+)'\)")


@cache
def query(name: str) -> str:
    """Return a statement by its name."""
    text = database.query(name, "gorkflow.stores.postgres")
    return text + query("record_events") if name in _RECORDING else text


@cache
def statement(text: str, schema: str) -> bytes:
    """Return a statement as psycopg takes it, with the schema before each name.

    It stands in every statement, since ``search_path`` does not outlive a transaction behind a
    pooler.
    """
    text = _TABLE.sub(rf'\1\2"{schema}".\3', text)
    text = _FUNCTION.sub(rf'"{schema}".\1', text)
    text = _SEQUENCE.sub(rf"""nextval('"{schema}".\1')""", text)
    return database.for_psycopg(text).encode()


@cache
def migrations() -> tuple[str, ...]:
    """Return the text of each migration, in order."""
    folder = files("gorkflow.stores.postgres").joinpath("migrations")
    found = sorted((each.name, each) for each in folder.iterdir() if each.name.endswith(".sql"))
    return tuple(each.read_text(encoding="utf-8") for _, each in found)
