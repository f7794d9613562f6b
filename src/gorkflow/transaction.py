"""The transaction of a step: what it writes into the user's database commits with its result.

The result goes into a table beside the user's own, after all other writes. All attempts of the step
share its key. An attempt that finds the key has nothing to do. If two attempts overlap, the
primary key stops the second one, which rolls back.

Drivers are optional. An object is recognized by its class, whose module is loaded if there is such
an object.
"""

from __future__ import annotations

import inspect
import os
import re
import sqlite3
import sys
import typing
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

from gorkflow._text import brief
from gorkflow.annotations import describe
from gorkflow.clock import SystemClock
from gorkflow.codec import Codec, codec_of
from gorkflow.errors import NonRetryableError, StepValueError, UnreadableError, ValueInvalidError
from gorkflow.model import instant

TABLE = "gorkflow_results"
_CREATE = f"CREATE TABLE {TABLE} (key text PRIMARY KEY, result text NOT NULL, at text NOT NULL)"
_LOOK = f"SELECT result FROM {TABLE} WHERE key = %(key)s"  # noqa: S608 - no value is in it
_KEEP = f"INSERT INTO {TABLE} (key, result, at) VALUES (%(key)s, %(result)s, %(at)s)"  # noqa: S608

_BUSY = 30.0  # seconds that a transaction waits for another one's lock on an SQLite file
_NAME = re.compile(r"[\w.-]{0,40}", re.ASCII)
_URL = re.compile(r"[a-z][a-z0-9+_.-]+://", re.IGNORECASE)
_POSTGRES = ("postgresql://", "postgres://")
_ACCEPTED = (
    "an SQLAlchemy Engine, AsyncEngine, sessionmaker or async_sessionmaker; a psycopg pool or "
    "postgresql:// URL; the path of an SQLite file; or a function that makes a connection"
)
_SYNC = ("sqlalchemy:Engine", "sqlalchemy.orm:sessionmaker", "psycopg_pool:ConnectionPool")
_ASYNC = (
    "sqlalchemy.ext.asyncio:AsyncEngine",
    "sqlalchemy.ext.asyncio:async_sessionmaker",
    "psycopg_pool:AsyncConnectionPool",
)
_ENGINES = ("sqlalchemy:Engine", "sqlalchemy.ext.asyncio:AsyncEngine")
_POOLS = ("psycopg_pool:ConnectionPool", "psycopg_pool:AsyncConnectionPool")
_SESSIONS = (
    "sqlalchemy.orm:Session",
    "sqlalchemy.orm:scoped_session",
    "sqlalchemy.ext.asyncio:AsyncSession",
)
_ALCHEMY = ("sqlalchemy:Connection", "sqlalchemy.ext.asyncio:AsyncConnection", *_SESSIONS)
_PSYCOPG = ("psycopg:Connection", "psycopg:AsyncConnection")
_clock = SystemClock()


