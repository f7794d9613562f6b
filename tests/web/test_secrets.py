"""No view shows a secret: random types with secrets at random places, in runs that spill them.

Each secret has a word in it that stands nowhere else, so that a view which shows any part of one is
found, in whatever way it quotes.

Sizes: 2 types; 40 with ``GORKFLOW_TEST_SIZE=full``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Optional
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import create_model
from typing_extensions import TypedDict

from gorkflow import (
    Client,
    Engine,
    RetryPolicy,
    RunFailedError,
    Secret,
    Signal,
    StepContext,
    Workflow,
    step,
)
from gorkflow._logs import NAMES
from gorkflow.cli._app import cli
from gorkflow.engine._json import record
from gorkflow.redaction import MASK
from gorkflow.web import app
from gorkflow.web.api import OPERATIONS
from tests.cli.tools import COMMAND, environment, on_terminal

from .tools import CHANGES, TOKEN, Place, client
from .tools import site as web_site

FULL = os.environ.get("GORKFLOW_TEST_SIZE") == "full"
WORD = "Zq"
"""The beginning of the word in each secret."""
HIDDEN = re.compile(f"{WORD}[a-z]{{3}}")
LINK = re.compile(r'(?:href|src|data-src|data-url)="(/[^"#]*)')


@dataclass
class Sample:
    """A type, a value of it, and the secrets in that."""

    annotation: Any
    value: Any
    secrets: list[str] = field(default_factory=list)


# ---- random types ------------------------------------------------------------------------------

ends = st.text(st.sampled_from("abc 'ä\"\\/&<>%\n{}é😀…"), max_size=6)


@st.composite
def secret_texts(draw: st.DrawFn) -> str:
    words = st.text(st.sampled_from("abcdefgh"), min_size=8, max_size=8)
    return f"{draw(ends)}{WORD}{draw(words)}{draw(ends)}{WORD}{draw(words)}{draw(ends)}"


def hidden() -> st.SearchStrategy[Sample]:
    def text(secret: str) -> Sample:
        return Sample(Annotated[str, Secret], secret, [secret])

    def whole(secrets: list[str]) -> Sample:
        return Sample(Annotated[list[str], Secret], secrets, secrets)

    def data(secret: str) -> Sample:
        return Sample(Annotated[dict[str, Any], Secret], {"a": [secret]}, [secret])

    return st.one_of(
        secret_texts().map(text),
        st.lists(secret_texts(), min_size=1, max_size=2).map(whole),
        secret_texts().map(data),
    )


def plain() -> st.SearchStrategy[Sample]:
    return st.one_of(
        st.integers(0, 99).map(lambda number: Sample(int, number)),
        st.text("xyz", max_size=3).map(lambda text: Sample(str, text)),
        st.just(Sample(None, None)),
    )


def joined(parts: list[Sample]) -> list[str]:
    return [secret for part in parts for secret in part.secrets]


def names(parts: list[Sample]) -> dict[str, Any]:
    return {f"f{number}": part.annotation for number, part in enumerate(parts)}


def values(parts: list[Sample]) -> dict[str, Any]:
    return {f"f{number}": part.value for number, part in enumerate(parts)}


def as_list(part: Sample) -> Sample:
    return Sample(list[part.annotation], [part.value, part.value], part.secrets)  # type: ignore[name-defined]


def as_dict(part: Sample) -> Sample:
    return Sample(dict[str, part.annotation], {"key": part.value}, part.secrets)  # type: ignore[name-defined]


def as_optional(part: Sample) -> Sample:
    return Sample(Optional[part.annotation], part.value, part.secrets)  # noqa: UP045 - of None


def as_tuple(parts: list[Sample]) -> Sample:
    kinds = tuple(part.annotation for part in parts)
    return Sample(tuple[kinds], tuple(part.value for part in parts), joined(parts))  # type: ignore[valid-type]


def as_model(parts: list[Sample]) -> Sample:
    fields: Any = {name: (kind, ...) for name, kind in names(parts).items()}
    made = create_model("Made", **fields)
    return Sample(made, made(**values(parts)), joined(parts))


def as_dataclass(parts: list[Sample]) -> Sample:
    made = make_dataclass("Data", list(names(parts).items()))
    return Sample(made, made(**values(parts)), joined(parts))


def as_named(parts: list[Sample]) -> Sample:
    made: Any = NamedTuple("Named", list(names(parts).items()))
    return Sample(made, made(**values(parts)), joined(parts))


def as_typed(parts: list[Sample]) -> Sample:
    made: Any = TypedDict("Typed", names(parts))  # type: ignore[operator]
    return Sample(made, values(parts), joined(parts))


def around(inner: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        inner.map(as_list),
        inner.map(as_dict),
        inner.map(as_optional),
        some.map(as_tuple),
        some.map(as_model),
        some.map(as_dataclass),
        some.map(as_named),
        some.map(as_typed),
    )


samples = st.recursive(hidden() | plain(), around, max_leaves=6).filter(
    lambda sample: bool(sample.secrets)
)


# ---- a run that spills them --------------------------------------------------------------------


def forms(secret: str) -> str:
    return f"{secret} {secret!r} {json.dumps(secret)} {quote(secret)} {[secret]}"


def workflow(sample: Sample) -> tuple[Workflow[Any, Any], list[Any]]:
    """Return a workflow whose steps spill what they get, and the list of that."""
    seen: list[Any] = []
    said = " and ".join(map(forms, sample.secrets))
    kind = sample.annotation
    confirmed = Signal("confirmed", kind)

    def spill(ctx: StepContext, value: Any) -> Any:
        seen.append(value)
        ctx.logger.info("got %s", said)
        ctx.progress(1, 2, said[:500])
        ctx.state["text"] = said
        ctx.state["texts"] = {"of it": [said]}
        if ctx.attempt == 1:
            raise ConnectionError(f"no luck with {said}") from KeyError(sample.secrets[0])
        return value

    def derive(pair: Any) -> list[str]:
        seen.append(pair[1])
        return [*map(forms, sample.secrets), "other"]

    def check(ctx: StepContext, text: str, *, token: str = "") -> int:
        ctx.logger.warning("checks %r with %s", text, token)
        if text == "other":
            raise PermissionError(f"{token} is not {said}")
        return len(text)

    spill.__annotations__ |= {"value": kind, "return": kind}
    derive.__annotations__["pair"] = tuple[kind, kind]
    check.__annotations__["token"] = Annotated[str, Secret]
    again = step(retries=RetryPolicy(retries=1, initial_interval=0.01))(spill)
    bound = step(check).bind("check", token=sample.secrets[0])
    flow = Workflow("spilling", input=kind).then(again).wait_for(confirmed)
    return flow.then(step(derive)).map(bound), seen


async def spilled(sample: Sample, url: str, run_ids: list[str]) -> Workflow[Any, Any]:
    flow, seen = workflow(sample)
    async with Engine(url) as engine:
        for run_id in run_ids:
            handle = await engine.start(flow, sample.value, run_id=run_id)
            await engine.send(run_id, "confirmed", sample.value)
            with pytest.raises(RunFailedError) as caught:
                await handle.result()
            assert HIDDEN.search(str(caught.value)), "Python sees them"
        await engine.start(flow, sample.value, run_id="waits")
        async for event in engine.events("waits"):
            if event.kind == "wait_opened":
                break
        await engine.rerun(run_ids[0], "check[1]", workflow=flow, run_id="again")
        assert (await engine.handle("again").outcome()).status == "failed"
        await engine.schedule(flow, sample.value, id="daily", every=timedelta(days=1))
        assert (await engine.get_run(run_ids[0])).input == sample.value
    assert seen
    assert all(value == sample.value for value in seen)
    return flow


# ---- all views ---------------------------------------------------------------------------------


def command_lines(run_id: str, other: str) -> list[tuple[str, ...]]:
    return [
        ("runs", "list"),
        ("runs", "list", "--json"),
        ("runs", "show", run_id),
        ("runs", "show", run_id, "--full", "--events", "--traceback"),
        ("runs", "show", run_id, "--json", "--events"),
        ("runs", "show", "waits"),
        ("runs", "show", "again", "--events"),
        ("runs", "diff", run_id, "again"),
        ("runs", "diff", run_id, other),
        ("runs", "diff", run_id, other, "--json"),
        ("runs", "logs", run_id),
        ("runs", "logs", run_id, "--json"),
        ("runs", "watch", run_id),
        ("runs", "watch", run_id, "--json"),
        ("explain", run_id, "--markdown"),
        ("explain", run_id, "--json"),
        ("timeline", run_id),
        ("schedule", "list"),
        ("schedule", "list", "--json"),
        ("doctor",),
        ("db", "check"),
    ]


def check_commands(url: str, run_id: str, other: str) -> None:
    for words in command_lines(run_id, other):
        place = ("--store", url)
        result = CliRunner().invoke(cli, [*words, *place])
        assert result.exit_code in {0, 1}, (words, result.output)
        check(" ".join(words), result.output)


def check(where: str, text: str) -> None:
    found = HIDDEN.search(text)
    assert found is None, f"{where}: …{text[max(0, found.start() - 200) : found.end() + 50]}…"


async def check_site(engine: Client, run_id: str, most: int = 100) -> None:
    parts = {
        "run_id": run_id, "workflow_id": "spilling", "schedule_id": "daily", "path": "check[1]",
        "name": "confirmed", "path:path": "check[1]",
    }  # fmt: skip
    todo = [
        "/",
        f"/runs/{run_id}",
        "/workflows/spilling",
        "/workflows/spilling/start",
        "/schedules",
    ]
    todo += [
        "/api" + re.sub(r"\{([^}]+)\}", lambda found: parts[found[1]], operation.path)
        for operation in OPERATIONS
        if operation.method == "GET"
    ]
    todo += ["/api/openapi.json"]
    if run_id != "waits":
        todo += [f"/api/runs/{run_id}/events"]  # else it does not end
    seen: set[str] = set()
    good = 0
    async with client(app(engine, token=TOKEN), headers=CHANGES) as asked:
        while todo and len(seen) < most:
            address = todo.pop(0)
            if address in seen or address.startswith("/static"):
                continue
            seen.add(address)
            accept = "*/*" if address.startswith("/api") else "text/html"
            if address == "/api/events":
                continue  # it never ends
            answer = await asked.get(address, headers={"accept": accept})
            assert answer.status_code in {200, 404, 409}, (address, answer.text)
            good += answer.status_code == 200
            check(address, answer.text)
            check(address, repr(answer.headers))
            if answer.headers.get("content-type", "").startswith("text/html"):
                todo += [link.replace("&amp;", "&") for link in LINK.findall(answer.text)]
        shown = await asked.get(f"/api/runs/{run_id}")
        assert MASK in shown.text
    assert good > 20, good


async def check_drawings(engine: Client, run_id: str) -> None:
    drawn = [engine.handle(run_id), await engine.get_run(run_id), await engine.explain(run_id)]
    for each in drawn:
        check(type(each).__name__, "\n".join(each._repr_mimebundle_().values()))


class Kept(logging.Handler):
    """Keeps what logs say, as they would print it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{self.format(record)}\n{vars(record)!r}")


