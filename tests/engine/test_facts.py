"""What was recorded is a fact: nothing that judges values can fail a run later."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, FilePath, GetCoreSchemaHandler
from pydantic_core import core_schema

from gorkflow import (
    Engine,
    RunBlockedError,
    RunCancelledError,
    RunFailedError,
    StepContext,
    StepStatus,
    Workflow,
    step,
)
from tests.engine.support import STORES, in_loop


class World:
    """What validators and readers ask."""

    good = True


@pytest.fixture(autouse=True)
def good_world():
    World.good = True
    yield
    World.good = True


def still_good(number: int) -> int:
    if not World.good:
        raise ValueError("the world has changed")
    return number


class Doc(BaseModel):
    number: Annotated[int, AfterValidator(still_good)]


@in_loop
async def test_values_that_are_no_longer_valid_reach_undo_conditions_views_and_results():
    calls: list[Any] = []

    @step
    def write() -> Doc:
        return Doc(number=1)

    @step
    def take_back(doc: Doc | None) -> None:
        calls.append(("undone", doc))

    @step
    def change(doc: Doc) -> Doc:
        World.good = False
        return doc

    @step
    def fail(doc: Doc) -> Doc:
        calls.append(("failed", doc))
        raise LookupError("the real failure")

    flow = (
        Workflow("facts")
        .then(write.undo(take_back))
        .then(change)
        .when(lambda doc: doc.number == 1, fail)
        .otherwise(fail.bind("other"))
    )
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, run_id="r")
        with pytest.raises(RunFailedError, match="the real failure"):
            await handle.result()
        assert [name for name, _ in calls] == ["failed", "undone"]
        assert all(doc.number == 1 for _, doc in calls)
        steps = {each.path: each for each in await engine.steps("r")}
        assert steps["write"].output.number == 1
        assert steps["write"].plain == ""


@in_loop
async def test_a_later_attempt_and_an_undo_step_get_what_the_first_attempt_got(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("x")
    calls: list[str] = []

    @step
    def name() -> Path:
        return path

    @step
    def restore(source: FilePath, result: int | None) -> None:
        calls.append("restored")

    @step(retries=1)
    def consume(source: FilePath) -> int:
        calls.append("consumed")
        source.unlink(missing_ok=True)
        raise OSError("half-way")

    flow = Workflow("files").then(name).then(consume.undo(restore))
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="half-way"):
            await engine.run(flow)
    assert calls[:2] == ["consumed", "consumed"]


class Odd:
    """A type that only its own function can read."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and other.text == self.text

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(
                cls.read, core_schema.str_schema()
            ),
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda odd: odd.text),
        )

    @classmethod
    def read(cls, text: str) -> "Odd":
        if not World.good:
            raise RuntimeError("the reader is broken")
        return cls(text)


def odd_flow(seen: list[Any]) -> Workflow[Any, Any]:
    """Make an odd value; the world changes before anybody reads it."""

    @step
    def make() -> Odd:
        return Odd("x")

    @step
    def take_back(odd: Odd | None) -> None:
        seen.append(odd)

    @step
    def spoil(odd: Odd) -> int:
        World.good = False
        return 1

    @step(reads=(make,))
    def use(ctx: StepContext, number: int) -> str:
        odd = ctx.outputs[make]
        seen.append(odd)
        if odd.text == "x" and ctx.run_input(bool):
            raise LookupError("after all")
        return odd.text

    return Workflow("odd", input=bool).then(make.undo(take_back)).then(spoil).then(use)


@STORES
@in_loop
async def test_a_type_that_cant_read_what_it_wrote_blocks_the_run_until_it_can(
    url: str, tmp_path: Path
):
    seen: list[Odd] = []
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(odd_flow(seen), False, run_id="r")
        with pytest.raises(RunBlockedError, match=r"Odd.*reader is broken"):
            await handle.result()
        assert seen == []
        (made, *_) = await engine.steps("r")
        assert made.status is StepStatus.COMPLETED
        assert made.output == "x"
        assert "the reader is broken" in made.plain
        World.good = True
        await engine.recover("r")
        assert await engine.handle("r").result() == "x"
    assert seen == [Odd("x")]


@STORES
@in_loop
async def test_undoing_waits_for_such_a_type(url: str, tmp_path: Path):
    seen: list[Odd] = []
    flow = odd_flow(seen)
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(flow, True, run_id="r")
        with pytest.raises(RunBlockedError, match="Odd"):
            await handle.result()
        await engine.cancel("r", reason="enough")
        World.good = True
        await engine.recover("r")
        with pytest.raises(RunCancelledError):
            await engine.handle("r").result()
    assert seen == [Odd("x")]
