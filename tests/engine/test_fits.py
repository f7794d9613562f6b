"""New code on a run that was started with other code: what fits goes on, what does not is named."""

import enum
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, create_model

from gorkflow import Engine, RunBlockedError, RunFailedError, RunStatus, Signal, Workflow, step
from gorkflow import events as ev
from tests.engine.support import in_loop


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
        handle = await engine.rerun("r", workflow=bad, accept_types=True)
        await handle.outcome()
        events = (await engine.store.load(handle.run_id)).events  # type: ignore[union-attr]
        assert any(isinstance(event, ev.TypesAccepted) for event in events)
        assert (await handle.info()).status is RunStatus.FAILED  # it needs a size, after all
