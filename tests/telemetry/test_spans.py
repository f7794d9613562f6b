"""The spans of runs, as OpenTelemetry exports them."""

import asyncio
import contextvars
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import pytest
from opentelemetry import baggage
from opentelemetry import context as otel
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import StatusCode, get_current_span
from pydantic import BaseModel

import gorkflow
from gorkflow import (
    Client,
    Engine,
    RetryPolicy,
    RunFailedError,
    Secret,
    Signal,
    StepContext,
    Workflow,
    step,
    testing,
)
from gorkflow.model import RunStatus
from gorkflow.redaction import Redaction
from gorkflow.telemetry import OpenTelemetry
from tests.engine.support import die, in_loop, until
from tests.project.repository import ROOT

from .placed import ids, in_pool, in_process
from .tools import Recorder, links, shown


@step
async def add_one(number: int) -> int:
    return number + 1


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def total(number: int, more: int) -> int:
    return number + more


@step
def in_thread(number: int) -> list[str]:
    return ids()


@step
async def where(number: int) -> list[str]:
    return ids()


@step(retries=RetryPolicy(retries=2, initial_interval=0.001))
async def flaky(ctx: StepContext, number: int) -> int:
    if ctx.attempt < 3:
        raise ConnectionError(f"try {ctx.attempt}")
    return number


@step
async def breaks(number: int) -> int:
    raise ValueError(f"no {number}")


def own(span: ReadableSpan) -> list[str]:
    """Return the ids of a span, as ``ids`` returns them in it."""
    return [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]


def seconds(at: datetime | None) -> float:
    assert at is not None
    return at.timestamp()


# ---- the tree ----------------------------------------------------------------------------------


@in_loop
async def test_a_sequence_is_a_run_with_steps_and_their_attempts():
    seen = Recorder()
    flow = Workflow("sums", input=int).then(add_one).then(double)
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        assert await engine.run(flow, 1, run_id="r1", resource_id="shelf") == 4
    assert seen.tree() == [
        [
            "run sums: completed",
            ["step add_one: completed", ["attempt add_one 1: completed"]],
            ["step double: completed", ["attempt double 1: completed"]],
        ]
    ]
    (run,) = seen.named("run sums")
    assert run.parent is None
    assert run.attributes == {
        "gorkflow.run_id": "r1",
        "gorkflow.workflow_id": "sums",
        "gorkflow.workflow_version": "1",
        "gorkflow.resource_id": "shelf",
        "gorkflow.worker_id": engine.worker_id,
        "gorkflow.status": "completed",
    }
    attempt = seen.one("attempt double")
    queued = (attempt.attributes or {})["gorkflow.queued"]
    assert isinstance(queued, float)
    assert queued >= 0
    assert attempt.attributes == {
        "gorkflow.run_id": "r1",
        "gorkflow.workflow_id": "sums",
        "gorkflow.path": "double",
        "gorkflow.attempt": 1,
        "gorkflow.executor": "loop",
        "gorkflow.queued": queued,
        "gorkflow.outcome": "completed",
    }
    assert len({span.context.trace_id for span in seen.spans}) == 1
    assert {span.status.status_code for span in seen.spans} == {StatusCode.UNSET}


@in_loop
async def test_branches_and_items_stand_side_by_side():
    seen = Recorder()
    flow = Workflow("wide", input=int).parallel(add_one, double.options(id="twice"))
    items = Workflow("items", input=list[int]).map(double)
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        await engine.run(flow, 1)
        await engine.run(items, [1, 2, 3])
    first, second = seen.tree()
    assert first[0] == "run wide: completed"
    assert sorted(it[0] for it in first[1:]) == [
        "step add_one: completed",
        "step twice: completed",
    ]
    assert second[0] == "run items: completed"
    assert sorted(it[1][0] for it in second[1:]) == [
        f"attempt double[{n}] 1: completed" for n in range(3)
    ]
    names = {span.name for span in seen.spans}
    assert {"step double[]", "attempt double[]"} < names  # names repeat, paths don't
    blocks = [event.name for event in seen.one("run wide").events]
    assert blocks == ["gorkflow.block_decided"]


