"""Work of a step that commits with its result, in databases of the user."""

# ruff: noqa: E402 - there may be no driver

from __future__ import annotations

import asyncio
import dataclasses
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from gorkflow import (
    EncodingError,
    Engine,
    NonRetryableError,
    PayloadTooLargeError,
    StepCancelledError,
    StepContext,
    StepValueError,
    Workflow,
    step,
    testing,
)
from gorkflow.transaction import TABLE, alchemy_table, prepare, statement
from tests.engine.transactional import counts_in_process

if TYPE_CHECKING:
    from collections.abc import Sized as OnlyForCheckers

pytest.importorskip("aiosqlite", reason="needs aiosqlite: pip install aiosqlite")
sqlalchemy = pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy: pip install sqlalchemy")
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import mssql, mysql, oracle
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.schema import CreateTable


class Guest(BaseModel):
    id: int
    name: str


@dataclasses.dataclass
class Price:
    amount: Decimal
    at: datetime


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE guests (id integer PRIMARY KEY, name text UNIQUE)")
    return str(path)


def rows(path: str, query: str = "SELECT name FROM guests ORDER BY id") -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute(query)]


def said(db: Any, sql: str) -> Any:
    return sql if isinstance(db, sqlite3.Connection) else text(sql)


def insert(db: Any, name: str) -> Guest:
    done = db.execute(said(db, f"INSERT INTO guests (name) VALUES ('{name}')"))
    return Guest(id=done.lastrowid, name=name)


async def insert_async(db: Any, name: str) -> Guest:
    done = await db.execute(text(f"INSERT INTO guests (name) VALUES ('{name}')"))
    return Guest(id=done.lastrowid, name=name)


SYNC: dict[str, Callable[[str], Any]] = {
    "path": lambda path: path,
    "pathlib": Path,
    "sqlite:path": lambda path: f"sqlite:{path}",
    "factory": lambda path: partial(sqlite3.connect, path),
    "engine": lambda path: create_engine(f"sqlite:///{path}"),
    "engine.connect": lambda path: create_engine(f"sqlite:///{path}").connect,
    "session": lambda path: sessionmaker(create_engine(f"sqlite:///{path}")),
}
ASYNC: dict[str, Callable[[Any], Any]] = {
    "async engine": lambda engine: engine,
    "async session": async_sessionmaker,
    "async connect": lambda engine: engine.connect,
}


@pytest.fixture(params=SYNC)
def db(request: pytest.FixtureRequest, path: str) -> Iterator[Any]:
    found = SYNC[request.param](path)
    yield found
    engine = getattr(found, "kw", {}).get("bind") or getattr(found, "__self__", found)
    if isinstance(engine, sqlalchemy.Engine):
        engine.dispose()


def test_the_second_attempt_gets_the_result_of_the_first(db: Any, path: str):
    first = testing.context(run_id="r").transaction(db, insert, "Ada")
    again = testing.context(run_id="r", attempt=2).transaction(db, insert, "Ada")
    assert first == again == Guest(id=1, name="Ada")
    assert testing.context(run_id="s").transaction(db, insert, "Bob").id == 2
    assert rows(path) == ["Ada", "Bob"]
    assert rows(path, f"SELECT key FROM {TABLE} ORDER BY key") == ["r:step", "s:step"]


def test_what_fails_is_rolled_back_and_can_be_tried_again(db: Any, path: str):
    def fails(connection: Any) -> int:
        insert(connection, "Ada")
        raise OSError("no more")

    ctx = testing.context()
    with pytest.raises(OSError, match="no more"):
        ctx.transaction(db, fails)
    assert rows(path) == []
    assert ctx.transaction(db, insert, "Bob").id == 1


def test_work_must_not_commit(db: Any, path: str):
    def commits(connection: Any) -> int:
        insert(connection, "Ada")
        connection.commit()
        return 1

    with pytest.raises(NonRetryableError, match="commits has ended the transaction by itself"):
        testing.context().transaction(db, commits)
    assert rows(path, f"SELECT count(*) FROM {TABLE}") == [0]


def test_the_attempt_that_was_first_wins(db: Any, path: str):
    """In SQLite only one can write at a time, so the other one comes and goes while work waits."""

    def first(connection: Any) -> str:
        return "first"

    def second(connection: Any) -> str:
        connection.rollback()  # lets the other one in
        testing.context().transaction(db, first)
        raise ValueError("of the second")

    assert testing.context(attempt=2).transaction(db, second) == "first"


