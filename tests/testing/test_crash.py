"""`testing.crash_at_every_commit`: the engine dies at each commit, and what that changes."""

import asyncio
import itertools
import logging
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from gorkflow import RetryPolicy, Signal, StepContext, Workflow, step, testing
from gorkflow.store import NewRun
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite.store import SqliteStore

SRC = Path(__file__).parents[2] / "src"


class Bank:
    """A world that survives the crash."""

    def __init__(self) -> None:
        self.paid: dict[str, int] = {}
        self.calls: list[str] = []


Deps = StepContext[Bank]


@step(retries=RetryPolicy(retries=2, initial_interval=5))
async def charge(ctx: Deps, cents: int) -> str:
    """Tell a repeated request by its key."""
    ctx.deps.calls.append(ctx.idempotency_key)
    if len(ctx.deps.calls) == 1:
        raise ConnectionError("try again")
    ctx.deps.paid.setdefault(ctx.idempotency_key, cents)
    return "paid"


@step(id="charge-blindly")
async def charge_blindly(ctx: Deps, cents: int) -> str:
    ctx.deps.paid[f"{len(ctx.deps.paid)}"] = cents
    return "paid"


@step
def pack(cents: int) -> str:
    return "packed"


@step
async def wait(cents: int) -> str:
    await asyncio.sleep(3600)
    return "waited"


@step
async def close(a: str, b: str, c: str) -> str:
    return f"{a} {b} {c}"


shop = Workflow("shop", input=int).parallel(charge, pack, wait).then(close)
careless = Workflow("careless", input=int).parallel(charge_blindly, pack, wait).then(close)


def one_payment(bank: Bank) -> None:
    assert sum(bank.paid.values()) == 995


def test_a_workflow_with_idempotent_steps_passes():
    report = testing.crash_at_every_commit(shop, 995, make_deps=Bank, check=one_payment)
    assert report.differences == ()
    assert report.undisturbed.output == "paid packed waited"
    assert report.commits >= 5  # the start, four steps, one of them twice
    assert report.cases == 2 * report.commits
    assert "0 cases ended otherwise" in str(report)


def test_every_step_that_was_open_at_a_crash_begins_again_with_the_same_key():
    report = testing.crash_at_every_commit(shop, 995, make_deps=Bank)
    assert {item.path for item in report.doubled} == {"charge", "pack", "wait", "close"}
    assert all(item.same_key for item in report.doubled)
    assert {item.path: item.expected for item in report.doubled}["charge"] in {1, 2}
    assert "the same idempotency key" in str(report)


def test_side_effects_that_double_are_found_by_the_check():
    report = testing.crash_at_every_commit(careless, 995, make_deps=Bank, check=one_payment)
    assert {item.what for item in report.differences} == {"check"}
    assert "1990" in str(report)
    assert "charge-blindly" in {item.path for item in report.doubled}


def test_outputs_that_a_crash_changes_are_found():
    @step
    async def attempt(ctx: StepContext, cents: int) -> int:
        return ctx.attempt

    report = testing.crash_at_every_commit(Workflow("w", input=int).then(attempt), 1)
    assert [(item.what, item.expected, item.got) for item in report.differences] == [
        ("output", 1, 2)
    ] * 2  # after it was scheduled, and before its result was recorded
    assert [item.case for item in report.differences] == [
        "killed after commit 1",
        "killed before commit 2",
    ]


def test_a_recorded_result_never_begins_again():
    report = testing.crash_at_every_commit(Workflow("w", input=int).then(pack).then(done), 1)
    assert report.commits == 3
    cases = {item.path: item.cases for item in report.doubled}
    assert cases == {
        "pack": ("killed before commit 2",),
        "done": ("killed before commit 3",),
    }


@step
async def done(text: str) -> str:
    return text


def test_a_store_that_forgets_is_found_out():
    class Forgetful(MemoryStore):
        """Drops all but the start of the run, once a process is gone."""

        def write(self, batch):
            if isinstance(batch[0], NewRun):
                self.first = list(batch)
            return super().write(batch)

        async def unregister(self, worker_id):
            await super().unregister(worker_id)
            if await self.get_run("test-run"):
                await self.close()
                await self.open()
                await super().write(self.first)

    workflow = Workflow("w", input=int).then(pack).then(done)
    report = testing.crash_at_every_commit(workflow, 1, make_store=Forgetful)
    assert "killed after commit 2" in {item.path: item.cases for item in report.doubled}["pack"]


def test_nothing_of_a_dead_engine_goes_on_until_the_case_is_over():
    class Log(list):
        pass

    @step
    async def guarded(ctx: StepContext[Log], cents: int) -> str:
        ctx.deps.append(f"begin {ctx.attempt}")
        try:
            await asyncio.sleep(60)
            ctx.deps.append(f"end {ctx.attempt}")
        finally:
            ctx.deps.append(f"clean {ctx.attempt}")
        return "ok"

    logs: list[Log] = []

    def make() -> Log:
        logs.append(Log())
        return logs[-1]

    @step
    async def quick(cents: int) -> str:
        return "ok"

    workflow = Workflow("w", input=int).parallel(guarded, quick)
    report = testing.crash_at_every_commit(workflow, 1, make_deps=make, commits=[2])
    assert report.differences == ()
    expected = ["begin 1", "begin 2", "end 2", "clean 2", "clean 1"]
    assert logs[1:] == [expected, expected]


def test_time_goes_on_over_the_crash():
    report = testing.crash_at_every_commit(shop, 995, make_deps=Bank)
    run = report.undisturbed.run
    assert (run.finished_at - run.created_at).total_seconds() == 3600


