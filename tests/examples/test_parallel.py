"""Every workflow of the seed page, by its results and by what the engine recorded of it."""

import asyncio
import os
import re
import runpy
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import gorkflow
from examples.parallel import (
    accessing_outputs,
    balance,
    basic,
    chained_blocks,
    complete,
    continue_on_error,
    default_failure,
    fan_out_fan_in,
    independent_operations,
    monitoring,
    multi_source,
    timeouts,
    timeouts_and_retries,
)
from gorkflow import Engine, Failure, Run, RunFailedError, StepExecution, StepStatus, Workflow
from gorkflow.events import BlockDecided

FOLDER = Path(basic.__file__).parent


@dataclass
class Carried:
    """A run, from all sides."""

    output: Any
    run: Run
    steps: dict[str, StepExecution]
    reasons: dict[str, str] = field(default_factory=dict)

    def statuses(self) -> dict[str, str]:
        return {path: step.status.value for path, step in self.steps.items()}

    def overlap(self, *paths: str) -> bool:
        """Whether there was a moment at which all of these were running."""
        steps = [self.steps[path] for path in paths]
        return max(step.started_at for step in steps) < min(step.finished_at for step in steps)

    def after(self, path: str, *others: str) -> bool:
        """Whether a step began when the others had ended."""
        return all(self.steps[path].started_at >= self.steps[it].finished_at for it in others)

    def failures(self) -> list[tuple[str, str, bool]]:
        return [(it.path, it.code.value, it.handled) for it in self.run.failures]


def carry(workflow: Workflow[Any, Any], value: Any, **engine: Any) -> Carried:
    async def whole() -> Carried:
        async with Engine("memory:", **engine) as it:
            handle = await it.start(workflow, value)
            try:
                output = await handle.result()
            except RunFailedError as error:
                output = error
            steps = {step.path: step for step in await it.steps(handle.run_id)}
            events = [event async for event in handle.events()]
            reasons = {it.path: it.reason for it in events if isinstance(it, BlockDecided)}
            return Carried(output, await handle.info(), steps, reasons)

    return asyncio.run(whole())


def test_basic():
    run = carry(basic.basic, basic.Text(text="a b c a longest"))
    assert run.output == "5 words, 4 of them distinct, the longest is 'longest'"
    assert run.overlap("process_a", "process_b", "process_c")
    assert run.after("process_a", "prepare")
    assert run.after("aggregate", "process_a", "process_b", "process_c")


def test_complete_prints_what_the_page_prints():
    run = carry(complete.complete, complete.DataInput(id=7))
    assert run.output == complete.AggregatedOutput(combined="A-7|B-7|C-7")
    assert run.overlap("process-a", "process-b", "process-c")
    assert [run.steps[path].name for path in ("process-a", "process-b")] == [
        "Process A",
        "Process B",
    ]
    ran = [run.steps[it].attempts[0].ran for it in ("process-a", "process-b", "process-c")]
    block = run.steps["aggregate"].scheduled_at - run.steps["process-a"].scheduled_at
    assert block.total_seconds() < 0.9 * sum(ran)


def test_fan_out_fan_in():
    run = carry(fan_out_fan_in.fan_out_in, fan_out_fan_in.SALES)
    assert [(it.region, it.sales, str(it.amount)) for it in run.output.regions] == [
        ("Europe", 3, "50.00"),
        ("Asia", 1, "40.00"),
        ("Africa", 0, "0"),
    ]
    assert run.output.regions[0].best_product == "cups"
    assert str(run.output.amount) == "90.00"
    assert run.overlap("europe", "asia", "africa")


def test_independent_operations(tmp_path):
    order = independent_operations.Order(number=7, email="a@example.org", cents=1990)
    outbox = independent_operations.Outbox(folder=tmp_path)
    run = carry(independent_operations.independent, order, deps=outbox)
    assert run.output == "mailed order-7.eml, 1 orders stored, webhook said 204, wrote order-7.csv"
    assert (tmp_path / "order-7.csv").read_text().split() == ["number,cents", "7,1990"]
    assert "To: a@example.org" in (tmp_path / "order-7.eml").read_text()
    assert f"{run.run.run_id}:call_webhook" in (tmp_path / "webhook.json").read_text()
    carry(independent_operations.independent, order, deps=outbox)  # as a repeated step would
    database = sqlite3.connect(tmp_path / "orders.db")
    assert database.execute("SELECT * FROM orders").fetchall() == [(7, 1990)]
    database.close()


