"""The drawing of a run as it is now, for a notebook, whose event loop can't be waited for."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from gorkflow.engine._reads import drawing
from gorkflow.engine._recorded import Recorded, load
from gorkflow.engine._sync import shared

if TYPE_CHECKING:
    from gorkflow._notebook import Bundle
    from gorkflow.store import Store

logger = logging.getLogger("gorkflow.engine")
_PATIENCE = 5.0  # seconds that the notebook waits for the store


def drawn_now(store: Store, run_id: str, now: float, shown: str) -> Bundle:
    """Return the drawing of a run; where it can't be read, only its text.

    Args:
        store: the store that has it.
        run_id: the run.
        now: the time up to which it is drawn, in seconds since the epoch.
        shown: the run as text.
    """
    done: Future[Recorded] = Future()

    def read() -> None:
        try:
            done.set_result(asyncio.run(_read(store, run_id)))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)

    # Stores answer in the loop that asks them, so a loop of its own does not need the one here.
    Thread(target=read, name="gorkflow-drawing", daemon=True).start()
    try:
        return drawing(done.result(_PATIENCE), now, shown)
    except Exception:  # a cell that shows a run must not fail for its drawing
        logger.debug("run %r can't be drawn", run_id, exc_info=True)
        return {"text/plain": shown}


async def _read(store: Store, run_id: str) -> Recorded:
    """Read a run; a store that is closed is opened to look, if it is there."""
    if shared(store).is_open:
        return await load(store, run_id)
    path = getattr(store, "path", None)
    if not isinstance(path, str) or not Path(path).exists():  # noqa: ASYNC240 - its own thread
        raise FileNotFoundError("the store is closed, and there is no file of it")
    await store.open()
    try:
        return await load(store, run_id)
    finally:
        await store.close()
