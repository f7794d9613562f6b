"""The demo's store: what is in it, and that it is the same each time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gorkflow import Engine, RunFilter, stores
from gorkflow.demo.flows import WORKFLOWS
from gorkflow.demo.history import DAYS, make_history
from gorkflow.store import Level
from gorkflow.testing import VirtualEngine, in_virtual_time

NOW = 1_700_000_000.0
RUNS = 250


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    url = f"sqlite:{tmp_path_factory.mktemp('demo')}/demo.db"
    told = []
    make_history(url, now=NOW, runs=RUNS, report=told.append)
    assert told == list(range(1, RUNS + 1))
    return url


def reading(url, work):
    async def main():
        store = stores.open_store(url)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(main())


def rows_of(url):
    return list(reading(url, lambda store: store.list_runs(RunFilter(limit=10_000))))


def test_all_workflows_and_all_ends(url):
    rows = rows_of(url)
    assert RUNS <= len(rows) < 1.2 * RUNS  # reruns come on top
    assert {row.workflow_id for row in rows} == {flow.id for flow in WORKFLOWS}
    statuses = Counter(row.status.value for row in rows)
    assert set(statuses) == {"completed", "failed", "cancelled", "suspended"}
    assert statuses["completed"] > RUNS / 2
    assert all(NOW - DAYS * 86_400 <= row.created_at <= NOW for row in rows)
    assert all(row.finished_at is None or row.finished_at <= NOW for row in rows)
    assert all(row.worker_id is None for row in rows)
    assert any(row.run_id.endswith("-again") for row in rows)


def test_everything_is_in_the_histories(url):
    async def kinds(store):
        events, cursor, found = [None], "", Counter()
        while events:
            events, cursor = await store.read_all_events(after=cursor)
            found.update(event.kind for event in events)
        return found

    assert set(reading(url, kinds)) >= {
        "step_failed", "step_cancelled", "step_skipped", "timer_fired", "wait_opened", "expanded",
        "signal_received", "cancel_requested", "undo_started", "result_kept", "block_decided",
    }  # fmt: skip


def test_logs_are_kept(url):
    async def lines(store):
        return [line for row in rows for line in await store.logs(row.run_id)]

    rows = rows_of(url)
    found = reading(url, lines)
    assert any("carriers go to" in line.text for line in found)
    assert {line.level for line in found} == {20, 30}
    assert all(NOW - DAYS * 86_400 <= line.at <= NOW for line in found)


def test_tracebacks_have_the_lines_of_the_workflows(url):
    async def failures(store):
        async with Engine(store, recover=False) as engine:
            page = await engine.list_runs(RunFilter(status="failed", limit=100))
            runs = [await engine.get_run(run.run_id) for run in page]
        return [failure for run in runs for failure in run.failures if failure.code != "timeout"]

    found = reading(url, failures)
    assert found
    assert any("demo/flows.py" in each.traceback for each in found)
    assert not any("gorkflow/engine" in each.traceback for each in found)
    assert all(each.traceback.count("in call") <= 1 for each in found)  # each error is its own


def test_the_store_is_sound(url):
    async def check(store):
        return await store.check()

    assert [each for each in reading(url, check) if each.level is not Level.OK] == []


def test_schedules_are_due_after_now(url):
    schedules = reading(url, lambda store: store.schedules())
    assert {row.schedule_id for row in schedules} == {"acme-hourly", "north", "south"}
    assert all(NOW < row.next_due <= NOW + 86_400 for row in schedules)
    assert any(dict(row.tags).get("schedule") == "north" for row in rows_of(url))


def test_runs_that_wait_continue(url, tmp_path):
    """What an approval waits for can be sent, and the run goes on."""
    copy = tmp_path / "copy.db"
    reading(url, lambda store: store.backup(str(copy)))

    async def main():
        async with VirtualEngine(f"sqlite:{copy}", workflows=WORKFLOWS) as engine:
            query = RunFilter(status="suspended", workflow_id="checkout", limit=1)
            (run,) = (await engine.list_runs(query))[:1]
            await engine.send(run.run_id, "approved", {"by": "Ann"})
            await engine.recover(run.run_id)
            outcome = await engine.handle(run.run_id).outcome()
            assert outcome.status == "completed"

    in_virtual_time(main(), start=NOW + 60)


def test_the_same_seed_makes_the_same_runs(url, tmp_path):
    again = f"sqlite:{tmp_path}/again.db"
    make_history(again, now=NOW, runs=RUNS)
    assert rows_of(again) == rows_of(url)
    other = f"sqlite:{tmp_path}/other.db"
    make_history(other, now=NOW, runs=RUNS, seed=1)
    assert rows_of(other) != rows_of(url)


def test_without_a_quiet_time_steps_are_at_work(tmp_path):
    url = f"sqlite:{tmp_path}/busy.db"
    make_history(url, now=NOW, runs=40, quiet=0)
    running = [row for row in rows_of(url) if row.status.value == "running"]
    assert len({row.workflow_id for row in running}) == 4
    assert max(row.created_at for row in rows_of(url)) > NOW - 5
