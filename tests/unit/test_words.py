"""What the library says to mistakes that newcomers make."""

import gc
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import (
    Engine,
    EngineClosedError,
    RetryPolicy,
    RunFailedError,
    Signal,
    StepContext,
    StepInvalidError,
    Workflow,
    WorkflowDroppedWarning,
    passthrough,
    run,
    step,
)
from gorkflow.stores import open_store


class Order(BaseModel):
    id: int = 1


class Stock(BaseModel):
    available: bool


async def fetch() -> int:
    return 1


@step
def check(order: Order) -> int:
    return order.id


@step
def double(number: int) -> int:
    return 2 * number


@step(id="misspelt")
def reads_misspelt(ctx: StepContext, number: int) -> int:
    return int(ctx.outputs["chek"])


@step
def asks_for_another(ctx: StepContext, number: int) -> bool:
    return ctx.run_input(Stock).available


@step
async def forgets(number: int) -> int:
    return fetch()  # type: ignore[return-value] # pyright: ignore[reportReturnType]


@step
async def forgets_inside(number: int) -> list[int]:
    return [fetch()]  # type: ignore[list-item] # pyright: ignore[reportReturnType]


def orders() -> Workflow[Order, Order]:
    return Workflow("orders", input=Order)


def without_annotation() -> Any:
    def f(ctx, order: Order) -> int:
        return 1

    return step(f)


def given(**options: Any) -> Any:
    return options


MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "a value as input": (
        lambda: Workflow("w", input=Order()),  # type: ignore[call-overload]
        Exception,
        r"input is Order\(id=1\), a value; give its type: Order",
    ),
    "a value as a signal's type": (
        lambda: Signal("ok", 5),  # type: ignore[arg-type]
        Exception,
        "5, a value; give its type: int",
    ),
    "a value to pass on": (
        lambda: passthrough([1]),  # type: ignore[arg-type]
        Exception,
        r"\[1\], a value; give its type: list",
    ),
    "option of a workflow": (
        lambda: Workflow("w", **given(default={})),
        TypeError,
        "Workflow has no option 'default'; did you mean 'defaults'",
    ),
    "option of an engine": (
        lambda: Engine("memory:", **given(max_thread=3)),
        TypeError,
        "Engine has no option 'max_thread'; did you mean 'max_threads'",
    ),
    "option of a policy": (
        lambda: RetryPolicy(**given(max_delay=3)),
        TypeError,
        "RetryPolicy has no option 'max_delay'; (did you mean|there are)",
    ),
    "option like no other": (
        lambda: Workflow("w", **given(zzz=3)),
        TypeError,
        "Workflow has no option 'zzz'; there are: id, input, name",
    ),
    "run of a workflow": (
        lambda: orders().run(Order()),  # type: ignore[attr-defined]
        AttributeError,
        r"a workflow has no 'run'; write gorkflow.run\(workflow, input\)",
    ),
    "a workflow called": (
        lambda: orders()(Order()),  # type: ignore[operator]
        TypeError,
        r"a workflow is not called; write gorkflow.run\(workflow, input\)",
    ),
    "another attribute": (
        lambda: orders().elementz,  # type: ignore[attr-defined]
        AttributeError,
        "a workflow has no 'elementz'$",
    ),
    "an empty workflow": (
        lambda: run(orders(), Order(), store="memory:"),
        Exception,
        "it is empty; give it a step and keep what that returns",
    ),
    "a context without annotation": (
        without_annotation,
        StepInvalidError,
        "'ctx' has no annotation; write what it takes: `ctx: StepContext`",
    ),
    "a policy's class": (
        lambda: step(check.fn, retries=RetryPolicy),  # type: ignore[call-overload]
        StepInvalidError,
        r"retries must be 0 or more, or a policy such as RetryPolicy\(retries=3\), not <class",
    ),
    "a dict as policy": (
        lambda: step(check.fn, retries={"retries": 3}),  # type: ignore[call-overload]
        StepInvalidError,
        r"a policy such as RetryPolicy\(retries=3\), not \{'retries': 3\}",
    ),
    "a misspelt output": (
        lambda: run(orders().then(check).then(reads_misspelt), Order(), store="memory:"),
        RunFailedError,
        "step 'misspelt' may not read 'chek'; did you mean 'check'",
    ),
    "another type of the run's input": (
        lambda: run(orders().then(check).then(asks_for_another), Order(), store="memory:"),
        RunFailedError,
        r"ctx.run_input\(Stock\): the input of the run is not one: .*available",
    ),
    "a forgotten await": (
        lambda: run(Workflow("w", input=int).then(forgets), 1, store="memory:"),
        RunFailedError,
        "coroutine; write `await` before the call that gives it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_answered_with_what_to_write(make, kind, says):
    with pytest.raises(kind, match=f"(?s){says}"):
        make()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_forgotten_await_inside_of_a_value_is_named():
    with pytest.raises(RunFailedError, match="coroutine; write `await` before the call"):
        run(Workflow("w", input=int).then(forgets_inside), 1, store="memory:")
    gc.collect()


async def ask_after_the_end() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(orders().then(check), Order())
        await handle.result()
    await handle.info()


async def ask_before_the_beginning() -> None:
    await Engine("memory:").start(orders().then(check), Order())


def test_an_engine_says_whether_it_is_closed_or_was_never_open():
    import asyncio

    with pytest.raises(EngineClosedError, match="the engine is closed: the block of"):
        asyncio.run(ask_after_the_end())
    with pytest.raises(EngineClosedError, match="the engine is not open; use it with"):
        asyncio.run(ask_before_the_beginning())


# ---- what .then(…) returned was dropped ---------------------------------------------------------


def test_a_result_that_is_dropped_at_once_is_warned_of_in_its_line():
    workflow = orders().then(check)
    with pytest.warns(WorkflowDroppedWarning, match=r"\.then\(…\) in line \d+ of test_words.py"):
        workflow.then(double)
    with pytest.warns(WorkflowDroppedWarning, match=r"\.parallel"):
        workflow.parallel(double)
    with pytest.warns(WorkflowDroppedWarning, match=r"\.sleep"):
        workflow.sleep(1)
    with pytest.warns(WorkflowDroppedWarning, match=r"\.when"):
        workflow.when(lambda _: True, double)
    with pytest.warns(WorkflowDroppedWarning, match=r"\.otherwise"):
        workflow.when(lambda _: True, double).otherwise(double.options(id="other"))
    with pytest.warns(WorkflowDroppedWarning) as caught:
        workflow.then(double)
    assert {Path(item.filename).name for item in caught} == {"test_words.py"}


def add_a_step(workflow: Workflow[Order, int]) -> Workflow[Order, int]:
    return workflow.then(double)


def test_a_result_that_a_function_hands_on_and_nobody_keeps_is_warned_of_at_the_run():
    workflow = orders().then(check)
    add_a_step(workflow)
    gc.collect()
    with pytest.warns(WorkflowDroppedWarning, match=r"'orders': what \.then"):
        assert run(workflow, Order(), store="memory:") == 1
    assert run(workflow, Order(), store="memory:") == 1  # once is enough


def test_branches_of_a_base_are_no_mistake():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base = orders().then(check)
        one, other = base.then(double), base.then(double.options(id="twice"))
        for workflow in (one, other, base):
            run(workflow, Order(), store="memory:")

        base = orders().then(check)
        run(base.then(double), Order(), store="memory:")
        gc.collect()
        run(base, Order(), store="memory:")

        base = orders().then(check)
        outer = Workflow("outer", input=Order).then(base.then(double))
        gc.collect()
        run(base, Order(), store="memory:")
        run(outer, Order(), store="memory:")

        base = orders().then(check)
        kept = base.then(double)
        run(base, Order(), store="memory:")
        assert kept.output is int
        run(base.replace(check, check.options(timeout=3)), Order(), store="memory:")


def test_many_variants_of_a_base_are_not_remembered():
    base = orders().then(check)
    for _ in range(50):
        run(base.then(double), Order(), store="memory:")
    assert len(base._growth._grown) <= 1


# ---- stores by path -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    ["runs.db", "./runs", "folder/runs.db", Path("runs"), Path("folder") / "a:b.db"],
    ids=repr,
)
def test_a_path_is_a_store(given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    assert run(orders().then(check), Order(), store=given, run_id="one") == 1
    assert Path(given).is_file()
    assert Engine(given).store.path == str(tmp_path / given)  # type: ignore[attr-defined]


def test_a_path_may_have_options_and_an_absolute_one_too(tmp_path: Path):
    store: Any = open_store(f"{tmp_path}/x.db?synchronous=normal")
    assert store.path == str(tmp_path / "x.db")
