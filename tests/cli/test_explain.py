"""Where the time of runs went, on the command line."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

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
    assert "held the block back in" in found.stdout
    assert (
        json.loads(invoke("explain", "--workflow", "crawl", "--json").stdout)["run"]["count"] == 2
    )


def test_a_forecast(invoke):
    found = invoke("whatif", "r1", "--max-concurrency", "2", "--slots", "2", "--scale", "fetch=3")
    assert found.exit_code == 0
    assert found.stdout.startswith("The run took ")


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
        (("timeline", "nobody"), 4, "nobody"),
    ],
)
def test_what_it_can_not_use(invoke, arguments, code, said):
    found = invoke(*arguments)
    assert (found.exit_code, said in found.stderr) == (code, True), found.stderr