@pytest.mark.parametrize("kind", ASYNC)
def test_async_work(kind: str, path: str):
    async def main() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        db = ASYNC[kind](engine)
        for attempt in (1, 2):
            ctx = testing.context(attempt=attempt)
            assert await ctx.transaction(db, insert_async, "Ada") == Guest(id=1, name="Ada")
        with pytest.raises(TypeError, match="with async def"):
            await testing.context(path="sync").transaction(db, lambda connection: 1)

        async def fails(connection: Any) -> int:
            await insert_async(connection, "Cem")
            raise OSError("no more")

        with pytest.raises(OSError, match="no more"):
            await testing.context(path="fails").transaction(db, fails)

        async def commits(connection: Any) -> int:
            await connection.commit()
            return 1

        with pytest.raises(NonRetryableError, match="by itself"):
            await testing.context(path="commits").transaction(db, commits)
        await engine.dispose()

    asyncio.run(main())
    assert rows(path) == ["Ada"]


def test_cancelled_async_work_is_rolled_back(path: str):
    async def main() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        has_written = asyncio.Event()

        async def hangs(connection: Any) -> int:
            await insert_async(connection, "Ada")
            has_written.set()
            await asyncio.sleep(60)
            return 1

        task = asyncio.create_task(testing.context().transaction(engine, hangs))
        await has_written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await testing.context(attempt=2).transaction(engine, insert_async, "Bob")
        await engine.dispose()

    asyncio.run(main())
    assert rows(path) == ["Bob"]


def test_an_attempt_that_is_cancelled_does_not_commit(path: str):
    ctx = testing.context()

    def cancelled(db: sqlite3.Connection) -> int:
        insert(db, "Ada")
        ctx.cancel()
        return 1

    with pytest.raises(StepCancelledError):
        ctx.transaction(path, cancelled)
    assert rows(path) == []


def test_a_commit_whose_answer_was_lost_counts(path: str):
    class Lossy(sqlite3.Connection):
        def cursor(self, *args: Any) -> Any:
            class Cursor(sqlite3.Cursor):
                def execute(self, sql: str, *args: Any) -> Any:
                    done = super().execute(sql, *args)
                    if sql == "COMMIT" and not lost:
                        lost.append(sql)
                        raise sqlite3.OperationalError("the answer was lost")
                    return done

            return super().cursor(Cursor)

    lost: list[str] = ["until the table is there"]
    db = partial(sqlite3.connect, path, factory=Lossy)
    testing.context(path="other").transaction(db, insert, "Bob")
    lost.clear()
    assert testing.context().transaction(db, insert, "Ada") == Guest(id=2, name="Ada")
    assert lost == ["COMMIT"]
    assert rows(path) == ["Bob", "Ada"]


