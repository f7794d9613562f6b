"""What the children do whose steps write into a database of their own, and that die within it.

``die`` kills the process at a named point of some attempts, the same ones each time.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import sessionmaker

from gorkflow import Client, Engine, StepContext, Workflow, step, testing

POINTS = ("began", "wrote", "kept", "committed")
CREATE = "CREATE TABLE IF NOT EXISTS bookings (run varchar(50), attempt integer)"
_shared: dict[str, Any] = {}


def die(ctx: StepContext[Any], point: str) -> None:
    """Kill this process, in about one of four attempts at each point."""
    chosen = sha256(f"{_shared['kind']} {ctx.run_id} {ctx.attempt} {point}".encode()).digest()[0]
    if chosen < 64 and ctx.attempt < 4 and point in _shared["points"]:
        os.kill(os.getpid(), signal.SIGKILL)


def stays(ctx: StepContext[Any]) -> None:
    """Die between the record of a result and the commit: there the context is asked."""
    die(ctx, "kept")


def statement(db: Any, ctx: StepContext[Any]) -> Any:
    sql = f"INSERT INTO bookings (run, attempt) VALUES ('{ctx.run_id}', {ctx.attempt})"
    drivers = (sqlite3.Connection, psycopg.Connection, psycopg.AsyncConnection)
    return sql if isinstance(db, drivers) else text(sql)


def book(db: Any, ctx: StepContext[Any]) -> tuple[str, int]:
    die(ctx, "began")
    db.execute(statement(db, ctx))
    die(ctx, "wrote")
    return ctx.run_id, ctx.attempt


async def book_async(db: Any, ctx: StepContext[Any]) -> tuple[str, int]:
    die(ctx, "began")
    await db.execute(statement(db, ctx))
    die(ctx, "wrote")
    return ctx.run_id, ctx.attempt


@step(id="book")
def in_transaction(ctx: StepContext) -> tuple[str, int]:
    booked = ctx.transaction(_shared["db"], book, ctx)
    die(ctx, "committed")
    return booked


@step(id="book")
async def in_async_transaction(ctx: StepContext) -> tuple[str, int]:
    booked = await ctx.transaction(_shared["db"], book_async, ctx)
    die(ctx, "committed")
    return booked


@step(id="book")
def plain(ctx: StepContext) -> tuple[str, int]:
    with closing(sqlite3.connect(_shared["db"], isolation_level=None)) as db:
        booked = book(db, ctx)
    die(ctx, "committed")
    return booked


def set_up(kind: str, url: str, points: list[str]) -> Any:
    """Set up this process; return the step that it runs."""
    makers: dict[str, Callable[[], Any]] = {
        "engine": lambda: create_engine(f"sqlite:///{url}"),
        "session": lambda: sessionmaker(create_engine(f"sqlite:///{url}")),
        "async engine": lambda: create_async_engine(f"sqlite+aiosqlite:///{url}"),
    }
    db = makers[kind]() if kind in makers else url
    _shared.update(kind=kind, db=db, points=points)
    StepContext.raise_if_cancelled = stays  # type: ignore[method-assign]
    if kind == "plain":
        return plain
    return in_async_transaction if kind.startswith("async") else in_transaction


def note(witness: str, what: str, run: str, attempt: int) -> None:
    with Path(witness).open("a") as file:
        file.write(json.dumps([what, run, attempt]) + "\n")


def read(witness: str) -> list[str]:
    return Path(witness).read_text().splitlines() if Path(witness).exists() else []


def queue(db: str, witness: str, count: int) -> None:
    """Queue runs."""

    async def main() -> None:
        async with Client(f"sqlite:{db}") as client:
            for number in range(count):
                await client.start(Workflow("booking").then(plain), run_id=f"run{number}")

    asyncio.run(main())


def carry(db: str, witness: str, kind: str, url: str, points: list[str], count: int) -> None:
    """Carry queued runs to their ends, unless it dies."""
    flow = Workflow("booking").then(set_up(kind, url, points))

    async def main() -> None:
        async with Engine(f"sqlite:{db}", workflows=[flow]) as engine:
            for number in range(count):
                note(witness, "result", *await engine.handle(f"run{number}", flow).result())

    asyncio.run(main())


def attempts(db: str, witness: str, **options: Any) -> int:
    """Fork until a child comes to its end: what they all import is imported once."""
    while True:
        pid = os.fork()
        if pid == 0:
            attempt(db, witness, **options)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != -signal.SIGKILL:
            return code
        note(witness, "death", "", 0)


def attempt(db: str, witness: str, kind: str, url: str, points: list[str], count: int) -> None:
    """Call the step for all runs without a result, as an engine would, unless it dies."""
    works = set_up(kind, url, points)
    noted = [json.loads(line) for line in read(witness)]

    async def main() -> None:
        for run in (f"run{number}" for number in range(count)):
            mine = [what for what, about, _ in noted if about == run]
            if "result" in mine:
                continue
            note(witness, "begin", run, len(mine) + 1)
            called = works(testing.context(run_id=run, path="book", attempt=len(mine) + 1))
            note(witness, "result", *(await called if inspect.isawaitable(called) else called))
        if kind == "async engine":
            await _shared["db"].dispose()

    asyncio.run(main())
