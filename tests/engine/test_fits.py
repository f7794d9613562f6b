"""New code on a run that was started with other code: what fits goes on, what does not is named."""

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, create_model

from gorkflow import (
    Client,
    Engine,
    InputInvalidError,
    RunBlockedError,
    RunFailedError,
    RunFilter,
    RunStatus,
    Signal,
    StoreError,
    Workflow,
    step,
)
from gorkflow import events as ev
from gorkflow.engine._compatibility import Misfit, blocked
from gorkflow.store import RunRow, Transition, Written
from tests.engine.support import Moody, in_loop, kinds


def flow(
    given: type, taken: type, make: Callable[[], Any], seen: list[Any], after: bool = False
) -> Workflow[Any, Any]:
    """Make a value, wait, and use it."""

    def made() -> Any:
        return make()

    def use(value: Any) -> int:
        seen.append(value)
        return 1

    made.__annotations__ = {"return": given}
    use.__annotations__ = {"value": taken, "return": int}
    wf = Workflow("fit").then(step(made, id="make")).sleep(3600, id="nap").then(step(use, id="use"))

    @step
    def more(n: int) -> int:
        return n + 1

    return wf.then(more) if after else wf


def one_model(name: str, **fields: Any) -> type[BaseModel]:
    """Return a model; each field is its type, and its default if it has one."""
    whole = {key: field if len(field) > 1 else (*field, ...) for key, field in fields.items()}
    return create_model(name, **whole)


class Color(enum.Enum):
    RED = "red"