class Transaction(NamedTuple):
    """Work on a database of the user, and the key under which its result is recorded there."""

    db: Any
    """Its connections come from here."""
    work: Callable[..., Any]
    """Gets a connection, or a session, and the arguments."""
    args: tuple[Any, ...]
    key: str
    limit: int
    """Bytes that the result may have as JSON."""
    check: Callable[[], object]
    """Raises if the attempt should not commit any more."""
    used: set[str]
    """The keys of this attempt so far."""

    def run(self) -> Any:
        """Do the work once and return its result; a coroutine that does, where it is async.

        Raises:
            TypeError: If ``db`` or ``work`` is of the wrong kind.
            ValueError: If ``db`` is a text that names no database, or the key is used already.
        """
        is_async = _check(self.db, self.work)
        done = self._done(_codec(self.work), is_async=is_async)
        return done if is_async else _finished(done)

    async def _done(self, codec: Codec, *, is_async: bool) -> Any:
        if self.key in self.used:
            raise ValueError(
                f"ctx.transaction: this attempt has used the key {self.key!r} already, so "
                f"{_named(self.work)} would get the result of another transaction; give each a "
                "name=… of its own"
            )
        self.used.add(self.key)
        try:
            return await self._result(codec, is_async=is_async)
        except BaseException:
            self.used.discard(self.key)  # the step may try it again
            raise

    async def _result(self, codec: Codec, *, is_async: bool) -> Any:
        has_begun = False
        try:
            async with _Visit(self.db, is_async=is_async) as place:
                found = await _looked(place, self.key)
                if found is None:
                    has_begun = True
                    return await self._worked(place, codec, is_async=is_async)
        except Exception:
            # Another attempt may have been first. Or this one has committed, and only the answer of
            # the database was lost. On a connection of its own: the other one may be broken.
            found = await self._found_after_all(is_async=is_async) if has_begun else None
            if found is None:
                raise
        return self._read(codec, found)

    async def _worked(self, place: _Place, codec: Codec, *, is_async: bool) -> Any:
        value = self.work(place.handle, *self.args)
        if is_async:
            if not inspect.isawaitable(value):
                raise TypeError(
                    f"ctx.transaction: {_named(self.db)} is async, and {_named(self.work)} is not; "
                    "write it with async def"
                )
            value = await value
        elif inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()  # or Python warns as well
            raise TypeError(
                f"ctx.transaction: {_named(self.work)} returned a coroutine, and {_named(self.db)} "
                "is not async; let it return the value itself"
            )
        if not place.is_open():
            raise NonRetryableError(
                f"ctx.transaction: {_named(self.work)} has ended the transaction by itself, so its "
                "writes are not tied to its result; leave commit, rollback and `with connection:` "
                "out of it, since ctx.transaction commits when it has returned"
            )
        try:
            record = codec.encode(value, self.limit)
        except ValueInvalidError as error:
            raise type(error)(f"what {_named(self.work)} returned: {error}") from None
        at = instant(_clock.now()).strftime("%Y-%m-%dT%H:%M:%SZ")
        await place.keep(self.key, record.decode(), at)
        self.check()
        await place.commit()
        return value

    async def _found_after_all(self, *, is_async: bool) -> str | bytes | None:
        with suppress(Exception):  # what has failed before says more
            async with _Visit(self.db, is_async=is_async) as place:
                return await place.look(self.key)
        return None

    def _read(self, codec: Codec, found: str | bytes) -> Any:
        data = found if isinstance(found, bytes) else found.encode()
        try:
            return codec.decode(data)
        except UnreadableError:
            raise
        except StepValueError as error:
            raise StepValueError(
                f"ctx.transaction: an earlier attempt has committed, and its result is not what "
                f"{_named(self.work)} returns now, {describe(codec.annotation)}: {error}"
            ) from None