def test_independent_operations_do_nothing_for_bad_input(tmp_path):
    order = independent_operations.Order(number=7, email="nowhere", cents=1)
    outbox = independent_operations.Outbox(folder=tmp_path)
    run = carry(independent_operations.independent, order, deps=outbox)
    assert run.failures() == [("validate_input", "step_failed", False)]
    assert list(tmp_path.iterdir()) == []


def test_multi_source(tmp_path):
    overview = asyncio.run(multi_source.main(tmp_path, "Bern"))
    assert overview == multi_source.Overview(
        city="Bern",
        celsius=21.5,
        headlines=["All is well in Bern"],
        visits=[
            multi_source.Visit(year=2019, note="the river"),
            multi_source.Visit(year=2021, note="the bears"),
        ],
        nickname="City of Bears",
    )


def test_multi_source_with_an_empty_cache_and_no_rows(tmp_path):
    overview = asyncio.run(multi_source.main(tmp_path, "Oslo"))
    assert (overview.visits, overview.nickname) == ([], None)


def test_accessing_outputs():
    assert carry(accessing_outputs.accessing, 10).output == "total 189, of which step B gave 12"
    run = carry(accessing_outputs.accessing, -10)
    assert run.output == "total 37, of which step B gave 0 (step B takes no negative values)"
    assert run.failures() == [("step_b", "step_failed", True)]


def test_chained_blocks():
    run = carry(chained_blocks.chained, " abc ")
    assert run.output == "3CBA, 1 digits, plain"
    assert run.overlap("group1_a", "group1_b")
    assert run.overlap("group2_a", "group2_b", "group2_c")
    assert run.after("intermediate", "group1_a", "group1_b")
    assert run.after("group2_a", "intermediate")
    assert run.after("finalize", "group2_a", "group2_b", "group2_c")


def test_block_after_block_gets_what_every_branch_gave():
    run = carry(chained_blocks.without_between, "ab")
    assert run.output == "ABAB **AB**"
    assert run.steps["pad"].input == run.steps["repeat"].input
    assert list(run.steps["pad"].input) == ["AB", 2]


def test_default_failure_lists_every_failure_and_keeps_every_result():
    run = carry(default_failure.default, 7)
    assert isinstance(run.output, RunFailedError)
    assert [(it.path, it.message) for it in run.output.failures] == [
        ("step_b", "B can't reach number 7"),
        ("step_c", "C does not like 7"),
    ]
    assert run.run.output is None
    assert run.steps["step_a"].output == "A-7"
    assert run.statuses() == {
        "step_a": "completed",
        "step_b": "failed",
        "step_c": "failed",
        "after": "cancelled",
    }


def test_default_failure_can_stop_the_others():
    run = carry(default_failure.fail_fast, 7)
    assert [it.path for it in run.output.failures] == ["step_b"]
    assert run.statuses()["step_a"] == run.statuses()["step_c"] == "cancelled"
    assert "step_b failed" in run.steps["step_a"].reason


CONTINUING = [continue_on_error.per_step, continue_on_error.by_default, continue_on_error.settled]


@pytest.mark.parametrize("workflow", CONTINUING, ids=lambda it: it.id)
def test_continue_on_error_completes_and_shows_what_it_went_on_from(workflow):
    run = carry(workflow, ["b"])
    assert run.run.status == "completed"
    assert run.failures() == [("step_b", "step_failed", True)]
    assert run.steps["step_b"].status is StepStatus.FAILED
    partial = "step_a=1, step_b: source B is slow, step_c=4"
    assert run.output == (partial if workflow is continue_on_error.settled else 5)


def test_continue_on_error_per_step_is_about_that_step_only():
    run = carry(continue_on_error.per_step, ["a"])
    assert run.failures() == [("step_a", "step_failed", False)]


