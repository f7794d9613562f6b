"""The database of a store on one connection: how it is made, and the meaning of its errors."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple
from zlib import crc32

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from gorkflow.clock import Timekeeper
from gorkflow.errors import StoreError, StoreUnavailableError
from gorkflow.limits import NONE
from gorkflow.store import HintKind
from gorkflow.stores._sql.database import Row
from gorkflow.stores.postgres import _arrays
from gorkflow.stores.postgres._liveness import Watch, WorkerState
from gorkflow.stores.postgres._sql import query, statement

_logger = logging.getLogger("gorkflow.store")
_SCHEME = re.compile(r"postgres(ql)?://")
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PLANS = {
    # A plan that was made while a table was small would read all of it for as long as it is kept.
    # So rows are found one by one along an index, and to pass by rows of an index costs much.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "random_page_cost": "1",
    "cpu_index_tuple_cost": "1",
    "jit": "off",
}
_SETTINGS = {
    **_PLANS,
    "plan_cache_mode": "force_generic_plan",
    "default_transaction_isolation": "'read committed'",
    # A program that hangs within a transaction lets go of what others wait for.
    "idle_in_transaction_session_timeout": "'60s'",
    # The server notices within some 12 s that a host is gone, and frees the locks of its workers.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_KEEPALIVES = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}
_PASSING = re.compile(
    "08|57P0|53|40001|40P01|25006"  # connection, shutdown, resources, conflicts, a demoted server
)
_KEEPING = ("insert_", "update_", "upsert_")
"""Names of statements whose values are kept, and not only looked for."""
_LATER = "55P03"
"""The state of a statement that would wait for a lock for too long."""
_UNKEEPABLE = re.compile("22|54000|23")
"""The states of a statement with a value that can't be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The common settings of the connections of one store."""

    address: str = field(repr=False)
    """As libpq takes it, with the password."""
    shown: str
    """The address without it."""
    schema: str = "gorkflow"
    pooled: bool = False
    """Whether a pooler may hand each transaction to another session."""
    session_address: str | None = field(default=None, repr=False)
    """The address that a pooler does not stand in front of."""
    patience: float = 0.2
    """Seconds for which a statement may wait for a lock. Others wait for it in turn."""

    def connect(self, *, keeps: bool = True, session: bool = False) -> psycopg.Connection[Any]:
        """Return a new connection; one thread at a time may use it.

        Args:
            keeps: whether it is for writing.
            session: whether it is for what lasts longer than a transaction.

        Raises:
            StoreUnavailableError: If the server makes none.
        """
        address = (session and self.session_address) or self.address
        with translated(self):
            connection = psycopg.connect(
                address,
                autocommit=True,
                client_encoding="UTF8",
                cursor_factory=psycopg.Cursor,
                **self._defaults(address),
            )
            try:
                if self.pooled and not session:
                    connection.prepare_threshold = None
                else:
                    connection.prepare_threshold = 1
                    settings = {**_SETTINGS, "lock_timeout": self.lock_timeout}
                    texts = [f"SET {name} = {value}" for name, value in settings.items()]
                    connection.execute("; ".join(texts).encode())
                _arrays.prepare(connection, keeps=keeps)
            except BaseException:
                connection.close()
                raise
        return connection

    @property
    def lock_timeout(self) -> str:
        """The patience, as the server takes it."""
        return f"'{self.patience * 1000:.0f}ms'"

    @staticmethod
    def _defaults(address: str) -> dict[str, Any]:
        given = conninfo_to_dict(address)
        defaults = {"application_name": "gorkflow", "connect_timeout": "10", **_KEEPALIVES}
        return {name: value for name, value in defaults.items() if name not in given}

    def scrub(self, text: str) -> str:
        """Return a text of the server or of libpq without the password, on one line."""
        for address in (self.address, self.session_address or ""):
            secret = conninfo_to_dict(address).get("password")
            if secret:
                text = text.replace(str(secret), "***")
        return " ".join(text.split())


