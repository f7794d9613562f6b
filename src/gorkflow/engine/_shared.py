"""A store that several engines use: the first opens it, the last closes it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from gorkflow.store import Store


class SharedStore:
    """Counts the open engines of a store. They may be in several event loops."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._users = 0
        self._closing: Future[None] | None = None

    async def enter(self) -> None:
        """Open it, unless it is; and not while it is being closed.

        Raises:
            StoreError: the store can't be opened.
        """
        while self._closing is not None:
            await asyncio.shield(asyncio.wrap_future(self._closing))
        self._users += 1
        try:
            await self._store.open()
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Close it, if nobody else has it open."""
        self._users -= 1
        if self._users:
            return
        self._closing = closed = Future[None]()
        try:
            await self._store.close()
        finally:
            self._closing = None
            closed.set_result(None)


# By id, as a store need not be hashable; the values hold theirs, so no other has that id meanwhile.
_known: WeakValueDictionary[int, SharedStore] = WeakValueDictionary()


def shared(store: Store) -> SharedStore:
    """Return what counts the engines of this store."""
    found = _known.get(id(store))
    if found is None:
        _known[id(store)] = found = SharedStore(store)
    return found
