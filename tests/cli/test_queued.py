"""Queues on the command line: who serves them, what waits in them, and how a run gets there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Client, Engine, Workflow, step
from gorkflow.cli._target import load
from gorkflow.cli._worker import Wanted, engine_of

FLOW = """
from gorkflow import Engine, Workflow, step

@step
def double(number: int) -> int:
    raise AssertionError("this command runs no step")

doubling = Workflow("doubling", input=int).then(double)
drawing = Workflow("drawing", input=int, queue="gpu").then(double)

def make_engine() -> Engine:
    return Engine("sqlite:own.db", workflows=[doubling], queues=["mail"])
"""


@step
def double(number: int) -> int:
    return 2 * number


DOUBLING = Workflow("doubling", input=int).then(double)
DRAWING = Workflow("drawing", input=int, queue="gpu").then(double)


@pytest.fixture
def place(folder: Path) -> str:
    (folder / "shop.py").write_text(FLOW)
    return f"sqlite:{folder}/runs.db"


@contextmanager
def opened(engine: Engine) -> Generator[Engine]:
    """Keep an engine open that does nothing meanwhile, but is alive for the others."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(engine.open())
    try:
        yield engine
    finally:
        loop.run_until_complete(engine.aclose())
        loop.close()


def run_of(place: str, run_id: str) -> Any:
    async def read() -> Any:
        async with Client(place) as client:
            return await client.get_run(run_id)

    return asyncio.run(read())


def test_start_queues_a_run_and_prints_its_id(invoke, place) -> None:
    result = invoke("start", "shop.py:doubling", "--input", "21", "--store", place,
                    "--tag", "a=b", "--priority", "5")  # fmt: skip
    assert result.exit_code == 0, result.output
    run_id = result.stdout.strip()
    assert f"gorkflow worker shop.py:doubling --store {place}" in result.stderr
    run = run_of(place, run_id)
    assert (run.status, run.input, run.queue, dict(run.tags)) == (
        "pending", 21, "default", {"a": "b"},
    )  # fmt: skip

    async def work() -> int:
        async with Engine(place, workflows=[DOUBLING]) as worker:
            return await worker.handle(run_id, DOUBLING).result()

    assert asyncio.run(work()) == 42


def test_start_names_the_queue_of_the_run(invoke, place) -> None:
    for more, queue in (((), "gpu"), (("--queue", "mail"), "mail")):
        result = invoke("start", "shop.py:drawing", "--input", "1", "--store", place, *more)
        assert f"--queue {queue}" in result.stderr
        assert run_of(place, result.stdout.strip()).queue == queue


def test_start_says_what_is_wrong(invoke, place) -> None:
    flow = ("start", "shop.py:doubling", "--input", "1")
    first = invoke(*flow, "--store", place, "--run-id", "one")
    assert first.stdout == "one\n"
    assert invoke(*flow, "--store", place, "--run-id", "one").exit_code == 5
    again = invoke(*flow, "--store", place, "--run-id", "one", "--if-exists", "return")
    assert (again.exit_code, again.stdout) == (0, "one\n")
    lost = invoke(*flow, "--store", "memory:")
    assert lost.exit_code == 2
    assert "no worker can reach a run in 'memory:'" in lost.stderr
    bad = invoke(*flow, "--store", place, "--queue", "two words")
    assert bad.exit_code == 2
    assert "the name of a queue must be 1 to 100 letters" in bad.stderr


def test_start_takes_the_engine_of_a_target_but_does_not_open_it(invoke, place, folder) -> None:
    result = invoke("start", "shop.py:make_engine", "--input", "1")
    assert result.exit_code == 0, result.output
    run = run_of(f"sqlite:{folder}/own.db", result.stdout.strip())
    assert (run.status, run.worker_id, run.queue) == ("pending", None, "default")


