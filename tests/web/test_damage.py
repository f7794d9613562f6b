"""One run that is damaged, or removed meanwhile, leaves the pages of all others whole."""

from __future__ import annotations

import asyncio
import html
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gorkflow import RunFilter, Workflow, step
from gorkflow.engine.engine import Engine
from gorkflow.errors import StepValueError, StoreCorruptError, StoreUnavailableError
from gorkflow.web._answers import rejected_by
from tests.cli.tools import gorkflow_in

from .tools import Place, doubling, site

LISTS = ("/", "/workflows", "/workflows/doubling", "/api/runs", "/api/workflows/doubling/overview")


async def two_runs(engine: Engine) -> None:
    for run_id in ("harmed", "whole"):
        await (await engine.start(doubling, 21, run_id=run_id)).result()


async def statuses(place: Place) -> dict[str, int]:
    return {path: (await place.local.get(path)).status_code for path in LISTS}


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM events WHERE run = 1 AND seq = 2",
        "UPDATE events SET body = '{nope' WHERE run = 1 AND seq = 1",
        "UPDATE events SET path = 'elsewhere' WHERE run = 1 AND seq = 3",
        "UPDATE events SET payload = x'7b7b' WHERE run = 1 AND payload IS NOT NULL",
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, harm: str) -> None:
    async def main() -> None:
        path = tmp_path / "runs.db"
        async with site(f"sqlite:{path}") as place:
            await two_runs(place.engine)
            with closing(sqlite3.connect(path)) as db, db:
                assert db.execute(harm).rowcount
            assert set((await statuses(place)).values()) == {200}
            answer = await place.local.get("/runs/harmed", headers={"accept": "text/html"})
            assert answer.status_code == 409
            assert "harmed" in answer.text

    asyncio.run(main())


VALUES = {
    "input": ("seq = 1", b"{{", "is damaged at event 1: it is not JSON"),
    "output": ("seq = 4", b"{{", "is damaged at event 4 (double): it is not JSON"),
    "secret": ("seq = 1", b'{"$":"secret","$v":', "is damaged at event 1: "),
}
"""A damaged value: where it is, its bytes, and how it is named."""


def harm_value(path: Path, harmed: str) -> str:
    where, junk, named = VALUES[harmed]
    with closing(sqlite3.connect(path)) as db, db:
        sql = f"UPDATE events SET payload = ? WHERE run = 1 AND {where}"
        assert db.execute(sql, (junk,)).rowcount == 1
    return named


@pytest.mark.parametrize("harmed", VALUES)
def test_each_view_of_a_damaged_value_names_it(tmp_path: Path, harmed: str) -> None:
    async def main() -> None:
        path = tmp_path / "runs.db"
        async with site(f"sqlite:{path}") as place:
            await two_runs(place.engine)
            named = harm_value(path, harmed)
            for view in ("/signals", "/flow.svg"):  # they show no value, but may not show a secret
                answer = await place.local.get(f"/api/runs/harmed{view}")
                assert answer.status_code == (409 if harmed == "secret" else 200), view
            for view in ("", "/steps", "/steps/double", "/history"):
                answer = await place.local.get(f"/api/runs/harmed{view}")
                assert answer.status_code == 409, (view, answer.text)
                error = answer.json()["error"]
                for wanted in ("'harmed'", named, "`gorkflow db check`", "runs delete harmed"):
                    assert wanted in error, view
            page = await place.local.get("/runs/harmed?tab=data", headers={"accept": "text/html"})
            assert page.status_code == 409
            for wanted in ("This record is damaged", html.escape(named), "gorkflow db check"):
                assert wanted in page.text
            stream = await place.local.get("/api/runs/harmed/events")
            assert stream.text.count("event: damaged") == 1
            assert named in stream.text
            for asked in (place.engine.get_run, place.engine.steps):
                with pytest.raises(StoreCorruptError, match=re.escape(named)):
                    await asked("harmed")

    asyncio.run(main())


@pytest.mark.parametrize("harmed", VALUES)
def test_each_command_names_a_damaged_value(tmp_path: Path, harmed: str) -> None:
    async def main() -> None:
        async with Engine(f"sqlite:{tmp_path}/runs.db", workflows=[doubling]) as engine:
            await two_runs(engine)

    asyncio.run(main())
    named = harm_value(tmp_path / "runs.db", harmed)
    commands = ["show", "show --json", "watch", "diff whole"]
    for command in commands:
        asked = (*command.split(), "harmed", "--store", "sqlite:runs.db")
        found = gorkflow_in(tmp_path, "runs", *asked)
        assert found.returncode == 3, (command, found.stderr)
        assert named in found.stderr
        assert "gorkflow db check --store sqlite:runs.db" in found.stderr


def test_a_result_that_does_not_fit_its_type_is_not_damaged(tmp_path: Path) -> None:
    @step(id="double")
    def texts(number: int) -> str:
        return str(number)

    async def main() -> None:
        store = f"sqlite:{tmp_path}/runs.db"
        async with Engine(store, workflows=[doubling]) as engine:
            await two_runs(engine)
        other = Workflow("doubling", input=int).then(texts)
        async with Engine(store, workflows=[other]) as engine:
            with pytest.raises(StepValueError):
                await engine.handle("whole").result()

    asyncio.run(main())


def test_a_file_is_named_without_its_folder() -> None:
    error = StoreUnavailableError("the store '/srv/x y/runs.db' is gone; restore it")
    found = rejected_by(error)
    assert (found.status_code, found.detail) == (503, "the store 'runs.db' is gone; restore it")


def test_a_run_that_was_removed_meanwhile_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with site() as place:
            await two_runs(place.engine)
            store: Any = place.engine.store
            rows = await store.list_runs(RunFilter())
            await store.delete_runs(["harmed"])

            async def before(_: RunFilter) -> Any:
                return rows

            monkeypatch.setattr(store, "list_runs", before)
            assert set((await statuses(place)).values()) == {200}
            shown = (await place.local.get("/", headers={"accept": "text/html"})).text
            assert "whole" in shown
            assert "harmed" not in shown

    asyncio.run(main())
