"""The database of a store, as the code sees it that all dialects of SQL share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, Protocol

from gorkflow.clock import Timekeeper

Row = tuple[Any, ...]


class Database(Protocol):
    """A database, within a transaction that the caller began. Its statements have names."""

    def text(self, name: str, /) -> str:
        """Return the text of a statement. Its values have names, such as ``:run_id``."""
        ...

    def select(self, text: str, values: Mapping[str, object], /) -> list[Row]:
        """Return all rows that a text reads: of a statement, or made of several."""
        ...

    def rows(self, name: str, /, **values: object) -> list[Row]:
        """Return all rows that a statement reads."""
        ...

    def change(self, name: str, /, **values: object) -> int:
        """Return how many rows a statement changed."""
        ...

    def change_each(self, name: str, values: Iterable[Mapping[str, object]], /) -> None:
        """Run a statement with each of the values."""
        ...

    def alive(self, worker: Row, times: Timekeeper | None, /) -> bool:
        """Whether a worker lives, by its row. Without ``times`` its lease does not matter."""
        ...


def query(name: str, dialect: str) -> str:
    """Return the statement in ``queries/<name>.sql`` of a dialect's package, or else of all."""
    own, shared = (
        files(package).joinpath("queries", f"{name}.sql")
        for package in (dialect, "gorkflow.stores._sql")
    )
    return (own if own.is_file() else shared).read_text(encoding="utf-8")


def for_psycopg(text: str) -> str:
    """Return a statement as psycopg takes it, without the hints to SQLite which index to use."""
    text = re.sub(r" INDEXED BY \w+|\bCROSS (?=JOIN)|\+(?=\w+\.)", "", text)
    return re.sub(r"(?<![:\w]):(\w+)", r"%(\1)s", text.replace("%", "%%"))
