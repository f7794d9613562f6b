"""The store that the command line looks into."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from gorkflow.cli._errors import CliError, ExitCode
from gorkflow.engine.engine import DEFAULT_STORE
from gorkflow.store import Store
from gorkflow.stores import open_store


def check_exists(store: Store | str | None) -> Store:
    """Return the store, not opened yet, if there is one: looking must not make one.

    Args:
        store: a store or its URL; ``None``: the default.

    Raises:
        CliError: there is no such file.
        StoreError: the URL can't be understood.
    """
    if store is None:
        store = os.environ.get("GORKFLOW_STORE") or DEFAULT_STORE
    if isinstance(store, str):
        store = open_store(store)
    path = getattr(store, "path", None)
    if isinstance(path, str) and not Path(path).exists():
        raise CliError(
            f"there is no store {path!r} yet; `gorkflow run` makes it, --store names another",
            ExitCode.STORE,
        )
    return store


@asynccontextmanager
async def opened(url: str | None) -> AsyncGenerator[Store]:
    """Open a store that exists, to look at it.

    Raises:
        CliError: there is none.
        StoreError: it can't be opened.
    """
    store = check_exists(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()
