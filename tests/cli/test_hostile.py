"""No text of users moves the cursor, colours anything, rings, or hides text: of any command.

Each command runs over a store in which every text that users may choose is hostile.
"""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gorkflow import Client, Engine
from gorkflow._text import is_shown
from gorkflow.cli._app import cli
from tests.cli.screen import terminal
from tests.cli.tools import COMMAND, environment, gorkflow_in

EVIL = (
    "\x1b[35;7mE\x1b]0;title\x07\x1bP1$r\x1b\\\x9b2J\x90\x85\r\b\v\f\x0e\x7f\u202e\u2066\u200b\u200e"
    "\ufeff\u2028[red]x[/red][link=http://x]y[/link]:boom:"
)
"""Escape sequences, C0 and C1 controls, bidi controls, zero width, line ends, and rich's markup."""

FLOW = """
import asyncio
import logging
from pathlib import Path

from gorkflow import NonRetryableError, RetryPolicy, Signal, StepContext, Workflow, step

EVIL = Path(__file__).with_name("evil.txt").read_bytes().decode()
Broken = type(f"Broken{EVIL}", (RuntimeError,), {})

@step(name=EVIL, description=EVIL)
async def items(text: str) -> list[str]:
    return [text, text + "2"]

@step(name=EVIL, retries=RetryPolicy(retries=1, initial_interval=0.01))
async def fetch(ctx: StepContext, text: str) -> str:
    ctx.state[f"{EVIL}{len(text)}"] = EVIL
    ctx.logger.warning("warned %s", EVIL)
    ctx.logger.info("told %s", EVIL)
    ctx.progress(1, 2, EVIL)
    await asyncio.sleep(0.05)
    if ctx.attempt == 1:
        raise Broken(EVIL)
    return EVIL

@step
async def fail(texts: list[str]) -> str:
    raise NonRetryableError(EVIL) from Broken(EVIL)

@step
async def hold(text: str) -> str:
    await asyncio.sleep(0 if text == "quick" else 3600)
    return EVIL

def key(text: str) -> str:
    return f"k{len(text)}"

good = Workflow("good", input=str, name=EVIL, description=EVIL).then(items).map(fetch, key=key)
bad = Workflow("bad", input=str, name=EVIL).then(items).map(fetch, key=key).then(fail)
waits = Workflow("waits", input=str, name=EVIL).wait_for(Signal("go", str))
held = Workflow("held", input=str, name=EVIL).then(hold)
"""
STORE = ("--store", "sqlite:runs.db")
GOOD, BAD, WAITS, HELD = "r-good", "r-bad", "r-waits", "r-held"
"""Runs, whose ids can't be hostile."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the flows, and a store with their runs."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "evil.txt").write_bytes(EVIL.encode())
    (folder / "flows.py").write_text(FLOW)
    sys.path.insert(0, str(folder))
    sys.modules.pop("flows", None)  # that of another test
    try:
        asyncio.run(_fill(folder))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("flows", None)
    return folder


async def _fill(folder: Path) -> None:
    import flows  # type: ignore[import-not-found]

    url = f"sqlite:{folder / 'runs.db'}"
    tags, reason = {EVIL: EVIL}, EVIL
    async with Engine(url, workflows=[flows.waits]) as engine:
        for workflow, run_id in ((flows.good, GOOD), (flows.bad, BAD)):
            handle = await engine.start(
                workflow, EVIL, run_id=run_id, tags=tags, resource_id=EVIL, state={EVIL: EVIL}
            )
            await engine.wait(handle.run_id)
        await engine.start(flows.waits, EVIL, run_id=WAITS, tags=tags)
        while (await engine.get_run(WAITS)).status != "suspended":
            await asyncio.sleep(0.01)
    async with Client(url) as client:
        await client.start(flows.held, EVIL, run_id=HELD, tags=tags)
        await client.start(flows.held, EVIL, run_id="cancelled")
        await client.cancel("cancelled", reason=reason)
        await client.schedule(flows.held, every=3600, input=EVIL, id="s", tags=tags)


def leaves(command: click.Command, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the names of all commands."""
    if not isinstance(command, click.Group):
        yield names
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, (*names, name))