def key_of(idempotency_key: str, name: str) -> str:
    """Return the key of a transaction of a step.

    Raises:
        ValueError: If there may not be such a name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"ctx.transaction: name must be at most 40 letters, digits, '_', '.' or '-', not "
            f"{brief(name)}"
        )
    return f"{idempotency_key}={name}" if name else idempotency_key  # no path ends like this


def prepare(url: str) -> None:
    """Make the table for results in a database, unless it is there.

    Args:
        url: The path of an SQLite file, or a URL of SQLAlchemy or PostgreSQL.

    Raises:
        ModuleNotFoundError: If the driver is not installed.
        ValueError: If it can't be one.
    """
    db = _database_at(url)

    async def made(*, is_async: bool) -> None:
        try:
            async with _Visit(db, is_async=is_async) as place:
                await _looked(place, "")
        finally:
            if _is(db, *_ENGINES):
                await _awaited(db.dispose())

    if _is(db, *_ASYNC):
        import asyncio

        asyncio.run(made(is_async=True))
    else:
        _finished(made(is_async=False))


def statement(url: str) -> str:
    """Return the SQL that makes the table for results in a database.

    Raises:
        ModuleNotFoundError: If the driver is not installed.
        ValueError: If it can't be a database.
    """
    db = _database_at(url)
    if isinstance(db, str):
        return f"{_CREATE};"
    from sqlalchemy.schema import CreateTable

    made = CreateTable(alchemy_table()).compile(dialect=db.dialect)
    return f"{str(made).strip()};"


def _database_at(url: str) -> Any:
    if not _URL.match(url) or url.startswith(_POSTGRES):
        _check_address(url)
        return url
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError
        from sqlalchemy.ext.asyncio import create_async_engine
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{url.partition(':')[0]} needs SQLAlchemy: pip install sqlalchemy", name="sqlalchemy"
        ) from error
    try:
        parsed = make_url(url)
        is_async = parsed.get_dialect().is_async
    except ArgumentError as error:
        raise ValueError(str(error)) from None
    return create_async_engine(parsed) if is_async else create_engine(parsed)


# ---- which kind of database ---------------------------------------------------------------------


def _is(thing: object, *names: str) -> bool:
    """Return whether it is of one of these classes, whose modules need not be loaded."""
    for name in names:
        module, _, cls = name.partition(":")
        found: Any = sys.modules.get(module)
        if found is not None and isinstance(thing, getattr(found, cls, ())):
            return True
    return False


def _named(thing: object) -> str:
    """Return how messages call a database or a function; a URL may hold a password."""
    if _is_address(thing):
        return "a postgresql:// URL" if _is_postgres(thing) else "an SQLite file"
    name = getattr(thing, "__qualname__", None) if callable(thing) else None
    return name if isinstance(name, str) else f"the {type(thing).__name__}"


def _is_address(db: Any) -> bool:
    return isinstance(db, str | os.PathLike)


def _is_postgres(db: Any) -> bool:
    return isinstance(db, str) and db.startswith(_POSTGRES)


def _check(db: Any, work: Any) -> bool:
    """Return whether the work is async.

    Raises:
        TypeError: If the database or the work is of the wrong kind.
        ValueError: If a text can't be a database.
    """
    if not callable(work):
        raise TypeError(
            f"ctx.transaction: {brief(work)} is not a function; give one that takes a connection, "
            "and its arguments after it: ctx.transaction(db, reserve, order)"
        )
    if isinstance(db, sqlite3.Connection) or _is(db, *_ALCHEMY, *_PSYCOPG):
        raise TypeError(
            f"ctx.transaction: {_named(db)} is one connection, and each attempt needs its own; "
            f"give {_ACCEPTED}"
        )
    if _is_address(db):
        _check_address(os.fsdecode(db))
    elif not callable(db) and not _is(db, *_ENGINES, *_POOLS):
        raise TypeError(f"ctx.transaction: {brief(db)} is not a database; give {_ACCEPTED}")
    call = type(work).__call__  # of an object that is no function
    is_async = inspect.iscoroutinefunction(work) or inspect.iscoroutinefunction(call)
    is_file = _is_address(db) and not _is_postgres(db)
    if is_async and (is_file or _is(db, *_SYNC)):
        raise TypeError(
            f"ctx.transaction: {_named(work)} is async, and {_named(db)} is not; give an async "
            "engine of SQLAlchemy or an async pool, or write a plain step with a plain function"
        )
    return is_async or _is(db, *_ASYNC)


def _check_address(db: str) -> None:
    """Raise ``ValueError`` unless it is the path of a file, or a URL of PostgreSQL."""
    path = db.removeprefix("sqlite:")
    if not path or path == ":memory:":
        raise ValueError(
            f"{brief(db)} names no file, so nothing would be kept; give the path of an SQLite file"
        )
    if _URL.match(path) and not _is_postgres(db):
        scheme = path.partition(":")[0]
        raise ValueError(
            f"a {scheme}:// URL needs an engine of SQLAlchemy, made once for all steps: "
            "ctx.transaction(create_engine(url), …), or create_async_engine(url)"
        )


def _connecting(db: Any, *, is_async: bool) -> Callable[[], Any]:
    """Return the function that makes a connection to a database."""
    if _is(db, *_ENGINES):
        connect: Callable[[], Any] = db.connect
        return connect
    if _is_postgres(db):
        try:
            import psycopg
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "ctx.transaction: a postgresql:// URL needs psycopg: pip install 'psycopg[binary]'",
                name="psycopg",
            ) from error
        kind = psycopg.AsyncConnection if is_async else psycopg.Connection
        return lambda: kind.connect(db)
    if _is_address(db):
        path = os.fsdecode(db).removeprefix("sqlite:")
        return lambda: sqlite3.connect(path, timeout=_BUSY)
    make: Callable[[], Any] = db
    return make


# ---- a connection -------------------------------------------------------------------------------


class _Visit:
    """A connection for one transaction. At the end it is rolled back, and returned or closed."""

    def __init__(self, db: Any, *, is_async: bool) -> None:
        self._db = db
        self._is_async = is_async
        self._lent: Any = None
        """Has a connection of a pool."""
        self._place: _Place | None = None

    async def __aenter__(self) -> _Place:
        if _is(self._db, *_POOLS):
            self._lent = self._db.connection()
            enter = getattr(self._lent, "__aenter__", None) or self._lent.__enter__
            connection = await _awaited(enter())
        else:
            connection = _connecting(self._db, is_async=self._is_async)()
            if inspect.isawaitable(connection) and not self._is_async:
                if inspect.iscoroutine(connection):
                    connection.close()
                raise TypeError(
                    f"ctx.transaction: {_named(self._db)} gives async connections; write the work "
                    "with async def, and await ctx.transaction(…)"
                )
            connection = await _awaited(connection)
        self._place = _place_of(connection, self._db)
        try:
            await self._place.begin()
        except BaseException:
            await self._leave()
            raise
        return self._place

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def _leave(self) -> None:
        assert self._place is not None  # it was entered
        with suppress(Exception):  # a connection that is broken has ended its transaction
            await self._place.rollback()
        with suppress(Exception):
            if self._lent is None:
                await _awaited(self._place.handle.close())
            else:
                leave = getattr(self._lent, "__aexit__", None) or self._lent.__exit__
                await _awaited(leave(None, None, None))


class _Place(Protocol):
    """A connection to the user's database, in a transaction."""

    handle: Any
    """The work gets it."""

    async def begin(self) -> None: ...
    async def look(self, key: str) -> str | bytes | None: ...
    async def keep(self, key: str, result: str, at: str) -> None: ...
    async def make_table(self) -> None: ...
    def is_open(self) -> bool:
        """Whether it is still in the transaction that it began."""
        ...

    async def commit(self) -> None: ...
    async def rollback(self) -> None:
        """Roll back, unless the transaction has ended."""
        ...