def gives(value: Any) -> Callable[[Any], Any]:
    def work(db: Any) -> Any:
        return value

    work.__annotations__["return"] = type(value)
    return work


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "NUL \0, quote ', and \N{SNOWMAN}",
        Guest(id=1, name="Ada"),
        Price(Decimal("1.10"), datetime(2026, 1, 1, tzinfo=UTC)),
        (1, "two", b"\xff"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_result_comes_back_as_it_was(db: Any, value: Any):
    for attempt in (1, 2):
        found = testing.context(attempt=attempt).transaction(db, gives(value))
        assert found == value
        assert type(found) is type(value)


def returns_guest(db: Any):
    return Guest(id=1, name="Ada")


def is_checked(db: Any) -> int:
    return "no number"  # type: ignore[return-value]


def for_checkers(db: OnlyForCheckers, name: str) -> int:
    return len(name)


def returns_for_checkers(db: Any) -> OnlyForCheckers:
    return ""


class Counting:
    async def __call__(self, db: Any) -> int:
        return 1


def coroutine(db: Any) -> Awaitable[Guest]:
    return insert_async(db, "Ada")


BAD_CALLS: list[tuple[Any, Any, type[Exception], str]] = [
    (7, insert, TypeError, "7 is not a database; give an SQLAlchemy Engine, AsyncEngine"),
    (None, insert, TypeError, "None is not a database"),
    ("", insert, ValueError, "'' names no file"),
    ("sqlite:", insert, ValueError, "'sqlite:' names no file"),
    (":memory:", insert, ValueError, "':memory:' names no file, so nothing would be kept"),
    ("mysql://ann:pass@host/db", insert, ValueError, "a mysql:// URL needs an engine of SQLA"),
    ("PATH", "insert", TypeError, "'insert' is not a function"),
    ("PATH", insert_async, TypeError, "insert_async is async, and an SQLite file is not"),
    ("PATH", Counting(), TypeError, "the Counting is async, and an SQLite file is not"),
    ("PATH", coroutine, TypeError, "coroutine returned a coroutine, and an SQLite file is"),
    ("PATH", returns_guest, EncodingError, "what returns_guest returned: a value of type Gu"),
    ("PATH", is_checked, StepValueError, "what is_checked returned: "),
    ("PATH", returns_for_checkers, TypeError, "'OnlyForCheckers' can't be found; define it"),
    (lambda: 7, insert, TypeError, "gives a int, and not a connection of sqlite3"),
]


@pytest.mark.parametrize(
    ("db", "work", "error", "message"), BAD_CALLS, ids=[message for *_, message in BAD_CALLS]
)
def test_bad_calls_say_what_to_do(db: Any, work: Any, error: Any, message: str, path: str):
    wanted = path if db == "PATH" else db
    args = ("Ada",) if work is insert or work is insert_async else ()
    with pytest.raises(error) as caught:
        testing.context().transaction(wanted, work, *args)
    assert message in str(caught.value)
    assert "pass" not in str(caught.value)
    assert rows(path) == []


def test_one_connection_is_no_database(path: str):
    engine = create_engine(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as one, engine.connect() as two:
        for connection in (one, two, scoped_session(sessionmaker(engine))):
            with pytest.raises(TypeError, match="is one connection, and each attempt needs"):
                testing.context().transaction(connection, insert, "Ada")
    engine.dispose()


def test_annotations_of_the_arguments_need_not_be_there(path: str):
    assert testing.context().transaction(path, for_checkers, "Ada") == 3


def test_a_result_that_is_too_large_is_rolled_back(path: str):
    def large(db: sqlite3.Connection) -> str:
        insert(db, "Ada")
        return "x" * 20_000_000

    with pytest.raises(PayloadTooLargeError, match=r"what .*large returned"):
        testing.context().transaction(path, large)
    assert rows(path) == []


def test_a_result_that_does_not_fit_any_more_says_so(path: str):
    testing.context().transaction(path, insert, "Ada")
    with pytest.raises(StepValueError, match="an earlier attempt has committed, and its result"):
        testing.context(attempt=2).transaction(path, for_checkers, "Ada")


def test_several_transactions_of_a_step_need_names(path: str):
    ctx = testing.context(run_id="r")
    assert ctx.transaction(path, insert, "Ada").id == 1
    with pytest.raises(ValueError, match=r"used the key 'r:step' already.*name=… of its own"):
        ctx.transaction(path, insert, "Bob")
    assert ctx.transaction(path, insert, "Bob", name="second").id == 2
    assert rows(path, f"SELECT key FROM {TABLE} ORDER BY key") == ["r:step", "r:step=second"]
    for name in ("a b", "x" * 41, "ü", 7):
        with pytest.raises(ValueError, match="name must be at most 40 letters, digits"):
            ctx.transaction(path, insert, "Cem", name=name)  # type: ignore[call-overload]


def test_rows_say_when(path: str):
    testing.context().transaction(path, insert, "Ada")
    (at,) = rows(path, f"SELECT at FROM {TABLE}")
    assert abs((datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()) < 60
    assert rows(path, f"SELECT count(*) FROM {TABLE} WHERE at < '2020-01-01'") == [0]


def test_rows_as_a_user_has_them_change_nothing(path: str):
    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(path)
        db.row_factory = lambda cursor, row: {"row": row}
        db.text_factory = bytes
        return db

    for attempt in (1, 2):
        made = testing.context(attempt=attempt).transaction(connect, insert, "Ada")
        assert made == Guest(id=1, name="Ada")


@step(retries=1)
def reserves(ctx: StepContext, path: str) -> Guest:
    made = ctx.transaction(path, insert, "Ada")
    if ctx.attempt == 1:
        raise OSError("after the commit")
    return made


@pytest.mark.parametrize("works", [reserves, counts_in_process], ids=["thread", "process"])
def test_in_an_engine(works: Any, tmp_path: Path, path: str):
    async def main() -> Any:
        flow = Workflow("flow", input=str).then(works.options(retries=1))
        async with Engine("memory:") as engine:
            return await engine.run(flow, path)

    result = asyncio.run(main())
    if works is reserves:
        assert result == Guest(id=1, name="Ada")
        assert rows(path) == ["Ada"]
    else:
        assert result[0] == "Ada"
        assert result[1] != os.getpid()
        assert rows(path, "SELECT name FROM names") == ["Ada"]


def test_prepare_makes_the_table_once(path: str):
    for url in (path, f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}"):
        prepare(url)
    assert rows(path, f"SELECT count(*) FROM {TABLE}") == [0]


def test_a_table_that_cannot_be_made_says_how_to_make_it(path: str):
    db = partial(sqlite3.connect, f"file:{path}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        testing.context().transaction(db, insert, "Ada")
    assert "gorkflow db prepare URL" in str(caught.value.__notes__)


@pytest.mark.parametrize(
    ("dialect", "part"),
    [
        (mysql.dialect(), "`key` VARCHAR(255) COLLATE utf8mb4_bin NOT NULL"),
        (mssql.dialect(), "[key] NVARCHAR(255) COLLATE Latin1_General_100_BIN2 NOT NULL"),
        (oracle.dialect(), "key VARCHAR2(255 CHAR) NOT NULL"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_keys_are_compared_exactly_in_each_database(dialect: Any, part: str):
    assert part in str(CreateTable(alchemy_table()).compile(dialect=dialect))


def test_the_statement_is_that_of_the_database(path: str):
    made = statement(path)
    assert made == statement("postgresql:///shop")
    assert "PRIMARY KEY" in made
    assert "VARCHAR(255)" in statement(f"sqlite:///{path}")
