"""Three ways to a branch's output: a parameter, `ctx.outputs[step]`, `ctx.outputs.get(step)`.

Use a parameter for the output of a branch: its type is checked when you write the workflow. Use the
context for steps further back, named with `reads=`, and for the outcome of a branch.
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
    """Look outputs up by step: they have the step's type. Raises if there is none."""
    return total + ctx.outputs[step_a] * ctx.outputs[step_c] + ctx.outputs[start]


@step(reads=(step_b,))
async def by_get(ctx: StepContext, total: int) -> str:
    """Give a default for a missing output; `outcome` says why it is missing."""
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