def settings_of(
    url: str, *, schema: str = "gorkflow", pooled: bool = False, session_url: str | None = None
) -> Settings:
    """Return the settings for an address.

    Raises:
        StoreError: If the address, or the name of the schema, is not valid.
    """
    if not _SCHEMA.fullmatch(schema):
        raise StoreError(
            f"schema={schema!r} is not a name for a schema; use up to 63 letters, digits and '_'"
        )
    for address in (url, session_url or url):
        if not _is_valid(address):
            raise StoreError(
                f"{_without_password(address)!r} is not an address of PostgreSQL; write "
                "'postgresql://USER@HOST:PORT/DATABASE', and escape special characters of a "
                "password as %XX; its options are those of libpq, and schema, pooled, session_url"
            )
    return Settings(
        address=url, shown=_shown(url), schema=schema, pooled=pooled, session_address=session_url
    )


def _is_valid(address: str) -> bool:
    try:  # libpq's text may quote the address, with the password
        given = conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        return False
    # A password that is not escaped may end up as the name of the database.
    return _SCHEME.match(address) is not None and "@" not in str(given.get("dbname", ""))


def _without_password(address: str) -> str:
    """Return what can be shown of a text that may hold a password anywhere."""
    return re.sub(r":.*@", ":***@", address.partition("?")[0], flags=re.DOTALL)


def _shown(address: str) -> str:
    """Return an address as it may be shown: who and where, and nothing else."""
    given = conninfo_to_dict(address)
    user = f"{given['user']}@" if "user" in given else ""
    port = f":{given['port']}" if "port" in given else ""
    host = given.get("host", given.get("hostaddr", ""))
    return f"postgresql://{user}{host}{port}/{given.get('dbname', '')}"


class Lock(IntEnum):
    """The kinds of advisory locks of a store, by their place after its number."""

    DEFINITIONS = 0
    """Shared while runs are created; exclusive while unused definitions are deleted."""
    RESOURCE = 1
    """For who decides which runs may start; numbered by a hash of the resource."""
    WORKER = 2
    """Held by the session of a living worker; numbered by its slot."""
    NAME = 3
    """For who registers a worker; numbered by a hash of its id."""
    NOTES = 4
    """For who keeps notes of a run, or deletes it; numbered by a part of its key."""
    LIMIT = 5
    """For who uses a named limit; numbered by a hash of its name."""
    QUEUE = 6
    """For who claims runs of a queue with a bound; numbered by a hash of its name."""
    TURN = 7
    """For who gives runs their turn at a resource; one for all resources."""


LOCKS = len(Lock)


class State(NamedTuple):
    """The numbers of a store that is open."""

    era: int
    """Raised when the server's transaction numbers were set back, by a restore."""
    number: int
    """The first number of all its locks."""


def hashed(name: str) -> int:
    """Return a number for a lock. Two names that share one only wait for each other."""
    return crc32(name.encode("utf-8", "surrogatepass")) - 2**31


class LaterError(StoreUnavailableError):
    """A statement was called off, since it would wait for another program's transaction."""


@contextmanager
def translated(settings: Settings) -> Generator[None, None, None]:
    """Turn psycopg's errors, and those of values that can't be kept, into ours.

    Raises:
        StoreError: If or the subclass that says what is the matter.
    """
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate
        text = settings.scrub(str(error)) or type(error).__name__
        where = f"the store {settings.shown!r}"
        if state == _LATER:
            raise LaterError(f"{where} is being changed by another transaction ({text})") from None
        if is_passing(error):
            raise StoreUnavailableError(
                f"{where} can't be reached: {text}; check that the server is up, its address, and "
                "the rights of its user"
            ) from None
        code = f"{state}: " if state else ""
        raise StoreError(f"{where} rejected a statement ({code}{text})") from None
    except (UnicodeError, OverflowError) as error:
        raise StoreError(
            f"the store {settings.shown!r} can't keep a value it was given: {error}"
        ) from error