def test_workers_lists_the_living_and_queues_without_one(invoke, place) -> None:
    invoke("start", "shop.py:drawing", "--input", "1", "--store", place)
    invoke("start", "shop.py:doubling", "--input", "1", "--queue", "mail", "--store", place)
    none = invoke("workers", "--store", place)
    assert none.exit_code == 0
    assert "no worker is alive" in none.stderr
    assert "queue 'gpu' has runs that wait, and no worker serves it" in none.stderr
    engine = Engine(place, queues={"default": None, "mail": 2}, max_concurrent_runs=1_000)
    with opened(engine), opened(Engine(place, recover=False)):
        listed = invoke("workers", "--store", place)
        assert "queue 'gpu'" in listed.stderr
        assert "queue 'mail'" not in listed.stderr
        [line] = [row for row in listed.stdout.splitlines() if engine.worker_id in row]
        assert "0 of 1,000" in line
        assert "default, mail" in line
        assert line.rstrip().endswith(" ago")
        assert "only its own runs" in listed.stdout
        found = json.loads(invoke("workers", "--json", "--store", place).stdout)
        assert found["unserved_queues"] == ["gpu"]
        [mine] = [each for each in found["workers"] if each["queues"]]
        assert (mine["queues"], mine["concurrency"], mine["runs"]) == (
            ["default", "mail"], 1000, 0,
        )  # fmt: skip


def test_doctor_names_a_queue_without_a_worker(invoke, place, monkeypatch) -> None:
    monkeypatch.setattr("gorkflow.cli._doctor._LATE", 0.0)
    run_id = invoke("start", "shop.py:drawing", "--input", "1", "--store", place).stdout.strip()
    alone = invoke("doctor", "--store", place)
    assert alone.exit_code == 1
    with opened(Engine(place, workflows=[DOUBLING])):
        beside = invoke("doctor", "--store", place)
        for found in (alone, beside):
            assert "1 of queue 'gpu' wait for a worker" in found.stdout
            assert "gorkflow worker TARGET --queue gpu" in found.stdout
            assert run_id in found.stdout
    with opened(Engine(place, queues=["gpu"])):
        served = invoke("doctor", "--store", place)
        assert "of queue 'gpu'" not in served.stdout
        assert "of workflow 'drawing' wait for a worker" in served.stdout


def test_lists_and_shows_tell_the_queue(invoke, place) -> None:
    flow = ("start", "shop.py:doubling", "--input", "1", "--store", place)
    invoke(*flow, "--run-id", "plain")
    invoke(*flow, "--run-id", "other", "--queue", "gpu")
    found = invoke("runs", "list", "--queue", "gpu", "--json", "--store", place)
    assert [(run["run_id"], run["queue"]) for run in json.loads(found.stdout)["runs"]] == [
        ("other", "gpu")
    ]
    assert "queue     gpu" in invoke("runs", "show", "other", "--store", place).stdout
    assert "queue" not in invoke("runs", "show", "plain", "--store", place).stdout


def test_a_schedule_has_a_queue(invoke, place) -> None:
    added = invoke("schedule", "add", "shop.py:doubling", "--every", "1h", "--input", "1",
                   "--queue", "gpu", "--store", place)  # fmt: skip
    assert added.exit_code == 0, added.output

    async def begin() -> str:
        async with Client(place, workflows=[DOUBLING]) as client:
            return (await (await client.run_schedule("doubling")).info()).queue

    assert asyncio.run(begin()) == "gpu"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("two words",), "the name of a queue must be"),
        (("gpu=0",), "'gpu=0' is not NAME or NAME=N"),
        (("gpu=x",), "'gpu=x' is not NAME or NAME=N"),
        (("gpu=",), "'gpu=' is not NAME or NAME=N"),
        (("gpu", "gpu=2"), "queue 'gpu' was given twice"),
    ],
    ids=["name", "zero", "text", "nothing", "twice"],
)
def test_a_worker_rejects_bad_queues(invoke, place, given, says) -> None:
    options = [part for each in given for part in ("--queue", each)]
    result = invoke("worker", "shop.py", "--store", place, *options)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


def test_a_worker_whose_target_brings_an_engine_takes_no_queues(invoke, place) -> None:
    result = invoke("worker", "shop.py:make_engine", "--queue", "gpu")
    assert "brings its store, its limits and its queues" in result.stderr


def test_a_worker_has_the_queues_that_it_is_given(place, folder) -> None:
    queues = {"gpu": 2, "default": None}
    wanted = Wanted(targets=(), store=place, queues=queues, concurrency=7)
    made = engine_of(wanted, [load(f"{folder}/shop.py:doubling")], [])
    assert (made.queues, made._settings.queues) == (("default", "gpu"), queues)
    assert made._settings.max_concurrent_runs == 7
