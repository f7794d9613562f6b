"""What a step finds as ``ctx.deps``, and what it is told where there are none."""

import pytest

from gorkflow import Engine, RunFailedError, StepContext, Workflow, step
from tests.engine.support import in_loop


class Api:
    """A client of something."""

    def fetch(self) -> int:
        return 7


@step
async def fetch(ctx: StepContext[Api]) -> int:
    return ctx.deps.fetch()


@step
async def fetch_if_there(ctx: StepContext[Api | None]) -> int:
    return 0 if ctx.deps is None else ctx.deps.fetch()


@step
async def looks(ctx: StepContext[Api]) -> bool:
    return bool(ctx.deps)


@in_loop
async def test_a_step_whose_engine_has_no_deps_says_what_to_write():
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.run(Workflow("w").then(fetch))
        said = "step 'fetch' uses ctx.deps.fetch, but its engine was given no deps; write Engine("
        assert said in caught.value.failures[0].message
        assert "deps=Api(…))" in caught.value.failures[0].message
        assert await engine.run(Workflow("w2").then(fetch_if_there)) == 0
        assert await engine.run(Workflow("w3").then(looks)) is False
    async with Engine("memory:", deps=Api()) as engine:
        assert await engine.run(Workflow("w").then(fetch)) == 7
