"""What ``gorkflow runs show`` prints of the steps of a run."""

import asyncio
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from gorkflow import Engine, Signal, Workflow
from tests.cli.conftest import Invoke

FLOW = """
from gorkflow import RetryPolicy, StepContext, Workflow, step

@step
async def items(number: int) -> list[str]:
    return [f"item {n}" for n in range(number)]

@step(retries=RetryPolicy(retries=1, initial_interval=0.01))
async def fetch(ctx: StepContext, item: str) -> str:
    if item == "item 40" and ctx.attempt == 1:
        raise ConnectionError("the server hung up")
    return item.upper() + "日本" * 40

@step
async def join(texts: list[str]) -> str:
    return "x" * 3000

@step
async def fail(text: str) -> str:
    raise ValueError("broken")

many = Workflow("many", input=int).then(items).map(fetch).then(join)
failing = many.then(fail)
"""


@pytest.fixture
def flow(folder: Path) -> str:
    (folder / "many.py").write_text(FLOW)
    return "many.py"


@pytest.mark.parametrize("columns", [80, 100, 40])
def test_lines_are_cut_to_the_width(
    invoke: Invoke, flow: str, monkeypatch: pytest.MonkeyPatch, columns: int
):
    monkeypatch.setenv("COLUMNS", str(columns))
    invoke("run", f"{flow}:many", "--input", "50", "--run-id", "r")
    text = invoke("runs", "show", "r").stdout
    table = text[text.index("\nSTEP") + 1 :].splitlines()
    assert max(map(cell_len, table)) <= columns
    at = table.index('  in   "item 0"')
    assert table[at - 1].startswith("fetch[0]   completed  1 ")
    assert table[at + 1].startswith('  out  "ITEM 0日本')
    assert table[at + 1].endswith("…")


def test_items_that_went_well_are_counted_and_the_others_shown(invoke: Invoke, flow: str):
    invoke("run", f"{flow}:many", "--input", "50", "--run-id", "r")
    lines = invoke("runs", "show", "r").stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("fetch[")] == [
        "fetch[0]", "fetch[1]", "fetch[2]", "fetch[3]", "fetch[4]", "fetch[40]",
    ]  # fmt: skip
    assert "  … 44 more: 44 completed; --full shows them" in lines
    (retried,) = [line for line in lines if line.startswith("  attempt 1 failed")]
    assert re.search(r"after \d+ m?s: ConnectionError: the server hung up; attempt 2", retried)


def test_full_cuts_nothing_and_leaves_out_nothing(invoke: Invoke, flow: str):
    invoke("run", f"{flow}:many", "--input", "50", "--run-id", "r")
    assert "characters; --full shows all" in invoke("runs", "show", "r").stdout
    lines = invoke("runs", "show", "r", "--full").stdout.splitlines()
    assert len([line for line in lines if line.startswith("fetch[")]) == 50
    assert any("x" * 3000 in line for line in lines)
    assert f'  out  "ITEM 49{"日本" * 40}"' in lines


def test_failures_have_the_lines_of_the_user(invoke: Invoke, flow: str):
    invoke("run", f"{flow}:failing", "--input", "1", "--run-id", "r")
    text = invoke("runs", "show", "r").stdout
    failures = text[text.index("\nfailures:") :]
    assert 'raise ValueError("broken")' in failures
    assert "many.py" in failures
    assert "gorkflow/" not in failures.replace(str(Path.cwd()), "")


def test_a_wait_says_how_to_send_its_signal(invoke: Invoke, flow: str):
    async def start() -> None:
        waiting = Workflow("waiting", input=int).wait_for(Signal("go", bool))
        async with Engine("sqlite:.gorkflow/runs.db") as engine:
            handle = await engine.start(waiting, 1, run_id="r")
            while (await engine.steps(handle.run_id))[0].reason == "":
                await asyncio.sleep(0)

    Path(".gorkflow").mkdir()
    asyncio.run(start())
    lines = invoke("runs", "show", "r").stdout.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.endswith("waits for signal 'go'")]
    assert lines[at].startswith("go    suspended")
    assert lines[at + 1] == "  send it: gorkflow runs send r go --payload JSON"
