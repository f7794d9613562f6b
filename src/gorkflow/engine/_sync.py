"""Synchronization between handlers: a promise, and a store that several engines share."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakValueDictionary

from gorkflow.errors import UnavailableError
from gorkflow.language.placement import importing

if TYPE_CHECKING:
    from gorkflow.store import Store

T = TypeVar("T")


class Promise(Generic[T]):
    """A value that is set once.

    Like a future, but any number of tasks can wait: if one of them is cancelled, the others and the
    value stay as they are. ``asyncio.shield`` would do that too, for a second future and a second
    turn of the loop for each run.
    """

    __slots__ = ("_value", "_waiting", "is_set")

    _value: T

    def __init__(self) -> None:
        self.is_set = False
        """Whether there is a value."""
        # A dict: an empty one is nothing to the garbage collector, up to Python 3.13 at least.
        self._waiting: dict[asyncio.Future[None], None] = {}

    def result(self) -> T:
        """Return the value; only once it is set."""
        return self._value

    def set_result(self, value: T) -> None:
        """Set the value, once, and wake the tasks that wait."""
        assert not self.is_set
        self.is_set = True
        self._value = value
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> T:
        """Return the value as soon as it is set."""
        if not self.is_set:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[waiter] = None
            try:
                await waiter
            except asyncio.CancelledError:
                self._waiting.pop(waiter, None)
                raise
        return self._value


class SharedStore:
    """A store that several engines use: the first opens it, the last closes it.

    The engines may be in the loops of several threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._users = 0
        self._closing: Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether an engine has it open."""
        return self._users > 0

    async def enter(self) -> None:
        """Open it, unless it is; and not while it is being closed.

        Raises:
            StoreError: If the store can't be opened.
            UnavailableError: If a process imports the program for its steps.
        """
        if program := importing():  # without this, each process would start others, and so on
            raise UnavailableError(
                f"{program} opens an engine while it is imported, which each process for its steps "
                'does; write `if __name__ == "__main__":` above what runs the workflow'
            )
        while (closing := self._join()) is not None:
            await asyncio.shield(asyncio.wrap_future(closing))
        try:
            await self._store.open()
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Close it, if no other engine has it open."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            self._closing = closed = Future[None]()
        try:
            await self._store.close()
        finally:
            self._closing = None
            closed.set_result(None)

    def _join(self) -> Future[None] | None:
        """Become a user of it; or return what to wait for before that."""
        with self._lock:
            if self._closing is None:
                self._users += 1
            return self._closing


# By id, as a store need not be hashable; the values hold theirs, so no other has that id meanwhile.
_known: WeakValueDictionary[int, SharedStore] = WeakValueDictionary()
_lock = Lock()


def shared(store: Store) -> SharedStore:
    """Return what counts the engines of this store."""
    with _lock:
        found = _known.get(id(store))
        if found is None:
            _known[id(store)] = found = SharedStore(store)
        return found
