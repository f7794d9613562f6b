import asyncio

import pytest

from gorkflow.context import StepContext
from gorkflow.engine.blocking import run
from gorkflow.errors import InputInvalidError, RunFailedError
from gorkflow.step import step
from gorkflow.stores import open_store
from gorkflow.workflow import Workflow


@step
async def double(number: int) -> int:
    return number * 2


@step
def fail(number: int) -> int:
    raise ValueError("no")


@step
async def greet() -> str:
    return "hello"


@step
async def ask(ctx: StepContext) -> str:
    return str(ctx.deps)


doubled = Workflow("doubled", input=int).then(double)


def test_returns_the_output():
    assert run(doubled, 21, store="memory:") == 42
    assert run(Workflow("hello").then(greet), store="memory:") == "hello"


def test_hands_on_deps_and_start_options(tmp_path):
    store = f"sqlite:{tmp_path}/runs.db"
    assert run(Workflow("asked").then(ask), store=store, deps="d", run_id="r1") == "d"

    async def look():
        opened = open_store(store)
        await opened.open()
        try:
            return await opened.get_run("r1")
        finally:
            await opened.close()

    row = asyncio.run(look())
    assert row is not None
    assert row.status == "completed"


def test_applies_defaults():
    forgiving = Workflow("forgiving", input=int).then(fail)
    with pytest.raises(RunFailedError, match="ValueError: no"):
        run(forgiving, 1, store="memory:", defaults={"retries": 0})


def test_raises_what_the_engine_raises():
    with pytest.raises(InputInvalidError):
        run(doubled, "many", store="memory:")
    with pytest.raises(TypeError, match="unexpected keyword argument 'runid'"):
        run(doubled, 1, store="memory:", runid="r")


def test_inside_a_running_loop_it_says_what_to_await():
    async def main():
        with pytest.raises(RuntimeError, match=r"await engine\.run"):
            run(doubled, 1, store="memory:")

    asyncio.run(main())


def test_uses_the_default_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GORKFLOW_STORE", raising=False)
    assert run(doubled, 1) == 2
    assert (tmp_path / ".gorkflow" / "runs.db").exists()
