"""Runs that the code at hand can't go on with: whoever waits for one learns it at once, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import core_schema

from gorkflow import (
    Client,
    Completed,
    Engine,
    RunBlockedError,
    RunFailedError,
    Signal,
    StoreError,
    Workflow,
    step,
)
from gorkflow.engine import _claims, _driver

from .support import Moody, broken, calls, in_loop, until

go = Signal("go", int)


@step
async def first(value: tuple[int, int]) -> int:
    return value[0]


@step
async def charge(number: int) -> int:
    return number


@step(id="charge_it")
async def changed(number: int) -> str:
    return str(number)


def flow(last: Any) -> Workflow[int, Any]:
    return Workflow("w", input=int).wait_for(go).then(first).then(last)


OLD, NEW = flow(charge), flow(changed)
WHY = "step 'charge' is gone"


@pytest.fixture(autouse=True)
def _no_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_driver, "NAP", 0.0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'runs.db'}"


async def begun(url: str) -> str:
    """Start a run that waits, with code that the next engine does not have."""
    async with Engine(url) as engine:
        return (await engine.start(OLD, 1, run_id="r")).run_id


Wait = Callable[[Engine, str], Awaitable[Any]]
WAITS: dict[str, Wait] = {
    "result": lambda engine, run_id: engine.handle(run_id).result(),
    "outcome": lambda engine, run_id: engine.handle(run_id).outcome(),
    "wait": lambda engine, run_id: engine.wait(run_id),
    "run": lambda engine, run_id: engine.run(NEW, 1, run_id=run_id, if_exists="return"),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("recover", [True, False])
@in_loop
async def test_whoever_waits_for_a_blocked_run_learns_why(
    wait: str, url: str, *, recover: bool
) -> None:
    run_id = await begun(url)
    async with Engine(url, workflows=[NEW], recover=recover) as engine:
        await engine.send(run_id, go, 1)
        if not recover:
            with pytest.raises(RunBlockedError):
                await engine.recover(run_id)
        with pytest.raises(RunBlockedError, match=WHY) as caught:
            await WAITS[wait](engine, run_id)
        assert caught.value.run_id == run_id
        said = f"blocked: {caught.value}"
        async with asyncio.timeout(20):  # a worker that looks says it to all
            while (await engine.get_run(run_id)).reason != said:
                await asyncio.sleep(0.005)


@in_loop
async def test_who_waits_already_learns_it_when_it_happens(url: str) -> None:
    run_id = await begun(url)
    async with Client(url) as client:
        waiting = asyncio.ensure_future(client.handle(run_id).result())
        async with Engine(url, workflows=[NEW], lease=0.9) as worker:
            own = asyncio.ensure_future(worker.handle(run_id).result())
            await asyncio.sleep(0)
            await worker.send(run_id, go, 1)
            for each in (waiting, own):
                with pytest.raises(RunBlockedError, match=WHY):
                    await each


@in_loop
async def test_who_wants_to_waits_on_until_other_code_has_ended_it(url: str) -> None:
    run_id = await begun(url)
    async with Engine(url, workflows=[NEW]) as engine:
        await engine.send(run_id, go, 1)
        handle = engine.handle(run_id)
        waits = [
            asyncio.ensure_future(each)
            for each in (
                handle.result(wait_blocked=True),
                handle.outcome(wait_blocked=True),
                engine.wait(run_id, wait_blocked=True),
            )
        ]
        with pytest.raises(RunBlockedError):
            await handle.result()
        async with Engine(url, workflows=[OLD]) as other:
            await other.recover(run_id)
            output, outcome, ended = await asyncio.gather(*waits)
    assert (output, outcome, ended) == (1, Completed("", 1), Completed("", 1))


@in_loop
async def test_a_run_that_was_blocked_before_goes_on_with_the_code_at_hand(url: str) -> None:
    run_id = await begun(url)
    async with Engine(url, workflows=[NEW]) as engine:
        await engine.send(run_id, go, 1)
        with pytest.raises(RunBlockedError):
            await engine.handle(run_id).result()
    async with Engine(url, workflows=[OLD]) as engine:  # it is looked at again in 5 s only
        assert await engine.handle(run_id).result() == 1
        assert (await engine.get_run(run_id)).reason == ""


@in_loop
async def test_a_run_that_others_can_not_go_on_with_goes_on_where_it_is_waited_for(
    url: str,
) -> None:
    async with Engine(url, lease=600) as engine:  # it looks at nothing by itself
        handle = await engine.start(OLD, 1)
        row: Any = None
        while row is None or row.worker_id is not None:
            row = await engine.store.get_run(handle.run_id)
        async with Engine(url, workflows=[NEW], lease=0.9) as other:
            await other.send(handle.run_id, go, 1)
            while not (await other.get_run(handle.run_id)).reason:
                await asyncio.sleep(0.01)
            assert await handle.result() == 1


@in_loop
async def test_what_a_run_has_to_undo_is_waited_for_likewise(url: str) -> None:
    @step
    async def undo(number: int, output: int | None) -> None:
        calls.append("undone")

    @step
    async def fails(value: tuple[int, int]) -> int:
        raise ValueError(value)

    def undone(last: Any) -> Workflow[int, int]:
        return Workflow("w", input=int).then(last).wait_for(go).then(fails)

    async with Engine(url) as engine:
        run_id = (await engine.start(undone(charge.undo(undo)), 1)).run_id
        await until(lambda: not engine._worker.runs.drivers)  # type: ignore[union-attr]
    async with Engine(url, workflows=[undone(charge)]) as engine:
        await engine.send(run_id, go, 1)
        with pytest.raises(RunBlockedError, match="the undo step of 'charge' is gone"):
            await engine.handle(run_id).result()
    async with Engine(url, workflows=[undone(charge.undo(undo))]) as engine:
        with pytest.raises(RunFailedError):
            await engine.handle(run_id).result()
    assert calls == ["undone"]


class Odd:
    """A type that only its own function can read, which may fail."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        def read(text: str) -> Odd:
            if "odd" in broken:
                raise ValueError("not today")
            return text if isinstance(text, Odd) else cls(text)

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(lambda it: it.text)
        )


