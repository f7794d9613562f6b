"""Three ways to a branch's output: a parameter, `ctx.outputs[step]`, `ctx.outputs.get(step)`.

Parameters are the usual way: what each branch gives is checked against them when the workflow is
written. The context is for what does not come along: steps further back, named with `reads=`, and
branches of which one wants to know how they ended.
"""

from gorkflow import Failed, StepContext, Workflow, run, step


@step
async def start(value: int) -> int:
    return value


@step
async def step_a(value: int) -> int:
    return value + 1


@step(continue_on_error=True)
async def step_b(value: int) -> int:
    if value < 0:
        raise ValueError("step B takes no negative values")
    return value + 2


@step
async def step_c(value: int) -> int:
    return value + 3


@step
async def by_parameter(a: int, b: int | None, c: int) -> int:
    """Get one parameter per branch, in the order of the branches."""
    return a + (b or 0) + c


@step(reads=(start, step_a, step_c))
async def by_subscript(ctx: StepContext, total: int) -> int:
    """Look outputs up by step: typed as what the step returns. Raises where there is none."""
    return total + ctx.outputs[step_a] * ctx.outputs[step_c] + ctx.outputs[start]


@step(reads=(step_b,))
async def by_get(ctx: StepContext, total: int) -> str:
    """Give a default for where there is no output; `outcome` tells why there is none."""
    b = ctx.outputs.get(step_b, 0)
    outcome = ctx.outcome(step_b)
    why = f" ({outcome.failure.message})" if isinstance(outcome, Failed) else ""
    return f"total {total}, of which step B gave {b}{why}"


accessing = (
    Workflow("accessing", input=int)
    .then(start)
    .parallel(step_a, step_b, step_c)
    .then(by_parameter)
    .then(by_subscript)
    .then(by_get)
)

if __name__ == "__main__":
    print(run(accessing, 10, store="memory:"))
    print(run(accessing, -10, store="memory:"))