def is_passing(error: psycopg.Error) -> bool:
    """Whether the same can succeed at another time, on another connection."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return _PASSING.match(error.sqlstate) is not None or (
        isinstance(error, psycopg.OperationalError) and error.sqlstate.startswith("28")
    )


def is_unkeepable(error: psycopg.Error) -> bool:
    """Whether a value of the statement can't be kept."""
    return error.sqlstate is not None and _UNKEEPABLE.match(error.sqlstate) is not None


class Db:
    """A database on one connection, as all functions of this store use it."""

    def __init__(
        self, settings: Settings, watch: Watch, *, keeps: bool = True, session: bool = False
    ) -> None:
        self.settings = settings
        self.watch = watch
        self.connection = settings.connect(keeps=keeps, session=session)
        self._cursor = self.connection.cursor(binary=True)
        self.hints: dict[tuple[HintKind, str], None] = {}
        """Hints to send after the commit, each once."""
        self.transaction_number: str | None = None
        """Set by who knows it, so that it is not asked for while a row is locked."""
        self.defined: set[str] = set()
        """Fingerprints of definitions that were kept already, unless they were deleted since."""
        self._is_guarded = False
        self._local = ""
        if settings.pooled and not session:
            # Behind a pooler, nothing that is set outlives a transaction.
            local = {**_PLANS, "lock_timeout": settings.lock_timeout}
            self._local = "".join(f"SET LOCAL {name} = {value}; " for name, value in local.items())
        self.state = State(1, 0)
        """Known once the schema was looked at."""

    text = staticmethod(query)

    def select(self, text: str, values: Mapping[str, object] = NONE, /) -> list[Row]:
        """Run a text; return the rows that it brings."""
        if self._is_guarded:
            return self._select_guarded(text, values)
        return self._select(text, values)

    def _select_guarded(self, text: str, values: Mapping[str, object]) -> list[Row]:
        self.connection.execute(b"SAVEPOINT guard")
        try:
            return self._select(text, values)
        except psycopg.Error:
            self.connection.execute(b"ROLLBACK TO SAVEPOINT guard")
            raise

    def _select(self, text: str, values: Mapping[str, object]) -> list[Row]:
        # Values are always named, even where there are none: so it is always the protocol that
        # answers in binary.
        cursor = self._cursor.execute(statement(text, self.settings.schema), values)
        return cursor.fetchall() if cursor.description else []

    def rows(self, name: str, /, **values: object) -> list[Row]:
        return self.select(query(name), values)

    @contextmanager
    def guarded(self) -> Generator[None]:
        """Within a transaction: let a statement that fails leave the following ones alone."""
        self._is_guarded = True
        try:
            yield
        finally:
            self._is_guarded = False

    def change(self, name: str, /, **values: object) -> int:
        if name.startswith(_KEEPING):
            for value in values.values():
                if isinstance(value, str):
                    _arrays.storable(value)
        return self._cursor.execute(statement(query(name), self.settings.schema), values).rowcount

    def change_each(self, name: str, values: Iterable[Mapping[str, object]], /) -> None:
        for each in values:
            self.change(name, **each)

    def alive(self, worker: Row, times: Timekeeper | None, /) -> bool:
        return self.watch.is_alive(WorkerState.of(worker), times)

    def lock_number(self, place: Lock) -> int:
        """Return the number of one kind of this store's locks."""
        return self.state.number + place

    @contextmanager
    def transaction(self, kind: str = "", settings: str = "") -> Generator[None, None, None]:
        """Do what is in here in one transaction.

        Args:
            kind: its characteristics.
            settings: statements that set something for it.
        """
        self.connection.execute(f"BEGIN {kind}; {self._local}{settings}".encode())
        try:
            yield
        except BaseException:
            self.roll_back()
            raise
        self.connection.execute(b"COMMIT")

    def roll_back(self) -> None:
        """End the transaction without its changes, if the server is there."""
        with suppress(psycopg.Error):
            self.connection.execute(b"ROLLBACK")

    @property
    def broken(self) -> bool:
        """Whether it can't be used any more."""
        status = self.connection.info.transaction_status
        return self.connection.closed or status is not pq.TransactionStatus.IDLE

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