def test_single_commits_can_be_looked_at():
    report = testing.crash_at_every_commit(shop, 995, make_deps=Bank, commits=[1])
    assert report.cases == 2
    assert report.commits > 1


@pytest.mark.parametrize("commits", [[99], [0], [1, 99], []])
def test_commits_that_the_run_does_not_have_are_an_error(commits):
    count = testing.crash_at_every_commit(shop, 7, make_deps=Bank, commits=[1]).commits
    with pytest.raises(ValueError, match=f"the undisturbed run has {count} commits; name some"):
        testing.crash_at_every_commit(shop, 7, make_deps=Bank, commits=commits)


def test_the_repr_of_a_report_fits_into_the_message_of_an_assert():
    report = testing.crash_at_every_commit(shop, 7, make_deps=Bank, commits=[1])
    assert repr(report).startswith("<CrashReport: killed 2 times at ")
    assert len(repr(report)) < 200
    assert str(report).partition("\n")[0] in repr(report)


def test_on_sqlite(tmp_path):
    numbers = itertools.count()
    report = testing.crash_at_every_commit(
        shop,
        995,
        make_deps=Bank,
        check=one_payment,
        make_store=lambda: SqliteStore(tmp_path / f"{next(numbers)}.db", synchronous="normal"),
    )
    assert report.differences == ()
    assert next(numbers) == report.cases + 1


def test_a_failing_workflow_fails_alike():
    report = testing.crash_at_every_commit(
        shop, 995, make_deps=Bank, fakes={pack: ValueError("no tape")}
    )
    assert report.undisturbed.error is not None
    assert report.differences == ()
    assert "failures" in {item.what for item in report.by_design}


def test_the_undisturbed_run_has_to_pass_the_check():
    def never(bank: Bank) -> None:
        raise AssertionError("too strict")

    with pytest.raises(AssertionError, match="too strict"):
        testing.crash_at_every_commit(shop, 995, make_deps=Bank, check=never)


def test_a_run_that_is_stuck_undisturbed_is_an_error():
    async def stuck(cents: int) -> str:
        return await asyncio.Event().wait() or ""

    with pytest.raises(testing.StuckError, match="'pack'"):
        testing.crash_at_every_commit(shop, 995, make_deps=Bank, fakes={pack: stuck})


def test_it_leaves_no_threads_and_logs_nothing_of_the_dead(caplog):
    caplog.set_level(logging.WARNING)
    testing.crash_at_every_commit(careless, 995, make_deps=Bank)
    before = threading.active_count()
    testing.crash_at_every_commit(careless, 995, make_deps=Bank)
    assert threading.active_count() <= before + 2
    assert caplog.messages == []


def test_the_plugin_is_light():
    code = "import sys, gorkflow_pytest; print('gorkflow' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env
    )
    assert loaded.stdout.strip() == "False"


def test_the_plugin_brings_the_fixture(tmp_path):
    test = tmp_path / "test_it.py"
    test.write_text(
        textwrap.dedent(
            """
            from gorkflow import Workflow, step

            @step
            async def double(number: int) -> int:
                return 2 * number

            def test_crashes(crash_at_every_commit):
                report = crash_at_every_commit(Workflow("w", input=int).then(double), 4)
                assert report.undisturbed.output == 8
                assert not report.differences
            """
        )
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "gorkflow_pytest", "-W", "error", test]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_plugin_is_registered():
    text = (SRC.parent / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\ngorkflow_pytest = "gorkflow_pytest"' in text


approved = Signal("approved", int)


@step
async def both_of(cents: int, answer: int) -> int:
    return cents + answer


def test_sleeps_and_signals_survive_a_crash():
    workflow = Workflow("w", input=int).sleep(86_400).wait_for(approved).then(both_of)
    report = testing.crash_at_every_commit(workflow, 1, signals={approved: 2})
    assert report.undisturbed.output == 3
    assert report.differences == ()
    assert [item.path for item in report.doubled] == ["both_of"]


def test_a_delayed_start_survives_a_crash():
    workflow = Workflow("w", input=int).then(wait)
    report = testing.crash_at_every_commit(workflow, 1, delay=86_400)
    took = report.undisturbed.run.finished_at - report.undisturbed.run.created_at
    assert took.total_seconds() == 86_400 + 3600
    assert report.differences == ()


def test_a_crash_while_undoing_undoes_all_the_same():
    class Account:
        def __init__(self) -> None:
            self.held: set[str] = set()
            self.order: list[str] = []

    @step
    async def hold(ctx: StepContext[Account], cents: int) -> int:
        ctx.deps.held.add(ctx.path)
        return cents

    @step(retries=1)
    async def free(ctx: StepContext[Account], cents: int, held: int | None) -> None:
        ctx.deps.held.discard(ctx.path.removesuffix("~undo"))
        ctx.deps.order.append(ctx.path)

    @step
    async def fail(amounts: list[int]) -> None:
        raise ValueError("no")

    @step
    async def split(cents: int) -> list[int]:
        return [cents, cents]

    def freed(account: Account) -> None:
        assert not account.held
        assert account.order.index("part[0]~undo") < account.order.index("hold~undo")

    flow = (
        Workflow("w", input=int)
        .then(hold.undo(free))
        .then(split)
        .map(hold.options(id="part").undo(free))
        .then(fail)
    )
    report = testing.crash_at_every_commit(flow, 5, make_deps=Account, check=freed)
    assert report.differences == ()
    assert report.undisturbed.status == "failed"
    undone = [item for item in report.doubled if item.path.endswith("~undo")]
    assert {item.path for item in undone} == {"hold~undo", "part[0]~undo", "part[1]~undo"}
    assert all(item.same_key for item in undone)
