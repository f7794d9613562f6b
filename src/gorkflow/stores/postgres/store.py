"""The PostgreSQL store: a database, shared by any number of processes of any number of machines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import quote

from msgspec.structs import replace

from gorkflow._text import brief
from gorkflow.clock import Timekeeper
from gorkflow.events import Event
from gorkflow.hooks import HookCall
from gorkflow.listing import feed_cursor, feed_place, mail_place
from gorkflow.store import (
    Examination,
    Finding,
    Heartbeat,
    Hinted,
)
from gorkflow.stores._sql.store import LaneStore
from gorkflow.stores.postgres import _checks, _owning, _reads, _schema, _tidying
from gorkflow.stores.postgres._arrays import escaped
from gorkflow.stores.postgres._connections import settings_of
from gorkflow.stores.postgres._lanes import Lanes

_logger = logging.getLogger("gorkflow.store")


class PostgresStore(LaneStore[Lanes]):
    """Keeps runs in a PostgreSQL database, which any number of machines share.

    One connection writes the transitions of runs, one everything else, and one reads. A worker has
    one more, by whose lock others see that its process died. Its methods are those of ``Store`` and
    ``Inspectable``.

    Example:
        >>> from gorkflow import stores
        >>> stores.PostgresStore("postgresql://ann:secret@localhost/runs")
        <PostgresStore 'postgresql://ann@localhost/runs', schema 'gorkflow'>

    Args:
        url: the address, as libpq takes it.
        schema: where the tables are; it is made on first use.
        pooled: whether a pooler between may give each transaction another session of the server.
            Then nothing is prepared, and only leases tell who is alive, unless there is a
            ``session_url``.
        session_url: the address of the server itself, for the one connection that must last.

    Raises:
        StoreError: If an argument is invalid.
        TypeError: If the address is not a text.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "gorkflow",
        pooled: bool = False,
        session_url: str | None = None,
    ) -> None:
        if not isinstance(url, str):
            raise TypeError(f"url must be the address of a server, not {brief(url)}")
        self._settings = settings_of(url, schema=schema, pooled=pooled, session_url=session_url)
        super().__init__(f"{self._settings.shown}, schema {schema}")

    @property
    def url(self) -> str:
        """The address as it may be shown: with the schema, and without the password."""
        schema = self._settings.schema
        return self._settings.shown + ("" if schema == "gorkflow" else f"?schema={quote(schema)}")

    def __repr__(self) -> str:
        return f"<PostgresStore {self._settings.shown!r}, schema {self._settings.schema!r}>"

    def schema_sql(self) -> str:
        """Return the SQL that makes the tables in an empty database, for a user who may run it."""
        return _schema.script(self._settings.schema)

    async def _connected(self) -> Lanes:
        home = Lanes(self._settings)
        try:
            await home.changes.run(lambda _: None)
        except BaseException:
            await asyncio.to_thread(home.close)
            raise
        _logger.info("runs are kept in %s", self._settings.shown)
        return home

    # Owning

    async def clock(self) -> float | None:
        return await self._opened().read(_reads.clock)

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        mail_place(after, _owning.NUMBERS)
        return await self._opened().heartbeat(worker_id, times, after)

    def hints(self, call: Hinted) -> Callable[[], object]:
        session = self._opened().session
        session.listen()
        return session.listener.add(call)

    # Reading

    async def read_all_events(
        self, *, after: str = "", limit: int = 1000
    ) -> tuple[list[Event], str]:
        place = feed_place(after, _reads.NUMBERS)
        events, reached = await self._opened().read(_reads.read_all_events, place, limit)
        return events, after if reached == place else feed_cursor(*reached)

    async def end_of_feed(self) -> str:
        return feed_cursor(*await self._opened().read(_reads.end_of_feed))

    # Hook calls

    async def put_hook_call(self, call: HookCall) -> bool:
        return await super().put_hook_call(replace(call, error=escaped(call.error)))

    # Looking after it

    async def examine(self, now: float) -> Examination:
        return await asyncio.to_thread(_checks.examine, self._settings, now)

    async def check(self, *, rows_only: bool = False) -> list[Finding]:
        return await self._opened().read(_checks.check)

    async def tidy(self) -> int:
        """Drop what no run uses any more, in short transactions."""
        home = self._opened()
        latest = await home.write(_tidying.latest_run)
        if latest is not None and (unused := await home.read(_tidying.unused_definitions)):
            await home.write(_tidying.delete_definitions, unused, latest)
        portion = await home.read(_tidying.dead_feed, _tidying.START)
        while portion.dead:
            await home.write(_tidying.delete_feed, portion.dead)
            if not portion.is_worth_it:
                break
            portion = await home.read(_tidying.dead_feed, portion.last)
        return await home.read(_checks.free_bytes)
