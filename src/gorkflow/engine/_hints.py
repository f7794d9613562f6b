"""The hints of a store, which wake those who would look only later."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from gorkflow.store import Hinting, HintKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.engine._reads import Reads
    from gorkflow.engine._worker import Worker
    from gorkflow.store import Store


def take_hints(store: Store, reads: Reads, worker: Worker) -> Callable[[], object]:
    """Take the hints of a store, if it gives any; return what ends that.

    Args:
        store: whose hints.
        reads: of the client; knows who waits for which run.
        worker: of the client; looks for runs and messages.
    """
    if not isinstance(store, Hinting):
        return _nothing

    def hinted(kind: HintKind, name: str) -> None:  # in any thread
        if kind is HintKind.ENDED:
            wakes = partial(reads.changed, name) if reads.awaits(name) else None
        else:
            wakes = partial(worker.look, kind) if worker.wants(kind, name) else None
        if wakes is not None:
            with suppress(RuntimeError):  # the loop is closed
                worker.runtime.loop.call_soon_threadsafe(wakes)

    return store.hints(hinted)


def _nothing() -> None:
    """End nothing."""