@in_loop
async def test_attempts_are_siblings_and_linked():
    seen = Recorder()
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        await engine.run(Workflow("tries", input=int).then(flaky), 1)
    assert seen.tree() == [
        [
            "run tries: completed",
            [
                "step flaky: completed",
                ["attempt flaky 1: failed"],
                ["attempt flaky 2: failed"],
                ["attempt flaky 3: completed"],
            ],
        ]
    ]
    one, two, three = seen.named("attempt flaky")
    assert (links(one), links(two), links(three)) == (
        [],
        [one.context.span_id],
        [two.context.span_id],
    )
    assert one.status.status_code is StatusCode.ERROR
    (raised,) = one.events
    told = dict(raised.attributes or {})
    assert (raised.name, told["exception.type"]) == ("exception", "ConnectionError")
    assert told["exception.message"] == "try 1"
    assert "in flaky" in str(told["exception.stacktrace"])
    assert three.status.status_code is StatusCode.UNSET


@in_loop
async def test_a_failed_run_says_why():
    seen = Recorder()
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        with pytest.raises(RunFailedError):
            await engine.run(Workflow("bad", input=int).then(breaks), 7)
    assert [shown(span) for span in seen.spans] == [
        "attempt breaks 1: failed",
        "step breaks: failed",
        "run bad: failed",
    ]
    for span in seen.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert "no 7" in str(span.status.description)


@in_loop
async def test_a_condition_that_fails_is_an_event_of_the_run():
    seen = Recorder()

    def late(number: int) -> bool:
        raise LookupError

    flow = Workflow("odd", input=int).then_if(late, add_one)
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        with pytest.raises(RunFailedError):
            await engine.run(flow, 1)
    (run,) = seen.spans
    assert [event.name for event in run.events] == ["exception"]


@in_loop
async def test_cancelled_steps_end_with_their_run():
    seen = Recorder()
    begun = asyncio.Event()

    @step
    async def waits(number: int) -> int:
        begun.set()
        await asyncio.sleep(600)
        return number

    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        handle = await engine.start(Workflow("long", input=int).then(waits), 1)
        await begun.wait()
        await handle.cancel("enough")
        await until(lambda: seen.named("run long"))
    assert seen.tree() == [
        ["run long: cancelled", ["step waits: cancelled", ["attempt waits 1: cancelled"]]]
    ]


# ---- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [add_one, in_thread])
@in_loop
async def test_times_are_those_of_the_history(node: Any):
    seen = Recorder()
    flow = Workflow("timed", input=int).then(node)
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        handle = await engine.start(flow, 1)
        await handle.result()
        run = await handle.info()
        (execution,) = await engine.steps(handle.run_id)
    (tried,) = execution.attempts
    attempt = seen.one(f"attempt {node.id}")
    for span, start, end in (
        (attempt, tried.started_at, tried.finished_at),
        (seen.one("run timed"), None, run.finished_at),
        (seen.one(f"step {node.id}"), None, execution.finished_at),
    ):
        assert span.end_time == pytest.approx(seconds(end) * 1e9, abs=2_000)
        if start is not None:
            assert span.start_time == pytest.approx(seconds(start) * 1e9, abs=2_000)


def test_virtual_time_is_in_the_spans():
    seen = Recorder()

    @step
    async def naps(number: int) -> int:
        await asyncio.sleep(3600)
        return number

    async def main() -> None:
        async with testing.VirtualEngine(telemetry=seen.telemetry) as engine:
            await engine.run(Workflow("naps", input=int).then(naps).sleep(60), 1)

    testing.in_virtual_time(main())
    (attempt,) = seen.named("attempt naps")
    assert (attempt.end_time or 0) - (attempt.start_time or 0) == pytest.approx(3600e9)
    (run,) = seen.named("run naps")
    assert (run.end_time or 0) - (run.start_time or 0) == pytest.approx(3660e9)
    assert [event.name for event in run.events] == ["gorkflow.timer_set"]


# ---- suspended, and in other engines -----------------------------------------------------------


