"""What ``bind`` fixes is data: each run has its own, recorded with it, exact and never shared."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from gorkflow import (
    Client,
    Engine,
    RetryPolicy,
    RunBlockedError,
    RunFailedError,
    Signal,
    StepContext,
    StepInvalidError,
    Workflow,
    step,
)
from gorkflow.flow import from_json, to_json

from . import placed
from .support import in_loop

go = Signal("go", int)
undone: list[str] = []


class Color(enum.Enum):
    RED = "red"


class Rule(BaseModel):
    name: str
    limits: dict[str, int] = {}


@dataclasses.dataclass
class Point:
    x: float
    tags: list[str]


@step
async def first(value: tuple[int, int]) -> int:
    return value[0]


@step
async def shown(
    number: int,
    *,
    text: str = "",
    day: date | None = None,
    price: Decimal = Decimal(0),
    color: Color = Color.RED,
    point: Point | None = None,
    rule: Rule | None = None,
    pause: timedelta = timedelta(0),
    pair: tuple[int, str] = (0, ""),
    rules: list[Rule] | None = None,
    plain: Any = None,
    at: datetime | None = None,
    names: frozenset[str] = frozenset(),
    ratio: float = 0.0,
    bare=1,
) -> str:
    return repr(
        (text, day, price, color, point, rule, pause, pair, rules, plain, at, names, ratio, bare)
    )


VALUES: dict[str, Any] = {
    "text": "bob",
    "day": date(2026, 1, 2),
    "price": Decimal("1.10"),
    "color": Color.RED,
    "point": Point(1.5, ["a"]),
    "rule": Rule(name="r", limits={"b": 1}),
    "pause": timedelta(seconds=5),
    "pair": (1, "b"),
    "rules": [Rule(name="s")],
    "plain": {"a": [1, 2.5, None], 3: (4, {5})},
    "at": datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
    "names": frozenset({"n"}),
    "ratio": -0.0,
    "bare": (1, date(2026, 1, 2)),
}


@step
async def notify(number: int, to: str = "nobody") -> str:
    return to


def mail(*settings: str, **changes: Any) -> Workflow[int, str]:
    """Wait, then notify somebody, or whom the function says."""
    send = notify.bind("send", to=settings[0]) if settings else notify.options(id="send")
    return Workflow("mail", input=int).wait_for(go).then(first).then(send.options(**changes))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'runs.db'}"


async def started(url: str, workflow: Workflow[int, Any]) -> str:
    """Start a run that another process will carry on."""
    async with Client(url) as client:
        handle = await client.start(workflow, 1)
        await handle.send(go, 1)
    return handle.run_id


@in_loop
async def test_a_setting_arrives_as_it_was_bound_also_in_another_process(url: str) -> None:
    workflow = Workflow("w", input=int).wait_for(go).then(first).then(shown.bind("s", **VALUES))
    expected = repr(tuple(VALUES.values()))
    run_id = await started(url, workflow)
    unbound = Workflow("w", input=int).wait_for(go).then(first).then(shown.options(id="s"))
    async with Engine(url, workflows=[unbound]) as engine:
        assert await engine.handle(run_id).result() == expected


@pytest.mark.parametrize("now", [mail("bob"), mail(), mail("bob", timeout=3), mail("alice")])
@in_loop
async def test_a_changed_setting_blocks_nothing_and_changes_nothing(
    url: str, now: Workflow[int, str]
) -> None:
    run_id = await started(url, mail("alice"))
    async with Engine(url, workflows=[now]) as engine:
        assert await engine.handle(run_id).result() == "alice"
        assert await (await engine.rerun(run_id, "send", workflow=now)).result() == "alice"


@in_loop
async def test_a_setting_that_is_new_is_none_of_an_old_run(url: str) -> None:
    run_id = await started(url, mail())
    async with Engine(url, workflows=[mail("bob")]) as engine:
        assert await engine.handle(run_id).result() == "nobody"


@in_loop
async def test_code_that_can_not_take_the_setting_any_more_is_named(url: str) -> None:
    @step(id="send")
    async def without(number: int) -> str:
        return "?"

    @step(id="send")
    async def other(number: int, to: date = date.min) -> str:
        return "?"

    start = Workflow("mail", input=int).wait_for(go).then(first)
    run_id = await started(url, mail("alice"))
    for code, match in (
        (without, "'send' has no parameter 'to' any more"),
        (other, "'send' can't take the run's setting to='alice' any more"),
    ):
        async with Engine(url, workflows=[start.then(code)], recover=False) as engine:
            with pytest.raises(RunBlockedError, match=match):
                await engine.recover(run_id)


class Renamed(BaseModel):
    name: str
    limits: dict[str, int] = {}
    more: int = 5


@pytest.mark.parametrize(
    ("then", "value", "now", "expected"),
    [
        (str, "a", str | None, "a"),
        (int, 3, int | None, 3),
        (Rule, Rule(name="r"), Renamed, Renamed(name="r", limits={}, more=5)),
        (list[int], [1], list[int | None], [1]),
    ],
    ids=["optional", "union", "renamed", "items"],
)
@in_loop
async def test_a_parameter_whose_type_grew_takes_what_was_recorded(
    url: str, then: Any, value: Any, now: Any, expected: Any
) -> None:
    def flow(kind: Any, *given: Any) -> Workflow[int, str]:
        @step
        async def uses(number: int, to: kind = None) -> str:
            return repr(to)

        last = uses.bind("uses", to=given[0]) if given else uses
        return Workflow("w", input=int).wait_for(go).then(first).then(last)

    run_id = await started(url, flow(then, value))
    async with Engine(url, workflows=[flow(now)]) as engine:
        assert await engine.handle(run_id).result() == repr(expected)


@in_loop
async def test_no_attempt_sees_what_another_made_of_a_setting() -> None:
    lists: list[list[int]] = []

    @step(retries=RetryPolicy(retries=2, initial_interval=0.001))
    async def adds(ctx: StepContext, number: int, seen: list[int] = []) -> list[int]:  # noqa: B006
        lists.append(seen)
        seen.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError(number)
        return seen

    given = [0]
    bound = adds.bind("adds", seen=given)
    given.append(99)  # too late
    workflow = Workflow("w", input=int).then(bound)
    async with Engine("memory:") as engine:
        for _ in range(2):
            assert await engine.run(workflow, 1) == [0, 3]
    assert lists == [[0, 1], [0, 2], [0, 3]] * 2
    assert bound.settings == {"seen": [0]}


@in_loop
async def test_settings_cross_to_step_processes(url: str) -> None:
    @step
    async def parcel(number: int) -> placed.Parcel:
        return placed.Parcel("tea", 1.0)

    def weighed(factor: float) -> Workflow[int, placed.Parcel]:
        wait = Workflow("w", input=int).wait_for(go).then(first).then(parcel)
        return wait.then(placed.weigh.bind("heavy", factor=factor))

    run_id = await started(url, weighed(3))
    now = weighed(0.5)
    async with Engine(url, workflows=[now]) as engine:
        assert await engine.handle(run_id, now).result() == placed.Parcel("tea", 3.0)


@step
async def undo(number: int, output: str | None, who: str = "nobody") -> None:
    undone.append(f"{output} by {who}")


@step
async def fails(text: str) -> str:
    raise ValueError(text)


@in_loop
async def test_each_place_of_a_step_has_its_settings(url: str) -> None:
    undone.clear()

    def placed_everywhere(to: str) -> Workflow[int, Any]:
        send = notify.bind("send", to=to).undo(undo.bind("undo", who=to))
        inner = Workflow("inner", input=int).then(notify.bind("deep", to=to))
        wait = Workflow("mail", input=int).wait_for(go).then(first)

        @step
        async def three(number: int) -> list[int]:
            return [number] * 3

        @step
        async def joined(texts: list[str]) -> int:
            assert texts == ["alice"] * 3
            return 1

        @step
        async def last(texts: tuple[str, str]) -> str:
            return ",".join(texts)

        everyone = wait.then(three).map(notify.bind("each", to=to)).then(joined)
        return everyone.parallel(send, inner).then(last).then(fails)

    run_id = await started(url, placed_everywhere("alice"))
    async with Engine(url, workflows=[placed_everywhere("bob")]) as engine:
        with pytest.raises(RunFailedError, match="alice,alice"):
            await engine.handle(run_id).result()
    assert undone == ["alice by alice"]


class Live:
    """Something live."""


LIVE = [Live(), len, lambda number: number, Live, [Live()]]


@pytest.mark.parametrize("value", LIVE, ids=["object", "builtin", "lambda", "class", "inside"])
@pytest.mark.parametrize("name", ["bare", "free", "client", "call", "items"])
def test_what_can_not_be_recorded_is_refused_where_it_is_bound(name: str, value: Any) -> None:
    @step
    async def uses(
        number: int,
        bare=None,
        free: Any = None,
        client: Client = LIVE[0],
        call: Callable[[int], int] = abs,
        items: list[object] = [],  # noqa: B006
    ) -> int:
        return number

    with pytest.raises(StepInvalidError, match=rf"step 'uses': the setting '{name}'.* deps"):
        uses.bind("b", **{name: value})


def test_a_setting_of_another_type_than_its_parameter_is_refused() -> None:
    with pytest.raises(StepInvalidError, match=r"the setting 'to' \(str\) .*not int"):
        notify.bind("b", to=3)


def test_settings_are_part_of_the_tree_that_a_run_keeps() -> None:
    bound, unbound = mail("alice").compile(), mail().compile()
    assert from_json(to_json(bound.tree)) == bound.tree != unbound.tree
