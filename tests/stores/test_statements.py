"""The statements that all dialects share, as psycopg takes them."""

from __future__ import annotations

import re

import pytest

from gorkflow.stores._sql.database import for_psycopg, query
from tests.project.repository import SRC

SQLITE = "gorkflow.stores.sqlite"
OTHER = "gorkflow.stores.memory"
"""Has no statements of its own."""
NAMES = sorted(path.stem for path in (SRC / "stores" / "_sql" / "queries").glob("*.sql"))


@pytest.mark.parametrize("name", NAMES)
def test_values_have_names_and_hints_to_sqlite_are_left_out(name):
    text = query(name, SQLITE)
    adapted = for_psycopg(text)
    assert sorted(re.findall(r"%\((\w+)\)s", adapted)) == sorted(re.findall(r":(\w+)", text))
    assert not re.search(r"\?|INDEXED|CROSS|[^:]:\w|\+\w+\.", adapted)


def test_an_addition_and_a_cast_stay():
    text = "SELECT a.x + b.y, :n::text, 7 % 2 WHERE +a.x >= :n AND (+a.x, a.y) < (:n, 1)"
    expected = (
        "SELECT a.x + b.y, %(n)s::text, 7 %% 2 WHERE a.x >= %(n)s AND (a.x, a.y) < (%(n)s, 1)"
    )
    assert for_psycopg(text) == expected


def test_the_statement_of_a_dialect_wins():
    assert "runs_owned" in query("release_runs", SQLITE)
    assert query("release_runs", SQLITE) == query("release_runs", OTHER)
    assert "machine" in query("list_workers", SQLITE)
    with pytest.raises(FileNotFoundError):
        query("list_workers", OTHER)
