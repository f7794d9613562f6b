"""RUN_ID of a command: a whole id, its first letters, or ``latest``."""

import asyncio
from pathlib import Path

import pytest

from gorkflow.store import Store
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance import T0, finish, new_run, run_row
from tests.cli.conftest import Invoke
from tests.cli.tools import gorkflow_in


@pytest.fixture
def fill(folder: Path):
    """Record runs with these ids, the last one as the newest."""

    def fill(*run_ids: str) -> None:
        async def work() -> None:
            (folder / ".gorkflow").mkdir()
            store: Store = SqliteStore(folder / ".gorkflow/runs.db")
            await store.open()
            await store.write([new_run(name, created_at=T0 + n) for n, name in enumerate(run_ids)])
            await store.write(
                [finish(run_row(name, created_at=T0 + n)) for n, name in enumerate(run_ids)]
            )
            await store.close()

        asyncio.run(work())

    return fill


def run(invoke: Invoke, run_id: str) -> None:
    result = invoke("run", "flows.py:checkout", "--run-id", run_id, "--input", '{"id": 7}')
    assert result.exit_code == 0


def test_the_first_letters_name_a_run_wherever_an_id_goes(invoke: Invoke):
    run(invoke, "order-7")
    run(invoke, "other-1")
    alone = (("explain",), ("whatif", "--slots", "1"), ("timeline",))
    of_runs = ("show", "logs", "watch", "rerun")
    for command in [*alone, *(("runs", name) for name in of_runs)]:
        result = invoke(*command, "ord")
        assert result.exit_code == 0, result.stderr
    assert "order-7" in invoke("explain", "ord").stdout
    assert (
        "run order-7 has already ended"
        in invoke("runs", "resume", "ord", "flows.py:checkout").stderr
    )
    assert "run 'order-7' has ended" in invoke("runs", "cancel", "ord").stderr
    assert "run 'order-7' has ended" in invoke("runs", "send", "ord", "go").stderr
    assert invoke("runs", "diff", "ord", "oth").exit_code == 0
    assert invoke("runs", "delete", "ord").exit_code == 0
    assert invoke("runs", "show", "order-7").exit_code == 4


def test_latest_names_the_run_that_was_created_last(invoke: Invoke):
    run(invoke, "z")
    run(invoke, "a")
    assert "run       a" in invoke("runs", "show", "latest").stdout


def test_a_whole_id_comes_before_all_else(invoke: Invoke, fill):
    fill("order", "order-7", "latest", "late")
    for run_id in ("order", "latest"):
        result = invoke("runs", "delete", run_id)
        assert result.exit_code == 0, result.stderr
    left = invoke("runs", "list").stdout
    assert "order-7" in left
    assert "late " in left


def test_letters_of_several_runs_name_none_and_list_them(
    invoke: Invoke, fill, monkeypatch: pytest.MonkeyPatch
):
    fill("order-7", "order-8")

    async def a_day_later(_: SqliteStore) -> float:
        return T0 + 86_400 + 1

    monkeypatch.setattr(SqliteStore, "clock", a_day_later)
    result = invoke("runs", "delete", "order-")
    assert result.exit_code == 2
    assert "'order-' begins the ids of 2 runs; write more of it:" in result.stderr
    newest, oldest = result.stderr.splitlines()[-2:]
    assert newest == "  order-8  shop  completed  1 d ago"
    assert "order-7" in oldest
    assert "order-7" in invoke("runs", "list").stdout


def test_letters_of_several_runs_name_none_where_pages_end_early(
    invoke: Invoke, fill, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(SqliteStore, "_most_read", 3)
    fill("order-7", *(f"x-{n}" for n in range(7)), "order-8", *(f"y-{n}" for n in range(4)))
    result = invoke("runs", "delete", "order-")
    assert result.exit_code == 2
    assert "order-7" in result.stderr
    assert "order-8" in result.stderr


def test_of_many_runs_some_are_listed(invoke: Invoke, fill):
    fill(*(f"order-{n}" for n in range(20)))
    result = invoke("runs", "show", "order")
    assert "'order' begins the ids of 20 runs" in result.stderr
    assert result.stderr.splitlines()[-1].strip() == "…"


def test_letters_that_no_id_has_name_no_run(invoke: Invoke, fill):
    fill("order-7")
    for given in ("7", "ORDER", "order-78", "%", "_"):
        result = invoke("runs", "show", given)
        assert result.exit_code == 4
        assert f"there is no run {given!r}" in result.stderr


def test_nothing_is_the_latest_of_nothing(invoke: Invoke, fill):
    fill()
    result = invoke("runs", "show", "latest")
    assert result.exit_code == 4
    assert "the store has no run yet" in result.stderr


def test_a_shell_completes_ids(folder: Path, fill):
    fill("order-7", "order-8", "other", "x")

    def completed(*words: str) -> set[str]:
        result = gorkflow_in(
            folder,
            _GORKFLOW_COMPLETE="bash_complete",
            COMP_WORDS=" ".join(["gorkflow", *words]),
            COMP_CWORD=str(len(words)),
        )
        return {line.removeprefix("plain,") for line in result.stdout.split()}

    assert completed("runs", "show", "ord") == {"order-7", "order-8"}
    assert completed("runs", "delete", "x", "o") == {"order-7", "order-8", "other"}
    assert completed("timeline", "la") == {"latest"}
    assert completed("runs", "--store", "sqlite:.gorkflow/runs.db", "show", "x") == {"x"}
    assert completed("runs", "show", "--store", "sqlite:none.db", "x") == set()
