"""Repeating a run."""

from typing import Any, assert_type

from models import Order, Stock, check

from gorkflow import Engine, RunHandle, Workflow
from gorkflow.engine._start import StartOptions

orders = Workflow("orders", input=Order).then(check)


async def repeat(engine: Engine) -> None:
    assert_type(await engine.rerun("r", workflow=orders), RunHandle[Stock])
    assert_type(await engine.rerun("r", "check", workflow=orders, run_id="s"), RunHandle[Stock])
    assert_type(await engine.rerun("r"), RunHandle[Any])
    assert_type(await engine.rerun("r", from_step="check", tags={"a": "b"}), RunHandle[Any])
    assert_type(await engine.rerun("r", check, workflow=orders), RunHandle[Stock])
    await engine.rerun("r", 5)  # error
    await engine.rerun("r", workflow=check)  # error
    await engine.rerun("r", tags=["a"])  # error
    await engine.rerun(run_id="r")  # error
    options: StartOptions = {"run_id": "s"}
    assert_type(await engine.rerun("r", workflow=orders, **options), RunHandle[Stock])