def _place_of(connection: Any, db: object) -> _Place:
    if isinstance(connection, sqlite3.Connection):
        return _Sqlite(connection)
    if _is(connection, *_ALCHEMY):
        return _Alchemy(connection)
    if _is(connection, *_PSYCOPG):
        return _Psycopg(connection)
    raise TypeError(
        f"ctx.transaction: {_named(db)} gives a {type(connection).__name__}, and not a connection "
        "of sqlite3, psycopg or SQLAlchemy"
    )


async def _looked(place: _Place, key: str) -> str | bytes | None:
    """Return what is recorded under a key; make the table if it is missing."""
    with suppress(Exception):
        return await place.look(key)
    problem: Exception | None = None
    await place.rollback()
    await place.begin()
    try:
        await place.make_table()
        await place.commit()
    except Exception as error:  # noqa: BLE001 - it may be there by now: then the look says so
        problem = error
        await place.rollback()
    await place.begin()
    try:
        return await place.look(key)
    except Exception as error:
        if problem is not None:
            error.add_note(
                f"The table {TABLE} can't be made here; as a user who may make it, run "
                f"gorkflow db prepare URL: {problem}"
            )
        raise


class _Sqlite:
    """A connection of ``sqlite3``. It has the file to itself from the beginning: it will write."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.handle = connection
        if getattr(connection, "autocommit", -1) != -1:  # Python 3.12: what it begins by itself
            vars_of: Any = connection
            vars_of.autocommit = True
            vars_of.autocommit = -1
        connection.isolation_level = None  # then a commit in the work shows

    def _run(self, statement: str, values: dict[str, str]) -> Any:
        cursor = self.handle.cursor()
        cursor.row_factory = None
        return cursor.execute(re.sub(r"%\((\w+)\)s", r":\1", statement), values).fetchone()

    async def begin(self) -> None:
        self._run("BEGIN IMMEDIATE", {})

    async def look(self, key: str) -> str | bytes | None:
        row = self._run(_LOOK, {"key": key})
        return None if row is None else row[0]

    async def keep(self, key: str, result: str, at: str) -> None:
        self._run(_KEEP, {"key": key, "result": result, "at": at})

    async def make_table(self) -> None:
        self._run(_CREATE, {})

    def is_open(self) -> bool:
        return self.handle.in_transaction

    async def commit(self) -> None:
        self._run("COMMIT", {})

    async def rollback(self) -> None:
        if self.handle.in_transaction:
            self._run("ROLLBACK", {})


class _Psycopg:
    """A connection of psycopg, async or not."""

    def __init__(self, connection: Any) -> None:
        import psycopg
        from psycopg.pq import TransactionStatus
        from psycopg.rows import tuple_row

        self.handle = connection
        self._transaction: Any = None
        self._in_transaction = TransactionStatus.INTRANS
        is_async = isinstance(connection, psycopg.AsyncConnection)
        kind: Any = psycopg.AsyncCursor if is_async else psycopg.Cursor
        self._cursor: Callable[[], Any] = lambda: kind(
            connection, row_factory=tuple_row
        )  # whatever the user has set

    async def _run(self, statement: str, values: dict[str, str]) -> Any:
        cursor = self._cursor()
        await _awaited(cursor.execute(statement, values))
        return cursor

    async def begin(self) -> None:
        transaction = self.handle.transaction()
        enter = getattr(transaction, "__aenter__", None) or transaction.__enter__
        await _awaited(enter())
        self._transaction = transaction

    async def look(self, key: str) -> str | bytes | None:
        row = await _awaited((await self._run(_LOOK, {"key": key})).fetchone())
        return None if row is None else row[0]

    async def keep(self, key: str, result: str, at: str) -> None:
        await self._run(_KEEP, {"key": key, "result": result, "at": at})

    async def make_table(self) -> None:
        await self._run(_CREATE, {})

    def is_open(self) -> bool:
        return bool(self.handle.info.transaction_status == self._in_transaction)

    async def commit(self) -> None:
        await self._end(None)

    async def rollback(self) -> None:
        if self._transaction is not None:
            await self._end(Exception("rolled back"))

    async def _end(self, error: Exception | None) -> None:
        transaction, self._transaction = self._transaction, None
        leave = getattr(transaction, "__aexit__", None) or transaction.__exit__
        await _awaited(leave(error and type(error), error, None))


class _Alchemy:
    """A connection or a session of SQLAlchemy, async or not."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self._transaction: Any = None
        self._is_session = _is(handle, *_SESSIONS)

    async def begin(self) -> None:
        self._transaction = await _awaited(self.handle.begin())

    async def look(self, key: str) -> str | bytes | None:
        table = alchemy_table()
        query = table.select().where(table.c.key == key)
        row: Any = (await _awaited(self.handle.execute(query))).first()
        return None if row is None else row.result

    async def keep(self, key: str, result: str, at: str) -> None:
        if self._is_session:
            await _awaited(self.handle.flush())
        row = {"key": key, "result": result, "at": at}
        await _awaited(self.handle.execute(alchemy_table().insert(), row))

    async def make_table(self) -> None:
        from sqlalchemy.schema import CreateTable

        await _awaited(self.handle.execute(CreateTable(alchemy_table())))

    def is_open(self) -> bool:
        return bool(self._transaction.is_active)

    async def commit(self) -> None:
        await _awaited(self._transaction.commit())

    async def rollback(self) -> None:
        await _awaited(self.handle.rollback())