@pytest.mark.timeout(3_600 if FULL else 240)
@given(sample=samples)
@settings(
    max_examples=40 if FULL else 2,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=(Phase.generate,),
)
def test_no_view_shows_a_secret(sample: Sample, tmp_path_factory: pytest.TempPathFactory):
    url = f"sqlite:{tmp_path_factory.mktemp('store')}/runs.db"
    log = Kept()
    loggers = [logging.getLogger(name) for name in NAMES]
    for logger in loggers:
        logger.addHandler(log)
    try:
        flow = asyncio.run(spilled(sample, url, ["r1", "r2"]))
        check_commands(url, "r1", "r2")

        async def ask() -> None:
            async with Client(url) as bare:
                await check_site(bare, "r1")
                await check_site(bare, "waits", 60)
                await check_drawings(bare, "r1")
            async with Engine(url, workflows=[flow]) as engine:
                await check_site(engine, "r1")
                await check_site(engine, "again", 60)
                await check_drawings(engine, "r1")

        asyncio.run(ask())
    finally:
        for logger in loggers:
            logger.removeHandler(log)
    check("the log", "\n".join(log.texts))


def test_diff_tells_secrets_apart_and_shows_none(tmp_path: Path):
    @step
    def size(token: Annotated[str, Secret]) -> int:
        return len(token)

    url = f"sqlite:{tmp_path}/runs.db"
    flow = Workflow("sized", input=Annotated[str, Secret]).then(size)

    async def main() -> None:
        async with Engine(url) as engine:
            for run_id, token in (("r1", "Zqabcdef"), ("r2", "Zqfedcba"), ("r3", "Zqabcdef")):
                await engine.run(flow, token, run_id=run_id)

    asyncio.run(main())
    differ = CliRunner().invoke(cli, ["runs", "diff", "r1", "r2", "--store", url])
    assert differ.exit_code == 1
    assert f'input:\n  a  "{MASK}"\n  b  "{MASK}"' in differ.output
    check("diff", differ.output)
    same = CliRunner().invoke(cli, ["runs", "diff", "r1", "r3", "--store", url])
    assert same.exit_code == 0