@step
async def odd(number: int) -> Odd:
    return Odd(str(number))


@step
async def told(value: tuple[Odd, int], to: Odd | None = None) -> str:
    return f"{value[0].text} to {None if to is None else to.text}"


@pytest.mark.parametrize("last", [told, told.bind("told", to=Odd("bob"))], ids=["value", "setting"])
@in_loop
async def test_a_value_that_its_type_can_not_read_now_blocks_the_run_for_all_who_wait(
    last: Any, url: str
) -> None:
    workflow = Workflow("odd", input=int).then(odd).wait_for(go).then(last)
    async with Engine(url, lease=0.9) as engine, Client(url) as client:
        handle = await engine.start(workflow, 1)
        await until(lambda: not engine._worker.runs.drivers)  # type: ignore[union-attr]
        broken.add("odd")
        elsewhere = asyncio.ensure_future(client.handle(handle.run_id).result())
        patient = asyncio.ensure_future(handle.result(wait_blocked=True))
        await handle.send(go, 1)
        for waiting in (handle.result(), elsewhere):
            with pytest.raises(RunBlockedError, match=r"(?s)can't be read.*not today"):
                await waiting
        assert not patient.done()
        broken.clear()
        await engine.recover(handle.run_id)
        assert await patient == ("1 to None" if last is told else "1 to bob")


@in_loop
async def test_a_store_that_fails_for_a_moment_blocks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_claims, "RETRY", 0.05)
    store: Any = Moody()
    async with Engine(store, lease=0.9) as engine:
        handle = await engine.start(OLD, 1)
        await until(lambda: not engine._worker.runs.drivers)  # type: ignore[union-attr]
        store.fail["inbox"] = 1
        store.error = StoreError("the disk is slow")
        await handle.send(go, 1)
        assert await handle.result() == 1
        assert store.fail["inbox"] == 0