@cache
def alchemy_table() -> Any:
    """Return the table as SQLAlchemy has it: with keys that are compared exactly, everywhere."""
    from sqlalchemy import Column, MetaData, String, Table, Unicode, UnicodeText
    from sqlalchemy.dialects.mysql import LONGTEXT

    key = String(255).with_variant(String(255, "utf8mb4_bin"), "mysql", "mariadb")
    key = key.with_variant(Unicode(255, "Latin1_General_100_BIN2"), "mssql")
    result = UnicodeText().with_variant(LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")
    return Table(
        TABLE,
        MetaData(),
        Column("key", key, primary_key=True),
        Column("result", result, nullable=False),
        Column("at", String(20), nullable=False),
    )


# ---- the work -----------------------------------------------------------------------------------


async def _awaited(thing: Any) -> Any:
    """Return the answer of a driver, which may have to be awaited."""
    return await thing if inspect.isawaitable(thing) else thing


def _finished(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine returns that awaits nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise TypeError("ctx.transaction: the connection is async; write the work with async def")


def _codec(work: Callable[..., Any]) -> Codec:
    """Return the codec of what a function returns; without an annotation, of plain data."""
    inner: Any = inspect.unwrap(work)
    while hasattr(inner, "func"):  # a partial
        inner = inspect.unwrap(inner.func)
    if not inspect.isroutine(inner):
        inner = type(inner).__call__
    inner = getattr(inner, "__func__", inner)
    returns: Any = getattr(inner, "__annotations__", {}).get("return", Any)
    names = dict(getattr(inner, "__globals__", {}))
    code = getattr(inner, "__code__", None)
    cells = getattr(inner, "__closure__", None) or ()
    with suppress(ValueError):  # a cell that is empty
        names |= {
            name: cell.cell_contents
            for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=True)
        }
    # Only this one: that of the connection is often there for type checkers alone.
    only: Any = SimpleNamespace(__annotations__={"return": returns})
    try:
        annotation = typing.get_type_hints(only, names, include_extras=True)["return"]
    except NameError as error:
        raise TypeError(
            f"ctx.transaction: {_named(work)} returns {returns!r}, and {error.name!r} can't be "
            "found; define it at the top of a module, or import it there for real (not under "
            "TYPE_CHECKING)"
        ) from None
    return codec_of(annotation)
