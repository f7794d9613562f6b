"""The payment fails, and nothing is left of the order: also after a crash at any moment."""

import subprocess
import sys
from pathlib import Path

import pytest

from examples import order_saga as saga
from gorkflow import RunFailedError, run, testing


def order(folder: Path, cents: int) -> saga.Order:
    return saga.Order(item="lamp", cents=cents, balance=5_000, books=folder / "books")


def test_what_is_paid_is_kept(tmp_path):
    assert run(saga.ordering, order(tmp_path, 100), store="memory:").startswith("paid")
    assert saga.books(tmp_path / "books") == {"bank": ["100"], "courier": ["lamp"],
                                              "stock": ["lamp"]}  # fmt: skip


def test_where_the_payment_fails_nothing_is_left(tmp_path):
    with pytest.raises(RunFailedError, match="card declined: 9900 is more than 5000"):
        run(saga.ordering, order(tmp_path, 9_900), store="memory:")
    assert saga.books(tmp_path / "books") == {"courier": [], "stock": []}


def test_what_happened_after_the_payment_undoes_it(tmp_path):
    result = testing.run_sync(
        saga.ordering, order(tmp_path, 100), fakes={saga.confirm: ValueError("no paper")}
    )
    assert result.status == "failed"
    assert saga.books(tmp_path / "books") == {"bank": [], "courier": [], "stock": []}
    undone = [path for path in result.steps if path.endswith("~undo")]
    assert undone == ["charge~undo", "book_courier~undo", "reserve~undo"]


@pytest.mark.parametrize("cents", [100, 9_900])
def test_a_crash_at_any_moment_leaves_all_or_nothing(tmp_path, cents):
    def all_or_nothing(_: object) -> None:
        found = saga.books(tmp_path / "books")
        kept = ["lamp"] if cents == 100 else []
        assert (found["stock"], found["courier"]) == (kept, kept)
        for book in (tmp_path / "books").iterdir():
            for entry in book.iterdir():
                entry.unlink()

    report = testing.crash_at_every_commit(
        saga.ordering, order(tmp_path, cents), make_deps=dict, check=all_or_nothing
    )
    assert report.differences == ()


def test_the_program_runs(tmp_path):
    program = Path(saga.__file__)
    told = subprocess.run(
        [sys.executable, program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert "card declined" in told
    assert told.splitlines()[-1] == "{'courier': [], 'stock': []}"