def test_run_command_shows_none(tmp_path: Path):
    program = tmp_path / "flows.py"
    program.write_text(
        "from typing import Annotated\n"
        "from gorkflow import Secret, StepContext, Workflow, step\n\n"
        "@step\n"
        "def spill(ctx: StepContext, token: Annotated[str, Secret]) -> dict[str, str]:\n"
        "    ctx.logger.info('has %s', token)\n"
        "    ctx.progress(1, 2, f'with {token}')\n"
        "    return {'header': f'Bearer {token}'}\n\n"
        "@step\n"
        "def fail(header: dict[str, str]) -> str:\n"
        "    raise ValueError(f'bad {header}')\n\n"
        "flow = Workflow('spilling', input=Annotated[str, Secret]).then(spill)\n"
        "failing = Workflow('failing', input=Annotated[str, Secret]).then(spill).then(fail)\n"
    )
    for name, code in (("flow", 0), ("failing", 1)):
        for more in ((), ("--json", "--log-format", "json", "--traceback")):
            result = subprocess.run(
                [*COMMAND, "run", f"flows.py:{name}", "--input", '"Zqabcdef"', *more],
                cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert result.returncode == code, result.stderr
            assert MASK in result.stdout + result.stderr
            check(f"run {name} {more}", result.stdout + result.stderr)
    result = on_terminal(tmp_path, "run", "flows.py:failing", "--input", '"Zqabcdef"')
    check("the live tree", result.raw + result.stdout)
    assert MASK in result.raw


async def from_json(place: Place) -> str:
    return repr((await record(place.engine.store, "r1")).steps)


def from_site(address: str) -> Callable[[Place], Awaitable[str]]:
    async def ask(place: Place) -> str:
        return (await place.local.get(address)).text

    return ask


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(from_json, id="command line"),
        *(
            pytest.param(from_site(f"/{address}"), id=address)
            for address in (
                "runs/r1?step=tell",
                "runs/r1?tab=steps",
                "api/runs/r1/steps",
                "api/runs/r1/steps/tell",
            )
        ),
    ],
)
def test_view_has_no_secret_that_came_while_it_was_made(
    shown: Callable[[Place], Awaitable[str]], monkeypatch: pytest.MonkeyPatch
):
    """A step makes a secret, and another one tells it, after the view has read the record."""
    is_read, is_over = asyncio.Event(), asyncio.Event()

    @step
    async def make(number: int) -> Annotated[str, Secret]:
        await is_read.wait()
        return "Zqabcdef"

    @step
    async def tell(ctx: StepContext, number: int) -> None:
        await is_read.wait()
        ctx.progress(1, 2, "with Zqabcdef")
        ctx.logger.info("with Zqabcdef")
        await is_over.wait()

    flow = Workflow("telling", input=int).parallel(make, tell)

    async def main() -> None:
        async with web_site() as place:
            store = place.engine.store
            handle = await place.engine.start(flow, 1, run_id="r1")
            while len(await store.read_events("r1")) < 4:
                await asyncio.sleep(0)
            had = type(store).load

            async def load(*args: Any) -> Any:
                found = await had(*args)
                is_read.set()
                while not (await store.reports("r1") and await store.logs("r1")):
                    await asyncio.sleep(0)
                return found

            monkeypatch.setattr(type(store), "load", load)
            check("the view", await shown(place))
            monkeypatch.undo()
            is_over.set()
            await handle.result()

    asyncio.run(main())
