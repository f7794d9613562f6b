"""The store that the command line looks into."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from os import PathLike
from pathlib import Path

from gorkflow.cli._errors import CliError, ExitCode
from gorkflow.engine._given import DEFAULT_STORE
from gorkflow.errors import StoreError
from gorkflow.store import Store
from gorkflow.stores import open_store, without_secrets

_ADVISED = re.compile(r"\bgorkflow (runs|db|schedule|worker)\b[^`\n]*(?=`|$)", re.MULTILINE)
"""In backticks, or at the end of a line."""


def same_store(url: str | None) -> str:
    """Return the option that has a command that we advise look into the same store.

    Args:
        url: what ``--store`` was given; ``None``: nothing, and nothing is needed.
    """
    return f" --store {shlex.quote(without_secrets(url))}" if url else ""


def in_same_store(text: str, url: str | None) -> str:
    """Return advice of those who know no command line, with its commands about the same store."""
    return _ADVISED.sub(lambda found: found[0] + same_store(url), text)


@contextmanager
def naming_source(store: object) -> Generator[None]:
    """Say in errors of the store that it comes from the environment, if it does.

    Args:
        store: what was given; ``None``: nothing.

    Raises:
        CliError: an error of the store, with that added.
    """
    url = os.environ.get("GORKFLOW_STORE")
    try:
        yield
    except StoreError as error:
        if store is not None or not url:
            raise
        raise CliError(
            f"{error}\nGORKFLOW_STORE is {without_secrets(url)!r}", ExitCode.STORE
        ) from None


def check_exists(store: Store | str | PathLike[str] | None) -> Store:
    """Return the store, not opened yet, if there is one: looking must not make one.

    Args:
        store: a store or its URL; ``None``: the default.

    Raises:
        CliError: there is no such file.
        StoreError: the URL can't be understood.
    """
    given = store
    if store is None:
        store = os.environ.get("GORKFLOW_STORE") or DEFAULT_STORE
    if isinstance(store, str | PathLike):
        with naming_source(given):
            store = open_store(store)
    path = getattr(store, "path", None)
    if isinstance(path, str) and not Path(path).exists():
        from_env = given is None and os.environ.get("GORKFLOW_STORE")
        named = f"{path!r}, which GORKFLOW_STORE names," if from_env else repr(path)
        raise CliError(
            f"there is no store {named} yet; `gorkflow run` makes it, --store names another",
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
    with naming_source(url):
        await store.open()
    try:
        yield store
    finally:
        await store.close()