@in_loop
async def test_a_run_in_two_engines_is_two_spans_of_one_trace(tmp_path: Path):
    one, two = Recorder(), Recorder()
    go = Signal("go", int)
    flow = Workflow("waits", input=int).then(add_one).wait_for(go).then(total)
    store = f"sqlite:{tmp_path}/runs.db"
    async with Engine(store, telemetry=one.telemetry, workflows=[flow]) as engine:
        await engine.start(flow, 1, run_id="r")
        await until(lambda: one.named("run waits"))
    assert one.tree() == [
        [
            "run waits: suspended",
            ["step add_one: completed", ["attempt add_one 1: completed"]],
        ]
    ]
    async with Client(store) as client:
        await client.send("r", go, 4)
    async with Engine(store, telemetry=two.telemetry, workflows=[flow]) as engine:
        await until(lambda: two.named("run waits"))
    (first,), (second,) = one.named("run waits"), two.named("run waits")
    assert shown(second) == "run waits: completed"
    assert second.context.trace_id == first.context.trace_id
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id  # the first one is the root
    assert links(second) == [first.context.span_id]
    (attempt,) = two.named("attempt total")
    assert attempt.context.trace_id == first.context.trace_id


@in_loop
async def test_each_activation_is_linked_to_the_one_before(tmp_path: Path):
    seen = Recorder()
    go = Signal("go", int)
    flow = Workflow("asks", input=int).wait_for(go, id="a").wait_for(go, id="b")
    store = f"sqlite:{tmp_path}/runs.db"
    with seen.provider.get_tracer("web").start_as_current_span("request") as request:
        async with Client(store, telemetry=seen.telemetry) as client:
            await client.start(flow, 1, run_id="r")
    for number in range(3):
        async with Engine(store, telemetry=seen.telemetry, workflows=[flow]) as engine:
            if number:
                await engine.send("r", go, number)
            await until(lambda number=number: len(seen.named("run asks")) > number)
    spans = seen.named("run asks")
    assert [shown(span).split()[-1] for span in spans] == ["suspended", "suspended", "completed"]
    assert {span.parent and span.parent.span_id for span in spans} == {
        request.get_span_context().span_id
    }
    assert {span.context.trace_id for span in spans} == {request.get_span_context().trace_id}
    assert [links(span) for span in spans] == [
        [],
        [spans[0].context.span_id],
        [spans[1].context.span_id],
    ]


@in_loop
async def test_a_run_whose_process_died_continues_its_trace(tmp_path: Path):
    one, two = Recorder(), Recorder()
    begun, go = asyncio.Event(), asyncio.Event()

    @step
    async def waits(number: int) -> int:
        begun.set()
        await go.wait()
        return number

    flow = Workflow("long", input=int).then(add_one).then(waits)
    store = f"sqlite:{tmp_path}/runs.db"
    engine = Engine(store, telemetry=one.telemetry, workflows=[flow])
    await engine.open()
    await engine.start(flow, 1, run_id="r")
    await begun.wait()
    one.provider.force_flush()
    (first,) = one.named("step add_one")  # the rest of it dies with its process
    await die(engine)
    go.set()
    async with Engine(store, telemetry=two.telemetry, workflows=[flow]) as engine:
        await engine.wait("r")
    assert two.tree() == [
        ["run long: completed", ["step waits: completed", ["attempt waits 2: completed"]]]
    ]
    (second,) = two.named("run long")
    assert [event.name for event in second.events] == ["gorkflow.step_interrupted"]
    assert second.context.trace_id == first.context.trace_id
    assert first.parent is not None
    assert links(second) == [first.parent.span_id]
    assert two.metric("gorkflow.attempts") == {
        ("long", "waits", "interrupted"): 1,
        ("long", "waits", "completed"): 1,
    }
    assert two.metric("gorkflow.retries") == {}


@in_loop
async def test_a_sampler_decides_once_for_a_whole_run(tmp_path: Path):
    off = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    go = Signal("go", int)
    flow = Workflow("asks", input=int).then(add_one).wait_for(go)
    store = f"sqlite:{tmp_path}/runs.db"
    telemetry = OpenTelemetry(tracer_provider=off)
    async with Engine(store, telemetry=telemetry, workflows=[flow]) as engine:
        await engine.start(flow, 1, run_id="r")

        async def suspended() -> bool:
            return (await engine.get_run("r")).status is RunStatus.SUSPENDED

        while not await suspended():
            await asyncio.sleep(0.002)
    seen = Recorder()  # its provider would keep every new trace
    async with Engine(store, telemetry=seen.telemetry, workflows=[flow]) as engine:
        await engine.send("r", go, 1)
        await engine.wait("r")
    assert seen.spans == []


