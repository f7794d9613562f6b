"""A store that several engines use: the first opens it, the last closes it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from gorkflow.engine._given import check_not_importing

if TYPE_CHECKING:
    from gorkflow.store import Store


class SharedStore:
    """Counts the open engines of a store. They may be in the loops of several threads."""

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
            StoreError: the store can't be opened.
            UnavailableError: a process imports the program for its steps.
        """
        check_not_importing()
        while (closing := self._join()) is not None:
            await asyncio.shield(asyncio.wrap_future(closing))
        try:
            await self._store.open()
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Close it, if nobody else has it open."""
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
