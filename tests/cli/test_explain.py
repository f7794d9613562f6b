"""Where the time of runs went, on the command line."""

from __future__ import annotations

import asyncio
import json
import re
import time
import xml.etree.ElementTree as ET

import pytest

from gorkflow import Engine, Signal, Workflow
from gorkflow.stores.sqlite import SqliteStore

FLOW = """
from gorkflow import Workflow, step

@step
async def listed(number: int) -> list[int]:
    return list(range(number))

@step
async def fetch(page: int) -> int:
    return page

@step
async def index(pages: list[int]) -> int:
    return len(pages)

@step
async def mail(pages: list[int]) -> int:
    return len(pages)

crawl = Workflow("crawl", input=int).then(listed).map(fetch).parallel(index, mail)
"""


FAILING = """
from gorkflow import RetryPolicy, Workflow, step

@step(retries=RetryPolicy(retries=1, initial_interval=0.01))
async def pay() -> int:
    raise ConnectionError("no")

failing = Workflow("failing").then(pay)
"""


@pytest.fixture(autouse=True)
def two_runs(folder, invoke):
    (folder / "crawl.py").write_text(FLOW)
    for name in ("r1", "r2"):
        assert invoke("run", "crawl.py", "--input", "12", "--run-id", name).exit_code == 0


def test_a_run(invoke):
    found = invoke("explain", "r1")
    assert found.exit_code == 0
    assert "crawl r1: completed" in found.stdout
    assert "map fetch: 12 branches" in found.stdout
    assert "… and 2 shorter ones" in found.stdout
    body = json.loads(invoke("explain", "r1", "--json").stdout)
    assert sum(body["time"].values()) == pytest.approx(body["seconds"])
    assert "| STEP |" in invoke("explain", "r1", "--markdown").stdout


def test_many_runs(invoke):
    found = invoke("explain", "--workflow", "crawl")
    assert found.exit_code == 0
    assert found.stdout.startswith("crawl: 2 runs, p50 ")
    assert " ended last in " in found.stdout
    assert (
        json.loads(invoke("explain", "--workflow", "crawl", "--json").stdout)["run"]["count"] == 2
    )


def test_a_forecast(invoke):
    found = invoke("whatif", "r1", "--max-concurrency", "2", "--slots", "2", "--scale", "fetch=3")
    assert found.exit_code == 0
    assert re.match(
        r"The run took .+ Its forecast is .+ under the recorded rules, and .+: \d+% more\.",
        found.stdout,
    )


def test_a_forecast_under_the_recorded_rules_saves_nothing(invoke):
    found = invoke("whatif", "r1", "--max-concurrency", "1000")
    assert re.search(r" under these: as long\.$", found.stdout.splitlines()[0]), found.stdout


def test_a_failed_run_fails_without_retries_too(folder, invoke):
    (folder / "failing.py").write_text(FAILING)
    assert invoke("run", "failing.py", "--run-id", "f").exit_code == 1
    found = invoke("whatif", "f", "--without-retries").stdout.splitlines()[0]
    assert found.endswith(" The run still fails.")


def test_a_waiting_run_goes_until_now_by_the_clock_of_the_store(invoke, monkeypatch):
    async def start() -> None:
        waiting = Workflow("waiting", input=int).wait_for(Signal("go", bool))
        async with Engine("sqlite:.gorkflow/runs.db") as engine:
            handle = await engine.start(waiting, 1, run_id="w")
            while (await engine.steps(handle.run_id))[0].reason == "":
                await asyncio.sleep(0)

    async def ahead(_: SqliteStore) -> float:
        return time.time() + 78 * 60

    asyncio.run(start())
    monkeypatch.setattr(SqliteStore, "clock", ahead)
    found = invoke("explain", "w")
    assert found.exit_code == 0, found.stderr
    title, *lines = found.stdout.splitlines()
    assert title == "waiting w: suspended, 1 h 18 min"
    assert any(re.match(r"go +waiting 1 h 18 min +1 h 18 min +100%", line) for line in lines)
    (bar,) = [line for line in invoke("timeline", "w").stdout.splitlines() if line[:3] == "go "]
    assert re.fullmatch(r"go +~+ +1 h 18 min \*", bar)


def test_a_rerun_that_kept_all(invoke):
    assert invoke("runs", "rerun", "r1", "crawl.py", "--run-id", "again").exit_code == 0
    said = invoke("explain", "again").stdout
    assert said.endswith("All results were kept from the run that it repeats.\n")


def test_pictures(invoke):
    assert "fetch[0]" in invoke("timeline", "r1").stdout
    for call in (("timeline", "r1"), ("graph", "crawl.py")):
        ET.fromstring(invoke(*call, "--format", "svg").stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("explain",), 2, "give a RUN_ID, or --workflow ID"),
        (("explain", "r1", "--workflow", "crawl"), 2, "give a RUN_ID, or --workflow ID"),
        (("explain", "nobody"), 4, "nobody"),
        (("explain", "--workflow", "nobody"), 4, "has no completed run"),
        (("whatif", "r1", "--scale", "fetsh=2"), 2, "did you mean 'fetch'?"),
        (("whatif", "r1", "--scale", "fetch"), 2, "is not STEP=FACTOR"),
        (("whatif", "r1", "--scale", "fetch=nan"), 2, "is not STEP=FACTOR"),
        (("whatif", "r1", "--slots", "0"), 2, "--slots"),
        (("whatif", "r1"), 2, "name a rule to change: --max-concurrency N, --slots N"),
        (("timeline", "nobody"), 4, "nobody"),
    ],
)
def test_what_it_can_not_use(invoke, arguments, code, said):
    found = invoke(*arguments)
    assert (found.exit_code, said in found.stderr) == (code, True), found.stderr