@in_loop
async def test_a_run_that_a_client_without_telemetry_starts_begins_a_trace(tmp_path: Path):
    seen = Recorder()
    flow = Workflow("sums", input=int).then(add_one)
    store = f"sqlite:{tmp_path}/runs.db"
    async with Client(store) as client:
        await client.start(flow, 1, run_id="r")
    with seen.provider.get_tracer("worker").start_as_current_span("main"):
        async with Engine(store, telemetry=seen.telemetry, workflows=[flow]) as engine:
            await engine.wait("r")
    assert seen.one("run sums").parent is None
    assert seen.one("run sums").context.trace_id != seen.one("main").context.trace_id


@in_loop
async def test_a_closed_engine_leaves_no_span_open(tmp_path: Path):
    seen = Recorder()
    begun = asyncio.Event()

    @step
    async def waits(number: int) -> int:
        begun.set()
        await asyncio.sleep(600)
        return number

    engine = Engine(f"sqlite:{tmp_path}/runs.db", telemetry=seen.telemetry)
    await engine.open()
    await engine.start(Workflow("long", input=int).then(waits), 1)
    await begun.wait()
    await engine.aclose(grace=0)
    assert seen.tree() == [["run long: running", ["step waits: left", ["attempt waits 1: left"]]]]


@in_loop
async def test_a_run_belongs_to_the_trace_that_starts_it():
    seen = Recorder()
    flow = Workflow("sums", input=int).then(add_one)
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        with seen.provider.get_tracer("web").start_as_current_span("request"):
            await engine.run(flow, 1)
        await engine.run(flow, 2)
    (one, two) = seen.tree()
    assert one[0] == "request"
    assert one[1][0] == two[0] == "run sums: completed"


@in_loop
async def test_a_run_that_a_step_starts_is_inside_its_attempt():
    seen = Recorder()
    inner = Workflow("inner", input=int).then(double)
    engine = Engine("memory:", telemetry=seen.telemetry)

    @step
    async def outer(number: int) -> int:
        return await engine.run(inner, number)

    async with engine:
        await engine.run(Workflow("outside", input=int).then(outer), 1)
    assert seen.tree() == [
        [
            "run outside: completed",
            [
                "step outer: completed",
                [
                    "attempt outer 1: completed",
                    [
                        "run inner: completed",
                        ["step double: completed", ["attempt double 1: completed"]],
                    ],
                ],
            ],
        ]
    ]


# ---- the current span --------------------------------------------------------------------------


@pytest.mark.parametrize("node", [where, in_thread, in_process, in_pool], ids=lambda it: it.id)
@in_loop
async def test_the_attempt_is_the_current_span_wherever_it_runs(node: Any):
    seen = Recorder()
    flow = Workflow("places", input=int).then(node)
    with ThreadPoolExecutor(1) as pool:
        store = "memory:"
        telemetry = seen.telemetry
        async with Engine(store, telemetry=telemetry, executors={"pool": pool}) as engine:
            token = otel.attach(baggage.set_baggage("who", "we"))
            try:
                found = await engine.run(flow, 1)
            finally:
                otel.detach(token)
        assert pool.submit(ids).result()[1] == "0" * 16  # it was left again
    attempt = seen.one(f"attempt {node.id}")
    here = node.spec({}).executor in {"loop", "thread"}
    # Baggage crosses to another place with what the attempt's own context has.
    assert found[:2] == own(attempt)
    assert not here or found[2] == "we"


@in_loop
async def test_spans_made_in_a_step_are_inside_its_attempt():
    seen = Recorder()
    tracer = seen.provider.get_tracer("client")

    @step
    async def asks(number: int) -> int:
        with tracer.start_as_current_span("GET"):
            await asyncio.sleep(0)
        return number

    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        await engine.run(Workflow("web", input=int).then(asks).then(add_one), 1)
    ((_, (_, attempt), second),) = seen.tree()
    assert attempt == ["attempt asks 1: completed", ["GET"]]
    assert second == ["step add_one: completed", ["attempt add_one 1: completed"]]