RUN = ("flows.py:good", "--input", '"a"', "--run-id")
CASES: dict[tuple[str, ...], list[tuple[str, ...]]] = {
    ("run",): [(*RUN, "new" + EVIL), ("flows.py:bad", "--input", '"a"'), (EVIL,)],
    ("start",): [("flows.py:held", "--input", '"a"', "--tag", f"{EVIL}={EVIL}"), (EVIL,)],
    ("workers",): [(), ("--json",)],
    ("runs", "list"): [(), ("--json",), ("--workflow", EVIL), ("--tag", EVIL), ("--status", EVIL)],
    ("runs", "show"): [(id,) for id in (GOOD, BAD, WAITS, HELD, "cancelled", "no" + EVIL)]
    + [(BAD, "--json", "--events"), (BAD, "--events", "--traceback"), (GOOD, "--full", "--events")],
    ("runs", "watch"): [(GOOD,), (BAD,)],
    ("runs", "logs"): [(GOOD,), (BAD, "--step", "fetch"), (BAD, "--json"), ("no" + EVIL,)],
    ("runs", "diff"): [(GOOD, BAD), (GOOD, BAD, "--json")],
    ("runs", "send"): [(WAITS, EVIL + "no"), (GOOD, EVIL)],
    ("runs", "cancel"): [(GOOD,), (HELD, "--reason", EVIL)],
    ("runs", "resume"): [(GOOD, "flows.py:good"), (BAD, "flows.py:good")],
    ("runs", "rerun"): [(BAD, "flows.py:bad"), (BAD, "--from", EVIL)],
    ("runs", "delete"): [("no" + EVIL,), (WAITS,)],
    ("schedule", "add"): [("flows.py:held", "--every", EVIL), ("flows.py:held", "--cron", EVIL)],
    ("schedule", "list"): [()],
    ("schedule", "next"): [("s",), (EVIL,)],
    ("schedule", "pause"): [("s",), (EVIL,)],
    ("schedule", "resume"): [("s",), (EVIL,)],
    ("schedule", "remove"): [(EVIL,)],
    ("explain",): [(GOOD,), (BAD,), (BAD, "--markdown")],
    ("whatif",): [(GOOD, "--max-concurrency", "1"), (GOOD, "--scale", f"{EVIL}=1")],
    ("timeline",): [(GOOD,), (BAD,)],
    ("graph",): [(f"flows.py:{name}", "--format", form) for name in ("good", "waits")
                 for form in ("text", "mermaid", "svg")],
    ("check",): [("flows.py",), ("flows.py:good",), ("flows.py", "--workflow", EVIL)],
    ("db", "prune"): [("--older-than", "30d", "--dry-run")],
    ("db", "check"): [()],
    ("db", "migrate"): [()],
    ("db", "prepare"): [()],
    ("db", "backup"): [(f"copy{EVIL.replace('/', '')}.db",)],
    ("doctor",): [()],
}  # fmt: skip
ELSEWHERE = {("worker",), ("demo",), ("web",)}
"""Tested below, or without any text of users."""


def stored(command: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a command on the store of the test."""
    return (*command, *more, *(() if command in {("graph",), ("check",)} else STORE))


def unsafe(text: str) -> set[str]:
    return {char for char in text if char not in "\n\t" and not is_shown(char)}


def test_every_command_has_a_case():
    assert set(leaves(cli)) - ELSEWHERE == set(CASES)


@pytest.mark.parametrize("command", [*CASES], ids=" ".join)
def test_commands_print_nothing_that_steers(
    place: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for more in CASES[command]:
        done = CliRunner().invoke(cli, stored(command, more))
        sys.modules.pop("flows", None)
        assert done.exit_code != 70, done.stderr
        for text in (done.stdout, done.stderr):
            assert not unsafe(text), (more, text)


OURS = re.compile(r"\x1b\[(\d+A|2K|\?25[lh]|K|(0|1|2|[39][1-6]|1;[39][1-6]|2;3[1-6])?m)|\r")
"""What rich draws trees and coloured lines with."""


@pytest.mark.parametrize(
    "command",
    [("runs", "watch"), ("run",), ("check",), ("doctor",), ("db", "check")],
    ids=" ".join,
)  # fmt: skip
def test_nor_do_they_on_a_terminal(place: Path, command: tuple[str, ...]):
    for more in CASES[command][:2]:
        words = ["again" + each if each.startswith("new") else each for each in more]
        with terminal(place, *stored(command, tuple(words)), columns=200) as shown:
            shown.wait()
        left = OURS.sub("", shown.raw)
        assert not unsafe(left), (more, left)


def test_markup_of_users_is_text(place: Path):
    with terminal(place, "runs", "watch", BAD, *STORE, columns=300) as shown:
        shown.wait()
    assert any("[red]x[/red][link=http://x]y[/link]:boom:" in line for line in shown.screen.lines)


def test_a_worker_logs_nothing_that_steers(place: Path):
    async def start() -> None:
        import flows  # type: ignore[import-not-found]

        async with Client(f"sqlite:{place / 'runs.db'}") as client:
            for workflow, run_id in ((flows.good, "w1"), (flows.bad, "w2")):
                await client.start(workflow, "a", run_id=run_id)

    sys.path.insert(0, str(place))
    try:
        asyncio.run(start())
    finally:
        sys.path.remove(str(place))
        sys.modules.pop("flows", None)
    process = subprocess.Popen(
        [*COMMAND, "worker", "flows.py", *STORE],
        cwd=place, env=environment(), stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        for run_id in ("w1", "w2"):
            gorkflow_in(place, "runs", "watch", run_id, *STORE)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1].decode()
    finally:
        process.kill()
        process.wait()
    assert "warned" in said
    assert not unsafe(said), said
