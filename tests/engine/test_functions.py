"""Sync conditions and keys in threads: how many, and what becomes of those that hang."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context

import pytest

from gorkflow import Completed, Engine, Failed, RunCancelledError, Workflow, step
from gorkflow.engine import _decision
from gorkflow.engine._decision import Evaluation
from gorkflow.engine._threads import Functions, NoThreadError, ThreadPool
from gorkflow.engine._watchdog import Countdown, Watchdog

from .support import Gate, in_loop, until


@step
async def good(number: int) -> int:
    return number


@in_loop
async def test_no_more_conditions_run_at_a_time_than_there_are_threads() -> None:
    gate = Gate()

    def holds(number: int) -> bool:
        gate.wait()
        return True

    inner = Workflow("inner", input=int).then_if(holds, good)
    wf = Workflow("w", input=list[int]).map(inner)
    async with Engine("memory:", max_threads=3) as engine:
        before = threading.active_count()
        handle = await engine.start(wf, list(range(50)))
        await until(lambda: gate.arrived == 3, "the first three")
        assert await engine.run(Workflow("other", input=int).then(good), 1) == 1  # meanwhile
        assert gate.arrived == 3
        assert threading.active_count() - before == 3
        gate.open()
        assert await handle.result() == list(range(50))


@in_loop
async def test_steps_do_not_keep_conditions_waiting() -> None:
    gate = Gate()

    @step
    def blocks(number: int) -> int:
        gate.wait()
        return number

    wf = Workflow("w", input=int).then_if(lambda number: number > 0, good)
    async with Engine("memory:", max_threads=1) as engine:
        handle = await engine.start(Workflow("blocked", input=int).then(blocks), 1)
        await until(lambda: gate.arrived, "the step")
        assert await engine.run(wf, 1) == 1
        gate.open()
        assert await handle.result() == 1


@in_loop
async def test_a_condition_that_hangs_is_counted_and_replaced() -> None:
    hanging = Gate()

    def hangs(number: int) -> bool:
        if number == 0:
            hanging.wait()
        return True

    wf = Workflow("w", input=int).then_if(hangs, good)
    async with Engine("memory:", max_threads=1) as engine:
        handle = await engine.start(wf, 0)
        await until(lambda: hanging.arrived, "the condition")
        await handle.cancel()
        with pytest.raises(RunCancelledError):
            await handle.result()
        await until(lambda: engine.stray_threads == 1, "it to be given up")
        assert await engine.run(wf, 1) == 1
        hanging.open()
        await until(lambda: engine.stray_threads == 0, "its end")
        assert await engine.run(wf, 2) == 2


@pytest.mark.parametrize("sync", [True, False])
@in_loop
async def test_a_condition_has_its_time_from_when_it_begins(
    sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = [Gate(), Gate()]
    short = iter([0.1])  # for the first

    def countdown(
        dog: Watchdog, work: Evaluation, seconds: float, over: Callable[[], object]
    ) -> Countdown:
        return Countdown(dog, work, next(short, seconds), over)

    monkeypatch.setattr(_decision, "Countdown", countdown)

    def in_a_thread(number: int) -> bool:
        gates[number].wait()
        return True

    async def in_the_loop(number: int) -> bool:
        await gates[number].wait_async()
        return True

    condition = in_a_thread if sync else in_the_loop
    inner = Workflow("inner", input=int).then_if(condition, good)
    wf = Workflow("w", input=list[int]).map(inner, join="settled")
    async with Engine("memory:", max_threads=1, lease=600.0) as engine:
        handle = await engine.start(wf, [0, 1])
        await until(lambda: gates[1].arrived, "the second")
        gates[1].open()
        first, second = await handle.result()
        gates[0].open()
    assert isinstance(first, Failed)
    assert "took longer than 10 s" in first.failure.message
    if sync:  # async ones begin together
        assert isinstance(second, Completed)


@in_loop
async def test_those_that_hang_are_replaced_up_to_a_limit() -> None:
    threads = ThreadPool()
    functions = Functions(asyncio.get_running_loop(), threads, 2)
    gates = [Gate() for _ in range(6)]
    began: list[int] = []

    async def call(number: int) -> None:
        await functions.call(gates[number].wait, copy_context(), lambda: began.append(number))

    calls = [asyncio.ensure_future(call(number)) for number in range(6)]
    for number in range(4):  # two at first, and then two that replace them
        await until(lambda number=number: gates[number].arrived, "its turn")
        calls[number].cancel()
    await until(lambda: functions.strays == 4, "all to be given up")
    assert began == [0, 1, 2, 3]
    assert not any(call.done() for call in calls[4:])
    gates[3].open()  # one of four has ended: three are one too many still, but a place is free
    await until(lambda: gates[4].arrived, "the fifth")
    assert began == [0, 1, 2, 3, 4]
    for gate in gates:
        gate.open()
    await asyncio.gather(*calls[4:])
    await until(lambda: functions.strays == 0, "the end of all")
    for _ in range(3):  # as many at a time as in the beginning, no more, no fewer
        assert functions._room._value == 2
        await asyncio.gather(call(0), call(1))
    threads.close()


@in_loop
async def test_a_thread_that_can_not_be_had_costs_no_place() -> None:
    threads = ThreadPool()
    functions = Functions(asyncio.get_running_loop(), threads, 1)
    threads.close()
    for _ in range(2):
        with pytest.raises(NoThreadError, match="closed"):
            await functions.call(lambda: 1, copy_context(), lambda: None)


@pytest.mark.parametrize("recover", [True, False])
@in_loop
async def test_a_condition_without_a_thread_is_asked_again(recover: bool) -> None:
    wf = Workflow("w", input=int).then_if(lambda number: number > 0, good)
    async with Engine("memory:", workflows=[wf], recover=recover, lease=1) as engine:
        threads = engine._worker.runtime.executors.threads
        submit, refused = threads.submit, []

        def refuses(work) -> None:
            refused.append(work)
            threads.submit = submit  # the next one is to be had
            raise RuntimeError("can't start new thread")

        threads.submit = refuses
        handle = await engine.start(wf, 1)
        with pytest.raises(NoThreadError, match="can't start new thread"):
            await handle.result()
        assert await handle.result() == 1  # taken up again
