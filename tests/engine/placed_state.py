"""Steps that run in other processes, where they are found by name."""

from gorkflow import StepContext, step


@step(executor="process")
def there(ctx: StepContext, number: int) -> int:
    before: int = ctx.state["before"]
    ctx.state["seen"] = before
    ctx.state.append("log", "there")
    return ctx.state.incr("n", number)


@step(executor="pool")
def elsewhere(ctx: StepContext, number: int) -> int:
    ctx.state.append("log", "elsewhere")
    return ctx.state.incr("n", number)


@step(executor="process", retries=1)
def writes_and_fails(ctx: StepContext, number: int) -> int:
    ctx.state["attempt"] = [ctx.attempt, "lost" in ctx.state]
    if ctx.attempt == 1:
        ctx.state["lost"] = True
        raise ValueError("the first always fails")
    return number
