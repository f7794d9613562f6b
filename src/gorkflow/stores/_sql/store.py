"""The store in a database: what it does is the same in all dialects of SQL."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar

from gorkflow.clock import Timekeeper
from gorkflow.errors import StoreError
from gorkflow.events import Event
from gorkflow.hooks import Hook, HookCall
from gorkflow.limits import NONE, LimitGrant, LimitRequest, LimitUse
from gorkflow.listing import (
    MOST_COUNTED,
    MOST_READ,
    Page,
    RunCount,
    RunFilter,
    feed_position,
    mail_position,
    page_start,
)
from gorkflow.schedule import ScheduleRow
from gorkflow.store import (
    AttemptId,
    Heartbeat,
    LineRow,
    Loaded,
    Message,
    ReportRow,
    RunRow,
    Transition,
    Worker,
    Written,
)
from gorkflow.stores._sql import deleting, hooks, limits, lists, notes, reads, schedules
from gorkflow.stores._sql.database import Database

P = ParamSpec("P")
T = TypeVar("T")


class Home(Protocol):
    """An open database. Each lane to it does its work in transactions, one after the other."""

    pid: int
    """The process that opened it."""

    def append(
        self, batch: Sequence[Transition], /, *, block: bool
    ) -> Awaitable[list[Written]]: ...
    def post(self, message: Message, /) -> Awaitable[bool]: ...
    def register(self, worker: Worker, /) -> Awaitable[None]: ...
    def unregister(self, worker_id: str, /) -> Awaitable[None]: ...
    def heartbeat(
        self, worker_id: str, times: Timekeeper, after: str, /
    ) -> Awaitable[Heartbeat]: ...
    def claim(
        self,
        worker_id: str,
        /,
        *,
        times: Timekeeper,
        ahead: float,
        workflow_ids: Sequence[str] | None,
        queues: Mapping[str, int | None] | None,
        run_id: str | None,
        limit: int,
    ) -> Awaitable[list[RunRow]]: ...
    def write(
        self, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **options: P.kwargs
    ) -> Awaitable[T]:
        """Do what else is to be written; it is durable when the result is there."""
        ...

    def note(
        self, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **options: P.kwargs
    ) -> Awaitable[T]:
        """Write what a power loss may take."""
        ...

    def read(
        self, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **options: P.kwargs
    ) -> Awaitable[T]:
        """Do what changes nothing, as of one moment."""
        ...

    def close(self) -> None:
        """Finish what was begun, and end the lanes. Blocks."""
        ...


H = TypeVar("H", bound=Home)


class LaneStore(ABC, Generic[H]):
    """A store in a database. A dialect adds what it does in its own way: to append, to claim.

    Args:
        name: the database, as errors name it. Stores of one name keep the same runs.
    """

    durable = True
    _most_read = MOST_READ

    def __init__(self, name: str) -> None:
        self.name = name
        self._home: H | None = None

    @abstractmethod
    async def _connected(self) -> H:
        """Connect, and bring the schema up to date."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Opening twice is harmless.

        Raises:
            StoreUnavailableError: If it can't be opened or written.
            StoreVersionError: If its schema is newer than this code.
            StoreCorruptError: If it is damaged.
        """
        if self._home is None:
            home = await self._connected()
            if self._home is None:
                self._home = home
            else:  # another task was quicker
                await asyncio.to_thread(home.close)

    async def close(self) -> None:
        """Finish what was begun, and close the connections. Closing twice is harmless."""
        home, self._home = self._home, None
        # The threads and connections of a forked process stayed with its parent.
        if home is not None and home.pid == os.getpid():
            await asyncio.to_thread(home.close)

    def _opened(self) -> H:
        home = self._home
        if home is None:
            raise StoreError(f"the store {self.name!r} is not open; call open() first")
        if home.pid != os.getpid():
            raise StoreError(
                f"the store {self.name!r} was opened before this process was forked; open another "
                "one in here"
            )
        return home

    # Writing

    def write(
        self, batch: Sequence[Transition], *, block: bool = False
    ) -> Awaitable[list[Written]]:
        return self._opened().append(batch, block=block)

    async def post(self, message: Message) -> bool:
        return await self._opened().post(message)

    async def note(
        self,
        *,
        reports: Sequence[ReportRow] = (),
        lines: Sequence[LineRow] = (),
        ended: Sequence[AttemptId] = (),
    ) -> None:
        await self._opened().note(notes.note, reports, lines, ended)

    async def delete_runs(self, run_ids: Sequence[str]) -> int:
        """Delete ended runs with all that belongs to them; return how many.

        Large runs go in several transactions, so that others don't wait for long.
        """
        home = self._opened()
        deleted = 0
        for portion in await home.read(deleting.portions, run_ids):
            while await home.write(deleting.shorten, portion[0]):
                pass
            deleted += await home.write(deleting.delete_runs, portion)
        return deleted

    # Owning

    async def register(self, worker: Worker) -> None:
        """Announce a worker, alive until ``unregister`` or the death of this process.

        Raises:
            StoreError: If a living process has registered a worker of this id.
        """
        await self._opened().register(worker)

    async def unregister(self, worker_id: str) -> None:
        await self._opened().unregister(worker_id)

    async def clock(self) -> float | None:
        return None

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        mail_position(after)
        return await self._opened().heartbeat(worker_id, times, after)

    async def claim(
        self,
        worker_id: str,
        *,
        times: Timekeeper,
        ahead: float = 0.0,
        workflow_ids: Sequence[str] | None = None,
        queues: Mapping[str, int | None] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[RunRow]:
        return await self._opened().claim(
            worker_id,
            times=times,
            ahead=ahead,
            workflow_ids=workflow_ids,
            queues=queues,
            run_id=run_id,
            limit=limit,
        )

    async def take_limits(
        self,
        worker_id: str,
        *,
        times: Timekeeper,
        held: Mapping[str, int],
        requests: Sequence[LimitRequest] = (),
        unbegun: Mapping[str, int] = NONE,
        began: Mapping[str, float] = NONE,
    ) -> LimitGrant:
        return await self._opened().write(
            limits.take_limits,
            worker_id,
            times=times,
            held=held,
            requests=requests,
            unbegun=unbegun,
            began=began,
        )

    # Reading

    async def get_run(self, run_id: str) -> RunRow | None:
        return await self._opened().read(reads.get_run, run_id)

    async def get_runs(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        return await self._opened().read(reads.get_runs, run_ids)

    async def list_runs(self, query: RunFilter) -> Page[RunRow]:
        page_start(query)
        return await self._opened().read(lists.list_runs, query, self._most_read)

    async def count_runs(self, query: RunFilter, *, most: int = MOST_COUNTED) -> RunCount:
        return await self._opened().read(lists.count_runs, query, most)

    async def latest_runs(self, *, after: str = "", limit: int = 100) -> list[RunRow]:
        return await self._opened().read(lists.latest_runs, after, max(limit, 0))

    async def load(self, run_id: str) -> Loaded | None:
        return await self._opened().read(reads.load, run_id)

    async def load_many(self, run_ids: Sequence[str]) -> dict[str, Loaded]:
        return await self._opened().read(reads.load_many, run_ids)

    async def get_tree(self, fingerprint: str) -> str | None:
        return await self._opened().read(reads.get_tree, fingerprint)

    async def read_events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        return await self._opened().read(reads.read_events, run_id, after, max(limit, 0))

    async def read_all_events(
        self, *, after: str = "", limit: int = 1000
    ) -> tuple[list[Event], str]:
        feed_position(after)
        return await self._opened().read(reads.read_all_events, after, limit)

    async def end_of_feed(self) -> str:
        return await self._opened().read(reads.end_of_feed)

    async def reports(self, run_id: str) -> list[ReportRow]:
        return await self._opened().read(reads.reports, run_id)

    async def logs(
        self, run_id: str, *, path: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[LineRow]:
        return await self._opened().read(reads.logs, run_id, path, after, max(limit, 0))

    async def inbox(self, run_id: str, *, after: int = 0) -> list[Message]:
        return await self._opened().read(reads.inbox, run_id, after)

    async def workers(self, *, now: float | None = None) -> list[Worker]:
        return await self._opened().read(reads.workers, now)

    async def owned(self) -> dict[str, int]:
        return await self._opened().read(reads.owned)

    async def waiting_queues(self) -> list[str]:
        return await self._opened().read(reads.waiting_queues)

    async def limits(self, *, now: float) -> list[LimitUse]:
        return await self._opened().read(limits.uses, now)

    # Schedules

    async def schedules(self, *, due_by: float | None = None) -> list[ScheduleRow]:
        return await self._opened().read(schedules.schedules, due_by)

    async def put_schedule(self, row: ScheduleRow) -> bool:
        return await self._opened().write(schedules.put, row)

    async def drop_schedule(self, schedule_id: str) -> bool:
        return await self._opened().write(schedules.drop, schedule_id)

    # Hook calls

    async def hook_calls(
        self,
        *,
        due_by: float | None = None,
        of: Iterable[tuple[Hook, str]] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[HookCall]:
        return await self._opened().read(
            hooks.calls, due_by=due_by, of=of, run_id=run_id, limit=max(limit, 0)
        )

    async def put_hook_call(self, call: HookCall) -> bool:
        return await self._opened().write(hooks.put, call)

    async def drop_hook_call(self, call: HookCall) -> bool:
        return await self._opened().write(hooks.drop, call)

    # Looking after it

    async def discard(self, run_id: str, now: float) -> bool:
        if not await self._opened().write(deleting.give_up, run_id, now):
            return False
        return await self.delete_runs([run_id]) > 0