def test_continue_on_error_may_still_fail_when_nothing_is_left():
    run = carry(continue_on_error.by_default, ["a", "b", "c"])
    assert isinstance(run.output, RunFailedError)
    (failure,) = run.output.failures
    assert failure.path == "any_of"
    assert failure.message == (
        "all parallel steps failed: source A is down; source B is slow; source C is odd"
    )
    assert carry(continue_on_error.settled, ["a", "b", "c"]).output == (
        "step_a: source A is down, step_b: source B is slow, step_c: source C is odd"
    )


def test_timeouts_let_pass_what_is_in_time():
    assert carry(timeouts.timeouts, 0.0).output == "quick, slow, quick, in a thread"


def test_timeouts_are_each_branchs_own():
    run = carry(timeouts.which, 20.0)
    assert run.output == ["Failed: quick", "Completed: slow", "Failed: quick_in_a_thread"]
    assert run.failures() == [("quick", "timeout", True), ("quick_in_a_thread", "timeout", True)]
    assert run.steps["quick"].attempts[0].ran < run.steps["slow"].attempts[0].ran


def test_balance_a_block_takes_as_long_as_its_slowest_branch():
    run = carry(balance.unbalanced, 100)
    assert run.output == 300
    assert run.overlap("quick", "medium", "long")
    quick, medium, long = (balance.took(run.steps[path]) for path in ("quick", "medium", "long"))
    assert quick < medium < long
    block = run.steps["total"].scheduled_at - run.steps["quick"].scheduled_at
    assert long <= block.total_seconds() < quick + medium + long


def test_balanced_work_leaves_nobody_waiting():
    run = carry(balance.balanced, 100)
    times = [balance.took(run.steps[f"chunk-{number}"]) for number in (1, 2, 3)]
    assert sum(times) / (max(times) * 3) > 0.7


def test_timeouts_and_retries():
    run = carry(timeouts_and_retries.reliable, 1)
    assert run.output == "API answered in attempt 2; row written in attempt 2"
    assert codes(run.steps["api_call"]) == ["timeout", None]
    assert codes(run.steps["db_write"]) == ["step_failed", None]
    assert run.run.failures == ()  # a failure that a retry made good is no final one


def test_timeouts_and_retries_give_up_on_what_is_hopeless():
    run = carry(timeouts_and_retries.reliable, 4)
    assert codes(run.steps["db_write"]) == ["step_failed", "step_failed"]  # of three it might have
    assert run.steps["db_write"].failure.type.endswith("DiskFullError")
    # The block drains: the API's attempt goes on to its timeout, but there is no further one.
    assert codes(run.steps["api_call"]) == ["timeout"]


def codes(step: StepExecution) -> list[str | None]:
    failures: list[Failure | None] = [attempt.failure for attempt in step.attempts]
    return [None if failure is None else failure.code.value for failure in failures]


def test_monitoring_logs_and_shows_events_while_they_happen(caplog):
    caplog.set_level("INFO", "gorkflow.step")

    async def whole() -> tuple[str, list[str], int]:
        async with Engine("memory:") as engine:
            handle = await engine.start(monitoring.monitored, 1)
            lines = await monitoring.watch(engine, handle.run_id)
            return handle.run_id, lines, await handle.result()

    run_id, lines, total = asyncio.run(whole())
    assert total == 3
    completed = [line for line in lines if "completed" in line and "begins" not in line]
    assert completed[0] == "small completed"
    decided = next(line for line in lines if line.startswith("&small is decided"))
    assert re.search(r"3 of 3 completed \(small, middle, large\)", decided)
    assert lines.index(decided) < lines.index("total begins, attempt 1")
    records = {it.path: it for it in caplog.records if it.message.startswith("completed in")}
    assert {it.run_id for it in records.values()} == {run_id}
    assert records["small"].duration < records["large"].duration


def test_monitoring_logs_what_runs_say_too(tmp_path):
    path = Path(monitoring.__file__)
    env = {**os.environ, "PYTHONPATH": str(Path(gorkflow.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, path], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert re.search(r"^\S+ small: completed in 0\.\d+ s$", done.stderr, re.MULTILINE)
    assert re.search(r"^\S+ -: run .* completed in", done.stderr, re.MULTILINE)
    assert "Logging error" not in done.stderr


EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_as_a_program(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
    assert not (tmp_path / ".gorkflow").exists()  # an example leaves nothing behind