class MoreColors(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Others(enum.Enum):
    GREEN = "green"


OLD = one_model("Order", id=(int,))
NOTED = one_model("Order", id=(int,), note=(str | None, None))
RENAMED = one_model("Purchase", id=(int,))
LOOSE = one_model("Order", id=(int | None,))
REMOVED = one_model("Order")
NARROW = one_model("Order", id=(int,), size=(int,))
INNER = one_model("Outer", order=(OLD,))
INNER_RENAMED = one_model("Outer", order=(RENAMED,))

FITS = [
    (OLD, OLD(id=1), NOTED, NOTED(id=1)),
    (OLD, OLD(id=1), RENAMED, RENAMED(id=1)),
    (OLD, OLD(id=1), LOOSE, LOOSE(id=1)),
    (INNER, INNER(order=OLD(id=1)), INNER_RENAMED, INNER_RENAMED(order=RENAMED(id=1))),
    (Color, Color.RED, MoreColors, MoreColors.RED),
    (MoreColors, MoreColors.RED, Color, Color.RED),
    (int, 1, int | None, 1),
    (int | None, 1, int, 1),
    (int | str, "x", str, "x"),
    (list[OLD], [OLD(id=1)], list[NOTED], [NOTED(id=1)]),
    (OLD, OLD(id=1), OLD | Color, OLD(id=1)),
    (LOOSE, LOOSE(id=1), OLD, OLD(id=1)),
]
MISFITS = [
    (OLD, OLD(id=1), NARROW, "size: the recorded value has no such field"),
    (NARROW, NARROW(id=1, size=2), OLD, "size: the class has no such field any more"),
    (Color, Color.RED, Others, "no member 'red' any more"),
    (LOOSE, LOOSE(id=None), OLD, "id: expected int, not None"),
    (int, 1, str, "expected str, not int"),
    (int | None, None, int, "expected int, not None"),
    (list[int], [1], list[str], r"\[0\]: expected str, not int"),
]


async def begun(engine: Engine, wf: Workflow[Any, Any]) -> str:
    """Start a run, and wait until it sleeps with nobody's process."""
    handle = await engine.start(wf, run_id="r")
    async for event in handle.events():
        if isinstance(event, ev.TimerSet):
            break
    return handle.run_id


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(("old", "value", "new", "expected"), FITS)
@pytest.mark.parametrize("after", [False, True], ids=["alone", "with a step more"])
@in_loop
async def test_what_reads_as_the_new_type_fits(tmp_path, old, value, new, expected, after):
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        await begun(engine, flow(old, old, lambda: value, []))
    seen: list[Any] = []
    async with Engine(
        url, workflows=[flow(new, new, lambda: None, seen, after)], recover=False
    ) as engine:
        assert await engine.recover("r") == ["r"]
        (made, *_) = await engine.steps("r")
        assert same(made.output, expected)
        assert made.plain == ""
        loaded = await engine.store.load("r")
        assert loaded is not None
        assert not any(isinstance(event, ev.TypesAccepted) for event in loaded.events)


@pytest.mark.parametrize(("old", "value", "new", "said"), MISFITS)
@in_loop
async def test_what_does_not_is_named_with_its_field(tmp_path, old, value, new, said):
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        await begun(engine, flow(old, old, lambda: value, []))
    async with Engine(url, workflows=[flow(new, new, lambda: None, [])], recover=False) as engine:
        with pytest.raises(RunBlockedError, match=f"output of step 'make' can't be read.*{said}"):
            await engine.recover("r")
        (made, *_) = await engine.steps("r")
        assert said.replace("\\", "") in made.plain
        assert await engine.recover("r", accept_types=True) == ["r"]
        events = (await engine.store.load("r")).events  # type: ignore[union-attr]
        accepted = [event for event in events if isinstance(event, ev.TypesAccepted)]
        assert len(accepted) == 1
        assert said.replace("\\", "") in accepted[0].problems[0]
    async with Engine(url, workflows=[flow(new, new, lambda: None, [])], recover=False) as engine:
        assert await engine.recover("r") == ["r"]  # it is recorded: nobody need say it again


@in_loop
async def test_a_step_to_come_that_takes_another_type_is_named(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        await begun(engine, flow(int, int, lambda: 1, []))

    @step
    def make() -> int:
        return 1

    @step
    def convert(number: int) -> str:
        return str(number)

    @step
    def use(text: str) -> int:
        return 1

    new = Workflow("fit").then(make).sleep(3600, id="nap").then(convert).then(use)
    async with Engine(url, workflows=[new], recover=False) as engine:
        with pytest.raises(RunBlockedError, match=r"step 'use' takes str now.* would be given int"):
            await engine.recover("r")


@in_loop
async def test_the_input_and_signals_that_came_have_to_fit_too(tmp_path):
    @step
    def use(given: int, signal: int) -> int:
        return given + signal

    def waiting(given: Any, sent: Any, taken: Any) -> Workflow[Any, Any]:
        flow = Workflow("fit", input=given).wait_for(Signal("go", sent)).sleep(3600, id="nap")
        return flow.then(taken)

    @step(id="use")
    def other(given: str, signal: str) -> int:
        return 1

    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        handle = await engine.start(waiting(int, int, use), 1, run_id="r")
        await handle.send("go", 2)
        async for event in handle.events():
            if isinstance(event, ev.TimerSet):
                break
    async with Engine(url, workflows=[waiting(str, str, other)], recover=False) as engine:
        with pytest.raises(RunBlockedError, match=r"workflow's input.* signal 'go' can't be read"):
            await engine.recover("r")
    wide = waiting(int | str, int | None, step(lambda_of(int | str, int | None), id="use"))
    async with Engine(url, workflows=[wide], recover=False) as engine:
        assert await engine.recover("r") == ["r"]


def lambda_of(*kinds: Any) -> Callable[..., int]:
    def use(given: Any, signal: Any) -> int:
        return 1

    use.__annotations__ = {**dict(zip(("given", "signal"), kinds, strict=True)), "return": int}
    return use


@in_loop
async def test_reruns_go_by_the_same_rule(tmp_path):
    def failing(given: Any, value: Any, works: bool) -> Workflow[Any, Any]:
        def made() -> Any:
            return value

        def use(value: Any) -> int:
            if not works:
                raise LookupError("not yet")
            return 1

        made.__annotations__ = {"return": given}
        use.__annotations__ = {"value": given, "return": int}
        return Workflow("again").then(step(made, id="make")).then(step(use, id="use"))

    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        with pytest.raises(RunFailedError):
            await engine.run(failing(OLD, OLD(id=1), works=False), run_id="r")
    async with Engine(url) as engine:
        good = failing(NOTED, None, works=True)
        assert await (await engine.rerun("r", workflow=good)).result() == 1
        bad = failing(NARROW, None, works=True)
        with pytest.raises(RunBlockedError, match="size: the recorded value has no such field"):
            await engine.rerun("r", workflow=bad)
        async with Client(url) as client:
            with pytest.raises(InputInvalidError, match="a Client can't accept types"):
                await client.rerun("r", workflow=bad, accept_types=True)
        handle = await engine.rerun("r", workflow=bad, accept_types=True)
        await handle.outcome()
        events = (await engine.store.load(handle.run_id)).events  # type: ignore[union-attr]
        assert any(isinstance(event, ev.TypesAccepted) for event in events)
        assert (await handle.info()).status is RunStatus.FAILED  # it needs a size, after all


# ---- types that are accepted for all runs ----------------------------------------------------


def waiting(given: Any, make: Callable[[], Any] = lambda: None) -> Workflow[Any, Any]:
    """Make a value, and wait for a signal."""

    def made() -> Any:
        return make()

    def use(value: Any, _: None) -> int:
        return 1

    made.__annotations__ = {"return": given}
    use.__annotations__ = {"value": given, "_": None, "return": int}
    flow = Workflow("fit").then(step(made, id="make")).wait_for(Signal("go", None))
    return flow.then(step(use, id="use"))


async def suspended(engine: Engine, wf: Workflow[Any, Any], run_id: str) -> None:
    """Start a run, and wait until it waits."""
    handle = await engine.start(wf, run_id=run_id)
    async for event in handle.events():
        if isinstance(event, ev.WaitOpened):
            break


@in_loop
async def test_types_are_accepted_for_a_run_that_was_looked_at_just_now(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        await suspended(engine, waiting(int, lambda: 1), "r")
    async with Client(url) as client:
        await client.send("r", "go")  # so that the next engine looks at it as soon as it is open
    async with Engine(url, workflows=[waiting(str)]) as engine:
        with pytest.raises(RunBlockedError, match=r"recover\('r', accept_types=True\)"):
            await engine.handle("r").result()
        assert await engine.recover(accept_types=True) == ["r"]
        assert "types_accepted" in await kinds(engine, "r")
        assert await engine.recover(accept_types=True) == []


@in_loop
async def test_types_are_accepted_for_runs_that_are_not_due_but_fitting_ones_are_left(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        await suspended(engine, waiting(LOOSE, lambda: LOOSE(id=None)), "unfit")
        await suspended(engine, waiting(LOOSE, lambda: LOOSE(id=1)), "fit")
    async with Engine(url, workflows=[waiting(OLD)], recover=False) as engine:
        assert await engine.recover() == []
        assert await engine.recover(accept_types=True) == ["unfit"]
        assert "types_accepted" in await kinds(engine, "unfit")
        assert "types_accepted" not in await kinds(engine, "fit")

    @step
    def make() -> str:
        return ""

    gone = Workflow("fit").then(make).wait_for(Signal("go", None))
    async with Engine(url, workflows=[gone], recover=False) as engine:
        assert await engine.recover(accept_types=True) == []  # more differs than types


@in_loop
async def test_a_delayed_start_of_other_types_stays_delayed(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"

    @step(id="use")
    def old(number: int) -> int:
        return number

    @step(id="use")
    def new(text: str) -> int:
        return len(text)

    async with Client(url) as client:
        begun = Workflow("late", input=int).then(old)
        due_at = (await (await client.start(begun, 1, run_id="r", delay=3600)).info()).due_at
    async with Engine(
        url, workflows=[Workflow("late", input=str).then(new)], recover=False
    ) as engine:
        assert await engine.recover(accept_types=True) == ["r"]
        assert await kinds(engine, "r") == ["run_created", "types_accepted"]
    async with Client(url) as client:
        run = await client.get_run("r")
        assert (run.status, run.due_at) == (RunStatus.PENDING, due_at)


class Failing(Moody):
    """Fails once, right after types were accepted, in these ways."""

    def __init__(self, ways: Sequence[str]) -> None:
        super().__init__()
        self.ways = ways

    def _fails(self, way: str) -> bool:
        return bool(self.fail.pop(way, 0))

    async def write(self, batch: Sequence[Transition]) -> list[Written]:
        written = await super().write(batch)
        if any(isinstance(event, ev.TypesAccepted) for each in batch for event in each.events):
            self.fail.update(dict.fromkeys(self.ways, 1))
            if self._fails("append"):
                raise StoreError("written, but the answer was lost")
        return written

    async def get_runs(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        if self._fails("get_runs"):
            return {}  # unreadable at this moment
        return await self._store.get_runs(run_ids)


@pytest.mark.parametrize("ways", [["append"], ["append", "get_runs"]])
@in_loop
async def test_a_store_that_fails_once_types_are_accepted_loses_no_run(ways):
    store: Any = Failing(ways)
    async with Engine(store) as engine:
        await suspended(engine, waiting(int, lambda: 1), "r")
    async with Engine(store, workflows=[waiting(str)], recover=False) as engine:
        assert await engine.recover(accept_types=True) == []
        assert not any(store.fail.values())  # it has failed
        (row,) = await store.list_runs(RunFilter())
        released = "get_runs" not in ways  # else it is kept in mind, and released later
        assert (row.worker_id is None, bool(row.reason)) == (released, released)
        assert await engine.recover(accept_types=True) == ["r"]
        await engine.send("r", "go")
        handle = engine.handle("r")
        await handle.outcome()
        assert (await kinds(engine, "r")).count("types_accepted") == 1


@pytest.mark.parametrize("rerun", [False, True])
def test_what_blocks_a_run_is_said_with_the_same_remedy(rerun):
    types = str(blocked("r", Misfit([], ["x is another"]), rerun=rerun))
    code = str(blocked("r", Misfit(["step 'a' is gone"], ["x is another"]), rerun=rerun))
    name, command = ("rerun", "rerun") if rerun else ("recover", "resume")
    assert f"{name}('r', accept_types=True)" in types
    assert f"gorkflow runs {command} r TARGET --accept-types" in types
    assert "accept" not in code
    for said in (types, code):
        assert f"{'Repeat' if rerun else 'Run'} it with code that fits, " in said
        assert said.endswith("or start a new run" if rerun else "or cancel it")


@in_loop
async def test_who_waits_for_a_run_that_sleeps_learns_that_it_is_stranded(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        await begun(engine, flow(OLD, OLD, lambda: OLD(id=1), []))
    async with Engine(url, workflows=[flow(NARROW, NARROW, lambda: None, [])]) as engine:
        for wait in (engine.handle("r").result, engine.handle("r").outcome):
            with pytest.raises(RunBlockedError, match="size: the recorded value has no such field"):
                await wait()


@in_loop
async def test_values_are_judged_anew_once_their_types_are_accepted(tmp_path):
    def kept(given: Any, taken: Any, seen: list[Any]) -> Workflow[Any, Any]:
        def made() -> Any:
            return Path("a")

        def use(value: Any) -> int:
            seen.append(value)
            return 1

        made.__annotations__ = {"return": given}
        use.__annotations__ = {"value": taken, "return": int}
        return (
            Workflow("w").then(step(made, id="make")).sleep(0.3, id="nap").then(step(use, id="use"))
        )

    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        await begun(engine, kept(Path, Path, []))
    seen: list[Any] = []
    async with Engine(url, workflows=[kept(str, str, seen)], recover=False) as engine:
        with pytest.raises(RunBlockedError, match="expected str, not Path"):
            await engine.recover("r")
        await engine.recover("r", accept_types=True)
        assert await engine.handle("r").result() == 1
    assert seen == ["a"]


@in_loop
async def test_types_are_accepted_for_one_code_only(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        await suspended(engine, waiting(int, lambda: 1), "r")
    accepted, other = waiting(str), waiting(list[str])
    async with Engine(url, workflows=[accepted], recover=False) as engine:
        assert await engine.recover("r", accept_types=True) == ["r"]
    async with Engine(url, workflows=[other], recover=False) as engine:
        await engine.send("r", "go")
        with pytest.raises(RunBlockedError, match="can't be read as list"):
            await engine.recover("r")
    async with Engine(url, workflows=[accepted], recover=False) as engine:
        assert await engine.recover("r") == ["r"]
        assert (await kinds(engine, "r")).count("types_accepted") == 1
