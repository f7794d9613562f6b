"""One run that is damaged, or removed meanwhile, leaves the pages of all others whole."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gorkflow import RunFilter
from gorkflow.engine.engine import Engine

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
            assert answer.status_code == 500
            assert "harmed" in answer.text

    asyncio.run(main())


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
            html = (await place.local.get("/", headers={"accept": "text/html"})).text
            assert "whole" in html
            assert "harmed" not in html

    asyncio.run(main())
