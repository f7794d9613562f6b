"""Secrets in a run: steps get them, and logs, reasons, traces and keys have none."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, create_model

from gorkflow import Client, Engine, RunFailedError, Secret, Signal, StepContext, Workflow, step
from gorkflow._logs import NAMES
from gorkflow.model import FailureCode
from gorkflow.redaction import MASK
from gorkflow.telemetry import JsonFormatter

TOKEN = "hunter2-hunter2"


def in_loop(test: Any) -> Any:
    @wraps(test)
    def run(*args: Any, **options: Any) -> None:
        asyncio.run(test(*args, **options))

    return run


class Login(BaseModel):
    user: str
    token: Annotated[str, Secret]


@dataclass
class Key:
    name: str
    text: Annotated[str, Secret]


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def text(self) -> str:
        plain, as_json = logging.Formatter(), JsonFormatter()
        said = [f"{plain.format(each)}\n{as_json.format(each)}" for each in self.records]
        return "\n".join([*said, *(repr(vars(each)) for each in self.records)])


@pytest.fixture
def log() -> Iterator[Kept]:
    kept = Kept()
    loggers = [logging.getLogger(name) for name in NAMES]
    for logger in loggers:
        logger.addHandler(kept)
        logger.setLevel(logging.DEBUG)
    yield kept
    for logger in loggers:
        logger.removeHandler(kept)
        logger.setLevel(logging.NOTSET)


LOGIN = Login(user="ann", token=TOKEN)


@in_loop
async def test_step_gets_it_as_it_is(log: Kept):
    seen: list[Any] = []

    @step
    def sign_in(ctx: StepContext, login: Login) -> Key:
        seen.append((login.token, ctx.run_input(Login).token))
        ctx.logger.info("signing in with %s", login.token)
        ctx.logger.info("as %r", login, extra={"login": {"token": login.token}})
        return Key("session", login.token[::-1])

    @step
    def use(ctx: StepContext, key: Key) -> str:
        seen.append(key.text)
        ctx.logger.warning("using %s for %s", key.text, key.name)
        return f"Bearer {key.text}"

    flow = Workflow("sign-in", input=Login).then(sign_in).then(use)
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, LOGIN)
        assert await handle.result() == f"Bearer {TOKEN[::-1]}"
        run = await engine.get_run(handle.run_id)
        assert run.input == LOGIN
        lines = [line.text for line in await engine.logs(handle.run_id)]
        assert lines[0] == f"signing in with {TOKEN}"
    assert seen == [(TOKEN, TOKEN), TOKEN[::-1]]
    assert f"signing in with {MASK}" in log.text()
    assert f"using {MASK} for session" in log.text()
    assert TOKEN not in log.text()
    assert TOKEN[::-1] not in log.text()


@step
def say_in_process(ctx: StepContext, login: Login) -> str:
    ctx.logger.warning("there with %s", login.token)
    try:
        raise KeyError(login.token)
    except KeyError:
        ctx.logger.exception("it failed")
    return "said"


@in_loop
async def test_log_of_a_process_has_none(log: Kept):
    flow = Workflow("far", input=Login).then(say_in_process.options(executor="process"))
    async with Engine("memory:") as engine:
        await engine.run(flow, LOGIN)
    assert f"there with {MASK}" in log.text()
    assert f"KeyError: '{MASK}'" in log.text()
    assert TOKEN not in log.text()


@step
def refuse(login: Login) -> str:
    reason = f"the token {login.token!r} of {login.user} is too old"
    raise PermissionError(reason)


@in_loop
async def test_log_and_summary_of_a_failure_have_none(log: Kept):
    flow = Workflow("refused", input=Login).then(refuse)
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, LOGIN)
        with pytest.raises(RunFailedError) as caught:
            await handle.result()
        assert TOKEN in str(caught.value), "Python sees it"
        [run] = await engine.list_runs()
        assert f"the token '{MASK}' of ann" in run.reason
        assert TOKEN in (await engine.get_run(handle.run_id)).failures[0].message
    shown = log.text()
    assert f"PermissionError: the token '{MASK}' of ann is too old" in shown
    assert "raise PermissionError(reason)" in shown, "the lines of the step are there"
    assert TOKEN not in shown


@in_loop
async def test_reason_of_a_cancel_has_none_whoever_has_the_run(log: Kept, tmp_path: Path):
    @step
    def charge(login: Login) -> Login:
        return login

    @step
    def refund(login: Login, charged: Login | None) -> None:
        pass

    go = Signal("go", bool)
    flow = Workflow("waits", input=Login).wait_for(go)
    undoing = Workflow("undone", input=Login).then(charge.undo(refund)).wait_for(go)
    url, reason = f"sqlite:{tmp_path}/runs.db", f"{TOKEN} leaked"
    async with Engine(url, workflows=[flow, undoing]) as engine:
        for name, each in (("kept", flow), ("undone", undoing)):
            await engine.start(each, LOGIN, run_id=name)
            while (await engine.get_run(name)).status != "suspended":
                await asyncio.sleep(0.002)
        await engine.cancel("kept", reason=reason)
    async with Client(url) as client:
        await client.start(flow, LOGIN, run_id="new")
        for name in ("new", "undone"):
            await client.cancel(name, reason=reason)
        reasons = {run.run_id: run.reason for run in await client.list_runs()}
    assert reasons == {
        "kept": f"{MASK} leaked", "new": f"{MASK} leaked", "undone": f"undoing: {MASK} leaked",
    }  # fmt: skip
    assert TOKEN not in log.text()


@in_loop
async def test_failure_without_it_is_logged_as_ever(log: Kept):
    @step
    def fail(login: Login) -> str:
        raise ValueError("no luck")

    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError):
            await engine.run(Workflow("unlucky", input=Login).then(fail), LOGIN)
    found = [record.exc_info for record in log.records if record.exc_info]
    assert isinstance(found[0][1] if found[0] else None, ValueError)


@in_loop
async def test_settings_and_defaults_are_secrets_too(log: Kept):
    @step
    def call(user: str, *, token: Annotated[str, Secret] = "") -> str:
        raise ValueError(f"{user} with {token}")

    flow = Workflow("called", input=str).then(call.bind("call_ann", token=TOKEN))
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match=f"ann with {TOKEN}"):
            await engine.run(flow, "ann")
    assert f"ann with {MASK}" in log.text()
    assert TOKEN not in log.text()


@in_loop
async def test_condition_and_signal_have_none(log: Kept):
    entered = Signal("entered", Login)

    def fails(login: Login) -> bool:
        raise RuntimeError(f"can't decide on {login.token}")

    @step
    def take(pair: tuple[str, Login]) -> Login:
        return pair[1]

    @step
    def go_on(login: Login) -> Login:
        return login

    flow = Workflow("signalled", input=str).wait_for(entered).then(take).then_if(fails, go_on)
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, "x")
        await engine.send(handle.run_id, "entered", {"user": "ann", "token": TOKEN})
        with pytest.raises(RunFailedError, match=TOKEN):
            await handle.result()
    assert f"can't decide on {MASK}" in log.text()
    assert TOKEN not in log.text()


@in_loop
async def test_map_of_a_secret_list_gives_secrets(log: Kept):
    @step
    def size(token: str) -> int:
        return len(token)

    tokens = Annotated[list[str], Secret]
    flow = Workflow("sizes", input=tokens).map(size)
    async with Engine("memory:") as engine:
        assert await engine.run(flow, [TOKEN, "x"]) == [len(TOKEN), 1]


@in_loop
async def test_key_of_an_item_is_none():
    @step
    def size(login: Login) -> int:
        return len(login.token)

    flow = Workflow("keyed", input=list[Login]).map(size, key=lambda login: f"x-{login.token}")
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, [LOGIN])
        with pytest.raises(RunFailedError, match="returned a secret for item 0"):
            await handle.result()
        [failure] = (await engine.get_run(handle.run_id)).failures
        assert failure.code == FailureCode.VALIDATION
        assert TOKEN not in failure.message


@in_loop
async def test_run_under_way_goes_on_when_a_field_becomes_a_secret(tmp_path: Path):
    gate = Signal("gate", int)

    before: Any = create_model("Ticket", token=(str, ...))
    after: Any = create_model("Ticket", token=(Annotated[str, Secret], ...))

    def flow(kind: Any) -> Any:
        async def use(given: Any) -> str:
            return given[0].token

        use.__annotations__ = {"given": tuple[kind, int], "return": str}
        return Workflow("changing", input=kind).wait_for(gate).then(step(use))

    store = f"sqlite:{tmp_path}/runs.db"
    for number, (then, now) in enumerate([(before, after), (after, before)]):
        run_id = f"r{number}"
        async with Engine(store) as engine:
            await engine.start(flow(then), then(token=TOKEN), run_id=run_id)
        async with Engine(store, workflows=[flow(now)]) as engine:
            again = await engine.start(
                flow(now), now(token=TOKEN), run_id=run_id, if_exists="return"
            )
            await engine.send(run_id, "gate", 1)
            assert await again.result() == TOKEN


@in_loop
async def test_input_of_a_schedule_is_shown_without_them():
    @step
    def user(login: Login) -> str:
        return login.user

    flow = Workflow("nightly", input=Login).then(user)
    async with Engine("memory:", workflows=[flow]) as engine:
        made = await engine.schedule(flow, Login(user=TOKEN, token=TOKEN), id="nightly", every=3600)
        [found] = await engine.schedules()
        assert made.input == found.input == {"user": MASK, "token": MASK}