@in_loop
async def test_no_context_leaks_from_one_step_to_the_next():
    seen = Recorder()
    found: list[tuple[str, list[str], int, object]] = []
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")

    def note(path: str) -> None:
        found.append((path, ids(), id(asyncio.current_task()), mark.get()))

    @step
    async def notes(ctx: StepContext, number: int) -> int:
        note(ctx.path)
        return number

    @step
    async def stains(ctx: StepContext, number: int) -> int:
        otel.attach(otel.set_value("stain", 1))  # and never detached
        mark.set("set")
        note(ctx.path)
        return number

    @step
    async def after(ctx: StepContext, number: int) -> int:
        note(ctx.path)
        assert otel.get_value("stain") is None
        return number

    @step
    async def suspends(ctx: StepContext, number: int) -> int:
        await asyncio.sleep(0)
        note(ctx.path)
        return number

    flow = Workflow("leaks", input=int).then(notes).then(notes.options(id="again")).then(stains)
    flow = flow.then(after).then(suspends).then(notes.options(id="last"))
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        await engine.run(flow, 1)
        assert not get_current_span().get_span_context().is_valid
    tasks = {}
    for path, here, task, marked in found:
        assert here[:2] == own(seen.one(f"attempt {path}"))
        assert marked == ("set" if path == "stains" else "unset")
        tasks[path] = task
    assert tasks["notes"] == tasks["again"] == tasks["stains"]  # they share one, as without spans
    assert tasks["after"] != tasks["stains"]


@in_loop
async def test_a_condition_is_inside_the_run():
    seen = Recorder()
    found: list[list[str]] = []

    def is_odd(number: int) -> bool:
        found.append(ids())
        return True

    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        await engine.run(Workflow("odd", input=int).then_if(is_odd, add_one), 1)
    assert found[0][:2] == own(seen.one("run odd"))


@in_loop
async def test_a_stray_thread_has_a_span_that_has_ended():
    seen = Recorder()
    gate = threading.Event()
    found: list[list[str]] = []

    @step(timeout=0.01)
    def hangs(number: int) -> int:
        gate.wait(20)
        found.append(ids())
        return number

    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        with pytest.raises(RunFailedError):
            await engine.run(Workflow("stuck", input=int).then(hangs), 1)
        assert seen.metric("gorkflow.threads.stray") == {(): 1}
        gate.set()
        await until(lambda: found)
        attempt = seen.one("attempt hangs")
        assert found[0][:2] == own(attempt)
        assert attempt.status.status_code is StatusCode.ERROR
        await until(lambda: engine.stray_threads == 0)
        assert seen.metric("gorkflow.threads.stray") == {(): 0}


class Login(BaseModel):
    token: Annotated[str, Secret]


@step
async def logs_in(login: Login) -> int:
    raise ValueError(f"can't log in with {login.token}")


@step
async def is_known(login: Login) -> bool:
    return login.token == "hunter2"


@in_loop
async def test_secrets_are_in_no_span():
    seen = Recorder()
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        with pytest.raises(RunFailedError):
            await engine.run(
                Workflow("login", input=Login).parallel(logs_in, logs_in.options(id="again")),
                Login(token="hunter2"),
            )
    assert len(seen.spans) == 5
    for span in seen.spans:
        assert "hunter2" not in span.to_json()
    assert "can't log in with •••" in str(seen.one("run login").status.description)


@in_loop
async def test_an_error_of_the_redaction_reaches_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def shown(_: Redaction, item: Any) -> Any:
        if isinstance(item, tuple):  # events, for observers alone
            raise RuntimeError("the redaction is broken")
        return item

    monkeypatch.setattr(Redaction, "shown", shown)
    seen = Recorder()
    flow = Workflow("login", input=Login).then(is_known)
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        for _ in range(2):
            assert await engine.run(flow, Login(token="hunter2")) is True
    assert [span.name for span in seen.spans] == ["run login", "run login"], "they ended"
    assert "hunter2" not in caplog.text
    told = [each for each in caplog.records if "the runs continue" in each.getMessage()]
    assert len(told) == 1
    assert "the redaction is broken" in caplog.text


