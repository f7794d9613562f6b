"""The command that makes the tables of a store, or prints their SQL."""

from __future__ import annotations

from tests.cli.conftest import Invoke


def test_the_sql_for_a_server_needs_no_server(invoke: Invoke):
    url = "postgresql://ann:s3cr3t@127.0.0.1:1/runs?schema=flows"
    result = invoke("db", "migrate", "--print-sql", "--store", url)
    assert result.exit_code == 0
    assert 'CREATE SCHEMA IF NOT EXISTS "flows";' in result.stdout
    assert "CREATE TABLE runs (" in result.stdout
    assert "s3cr3t" not in result.output


def test_a_server_that_is_away_is_named(invoke: Invoke):
    result = invoke("db", "migrate", "--store", "postgresql://ann@127.0.0.1:1/runs")
    assert result.exit_code == 3
    assert "can't be reached" in result.output


def test_a_file_is_made_by_its_engine(invoke: Invoke):
    assert invoke("run", "flows.py:checkout", "--input", '{"id": 7}').exit_code == 0
    assert invoke("db", "migrate").exit_code == 0
    result = invoke("db", "migrate", "--print-sql")
    assert result.exit_code == 2
    assert "the first engine makes the file" in result.output
