"""Random sequences of starts, results, signals, cancels and crashes, against a model of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gorkflow import Engine, RunEndedError, Signal, StepContext, Workflow, step
from gorkflow.stores.memory import MemoryStore
from tests.faults.files import quiet
from tests.faults.registry import Result, Size, fault

STEPS = 25  # rules in one sequence
PATIENCE = 10.0
GO = Signal("go", int)
Order = asyncio.Future[bool]
orders: dict[tuple[str, str], tuple[int, Order]] = {}
"""What each running step waits for, with the number of its attempt."""


async def _ordered(ctx: StepContext, value: int) -> int:
    order: Order = asyncio.get_running_loop().create_future()
    orders[ctx.run_id, ctx.path] = (ctx.attempt, order)
    try:
        if not await order:
            raise ValueError("as ordered")
    finally:
        if orders.get((ctx.run_id, ctx.path), (0, None))[1] is order:
            del orders[ctx.run_id, ctx.path]
    return value


@step
async def a(ctx: StepContext, value: int) -> int:
    return await _ordered(ctx, value)


@step
async def b(ctx: StepContext, value: int) -> int:
    return await _ordered(ctx, value)


@step
async def c(ctx: StepContext, value: int) -> int:
    return await _ordered(ctx, value)


@step
async def joined(left: int, right: int) -> int:
    return left + right


@step
async def d(ctx: StepContext, value: int, sent: int) -> int:
    return await _ordered(ctx, value + sent)


FLOW = Workflow("storm", input=int).then(a).parallel(b, c).then(joined).wait_for(GO).then(d)


@dataclass
class Model:
    """What a run should be: the slow and obvious way."""

    running: dict[str, int] = field(default_factory=lambda: {"a": 1})
    """The attempts that are under way, by path."""
    status: str = "running"
    signals: int = 0
    failed: bool = False

    def result(self, path: str, *, ok: bool) -> None:
        del self.running[path]
        self.failed |= not ok
        if path in {"b", "c"} and self.running:
            return  # the other branch is left to end
        if self.failed:
            self.status = "failed"
        elif path == "a":
            self.running = {"b": 1, "c": 1}
        elif path == "d":
            self.status = "completed"
        else:
            self.status = "waiting"
            self._take()

    def send(self) -> None:
        self.signals += 1
        self._take()

    def _take(self) -> None:
        if self.status == "waiting" and self.signals:
            self.signals -= 1
            self.status, self.running = "running", {"d": 1}

    def cancel(self) -> None:
        if not self.ended:
            # A block that is decided stays so: what drained is stopped, and the run has failed.
            self.status, self.running = ("failed" if self.failed else "cancelled"), {}

    def crash(self) -> None:
        if self.failed and self.running:  # a block that drains begins nothing, not even again
            self.status, self.running = "failed", {}
        self.running = {path: attempt + 1 for path, attempt in self.running.items()}

    @property
    def ended(self) -> bool:
        return self.status in {"completed", "failed", "cancelled"}


class Lasting(MemoryStore):
    """Keeps its runs when an engine closes it."""

    async def close(self) -> None:
        """Stay open."""


class Storm(RuleBasedStateMachine):
    """One engine after another over one store."""

    @initialize()
    def begin(self) -> None:
        orders.clear()
        self.crashes = 0
        self.loop = asyncio.Runner()
        self.models: dict[str, Model] = {}
        self.store = Lasting()
        self.engine = Engine(self.store, workflows=[FLOW])
        self.do(self.engine.open())

    def do(self, work: Any) -> Any:
        return self.loop.run(asyncio.wait_for(work, PATIENCE))

    @precondition(lambda self: len(self.models) < 4)
    @rule()
    def start(self) -> None:
        run_id = f"run-{len(self.models)}"
        self.do(self.engine.start(FLOW, 1, run_id=run_id))
        self.models[run_id] = Model()
        self.agree()

    @precondition(lambda self: any(model.running for model in self.models.values()))
    @rule(data=st.data(), ok=st.sampled_from([True, True, True, False]))
    def result(self, data: st.DataObject, ok: bool) -> None:
        places = [(run, path) for run, model in self.models.items() for path in model.running]
        run, path = data.draw(st.sampled_from(sorted(places)))
        self.models[run].result(path, ok=ok)
        orders[run, path][1].set_result(ok)
        self.agree()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.models)))
        self.models[run].cancel()
        self.do(self.engine.cancel(run))
        self.agree()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.models)))
        if self.models[run].ended:
            try:
                self.do(self.engine.send(run, GO, 1))
            except RunEndedError:
                return
            raise AssertionError("a run that has ended took a signal")
        self.models[run].send()
        self.do(self.engine.send(run, GO, 1))
        self.agree()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def cancel_and_result(self, data: st.DataObject) -> None:
        """Both at once: whichever is first, the run has one end, and keeps it."""
        run = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[run]
        for path in list(model.running):
            orders[run, path][1].set_result(True)

        async def look() -> str:
            await self.engine.cancel(run)
            return (await self.engine.get_run(run)).status.value

        status = self.do(look())
        assert status in {"completed", "failed", "cancelled"}
        assert not model.ended or status == model.status
        model.status, model.running = status, {}
        self.agree()

    @precondition(lambda self: self.crashes < 2)  # a third makes them suspects, carried in turn
    @rule()
    def crash(self) -> None:
        """The process is gone, and another one goes on."""
        self.crashes += 1
        self.do(self.engine.aclose(grace=0))
        for model in self.models.values():
            model.crash()
        orders.clear()
        self.engine = Engine(self.store, workflows=[FLOW])
        self.do(self.engine.open())
        self.agree()

    def agree(self) -> None:
        """Wait until the engine is where the model is."""
        expected = {run: (model.status, model.running) for run, model in self.models.items()}
        deadline = time.monotonic() + PATIENCE
        while (found := self.do(self._found())) != expected:
            assert time.monotonic() < deadline, f"expected {expected}, found {found}"
            self.do(asyncio.sleep(0.001))

    async def _found(self) -> dict[str, tuple[str, dict[str, int]]]:
        found: dict[str, tuple[str, dict[str, int]]] = {}
        for run in self.models:
            row = await self.store.get_run(run)
            assert row is not None
            running = {path: each[0] for (id, path), each in orders.items() if id == run}
            loaded = await self.store.load(run)
            assert loaded is not None
            waits = row.status.value == "suspended" or (
                not running and loaded.events[-1].kind == "wait_opened"
            )
            found[run] = ("waiting" if waits else row.status.value, running)
        return found

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.do(self.engine.aclose(grace=0))
            self.loop.close()


@fault("X9", "cancellation storm", "25 starts, results, signals, cancels, crashes against a model")
def storms(size: Size, seed: int) -> Result:
    result = Result()
    count = size.of(15, 200, 500, 50_000)
    begin: Callable[[Storm], None] = Storm.begin

    class Counted(Storm):
        @initialize()
        def begin(self) -> None:
            result.injections += 1
            begin(self)

    with quiet(), result.watch("a sequence"):
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            hypothesis.seed(seed)(Counted),
            settings=settings(
                max_examples=count, stateful_step_count=STEPS, deadline=None, database=None,
                suppress_health_check=list(HealthCheck), verbosity=Verbosity.normal,
                phases=(Phase.generate,),  # the seed replays it; making it small takes minutes
            ),
        )  # fmt: skip
    return result