# ---- the tracebacks, the providers, the failures -----------------------------------------------


@in_loop
async def test_a_traceback_is_the_same_with_and_without():
    tracebacks: list[str] = []
    for telemetry in (None, Recorder().telemetry):
        async with Engine("memory:", telemetry=telemetry) as engine:
            with pytest.raises(RunFailedError) as raised:
                await engine.run(Workflow("bad", input=int).then(breaks), 7)
        tracebacks.append(raised.value.failures[0].traceback)
    assert tracebacks[0] == tracebacks[1] != ""


@in_loop
async def test_without_a_provider_nothing_is_kept_with_the_run():
    async with Engine("memory:", telemetry=OpenTelemetry()) as engine:
        await engine.run(Workflow("sums", input=int).then(add_one), 1, run_id="r")
        row = await engine.store.get_run("r")
        assert row is not None
        assert (row.status, row.trace) == (RunStatus.COMPLETED, "")


LATE = """
import asyncio
from opentelemetry import metrics, trace
from gorkflow import Engine, Workflow, step
from gorkflow.telemetry import OpenTelemetry
from tests.telemetry.tools import Recorder

@step
async def one(number: int) -> int:
    return number

async def main() -> None:
    engine = Engine("memory:", telemetry=OpenTelemetry())
    seen = Recorder()
    trace.set_tracer_provider(seen.provider)
    metrics.set_meter_provider(seen.meters)
    async with engine:
        await engine.run(Workflow("late", input=int).then(one), 1)
    print([span.name for span in seen.spans], seen.metric("gorkflow.runs.ended"))
    print(seen.spans[0].instrumentation_scope.version)

asyncio.run(main())
"""


def test_the_global_providers_may_be_set_later():
    done = subprocess.run(
        [sys.executable, "-c", LATE], check=True, capture_output=True, text=True, timeout=60,
        cwd=ROOT,
    )  # fmt: skip
    spans = "['attempt one', 'step one', 'run late']"
    wanted = f"{spans} {{('late', 'completed'): 1}}\n{gorkflow.__version__}\n"
    assert done.stdout == wanted


class Broken(SpanProcessor):
    """Fails whenever it can."""

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        raise ZeroDivisionError

    def on_end(self, span: ReadableSpan) -> None:
        raise ZeroDivisionError


@in_loop
async def test_what_fails_in_telemetry_is_logged_once_and_fails_no_run(
    caplog: pytest.LogCaptureFixture,
):
    provider = TracerProvider()
    provider.add_span_processor(Broken())
    telemetry = OpenTelemetry(tracer_provider=provider)
    flow = Workflow("sums", input=int).then(add_one).then(in_thread)
    with caplog.at_level(logging.ERROR, "gorkflow"):
        async with Engine("memory:", telemetry=telemetry) as engine:
            for number in range(5):
                await engine.run(flow, number)
    messages = [record.getMessage().split("()")[0] for record in caplog.records]
    assert len(messages) == len(set(messages)) > 0
    assert "RunSpans.begin" in messages


@in_loop
async def test_ten_thousand_branches_leave_nothing_behind():
    seen = Recorder()
    flow = Workflow("many", input=list[int]).map(double)
    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        await engine.run(flow, list(range(10_000)))
    assert len(seen.spans) == 20_001
    assert seen.metric("gorkflow.attempts") == {("many", "double[]", "completed"): 10_000}


@in_loop
async def test_an_engine_rejects_what_is_no_telemetry():
    with pytest.raises(TypeError, match="such as OpenTelemetry"):
        Engine("memory:", telemetry=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="such as OpenTelemetry"):
        Engine("memory:", telemetry=[OpenTelemetry])  # type: ignore[list-item]


def test_the_front_door_loads_no_extra():
    code = (
        "import sys, gorkflow.telemetry, gorkflow.engine.engine;"
        "print(*{'opentelemetry', 'prometheus_client'} & sys.modules.keys())"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert loaded.stdout.split() == []
