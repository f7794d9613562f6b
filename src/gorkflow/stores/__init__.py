"""The stores that come with gorkflow, and how a URL names one."""

from __future__ import annotations

import re
from collections.abc import Callable
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief, did_you_mean
from gorkflow.errors import StoreError
from gorkflow.store import Copyable, Hinting, Inspectable, RunReader, Store

if TYPE_CHECKING:
    from gorkflow.stores.memory import MemoryStore
    from gorkflow.stores.postgres import PostgresStore
    from gorkflow.stores.sqlite import SqliteStore

__all__ = [
    "Copyable",
    "Hinting",
    "Inspectable",
    "MemoryStore",
    "PostgresStore",
    "RunReader",
    "SqliteStore",
    "Store",
    "open_store",
    "without_secrets",
]

_PASSWORD = re.compile(r"^(?!(?:sqlite|memory):)((?:[^:/?]*:(?://)?)?[^:/?]*):(?!//).*@", re.DOTALL)
_SECRET = re.compile(r"(?i)([?&][^=&]*(?:pass|pwd|secret|token|key|url)[^=&]*=)[^&]*")


def without_secrets(url: str) -> str:
    """Return a store's URL as it may be shown: with ``***`` for passwords.

    Example:
        >>> from gorkflow import stores
        >>> stores.without_secrets("postgresql://ann:secret@host/runs")
        'postgresql://ann:***@host/runs'
    """
    return _SECRET.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def open_store(url: str | PathLike[str]) -> Store:
    """Return the store that a URL, or the path of a file, names. It is made, not opened yet.

    * ``memory:`` keeps runs in this process. Option: ``keep_ended``.
    * ``sqlite:PATH`` or ``sqlite:///ABSOLUTE/PATH``: a file. Options: ``synchronous`` (``full`` or
      ``normal``) and ``busy_timeout`` (seconds), as in ``sqlite:runs.db?synchronous=normal``.
      Nothing in the path needs escaping.
    * ``postgresql://USER@HOST/DATABASE``: a server, with ``pip install 'gorkflow[postgres]'``.
      Options: those of libpq, ``schema``, ``pooled=1`` and ``session_url``.
    * ``runs.db``, ``folder/runs.db``: that file, as with ``sqlite:`` before it. A text needs a dot
      or slash to be a path; a ``Path`` is one anyway.

    Raises:
        StoreError: If no store is called that, or an option is unknown or invalid.
        TypeError: If it is not a text.

    Example:
        >>> from gorkflow import stores
        >>> stores.open_store("sqlite:runs.db?synchronous=normal")
        <SqliteStore '...runs.db'>
    """
    if not isinstance(url, str):
        if not isinstance(url, PathLike):
            raise TypeError(f"the url of a store must be a text or a path, not {brief(url)}")
        return _sqlite(fspath(url), fspath(url), {})
    scheme, colon, rest = url.partition(":")
    make = _SCHEMES.get(scheme)
    shown = without_secrets(url)
    if make and colon:
        path, options = _split(rest)
        return make(shown, path, options)
    if _PATH.search(url) and not _SCHEME.match(url):
        return _sqlite(url, *_split(url))
    hint = f"; for that file write {'sqlite:' + shown!r}" if not colon else ""
    raise StoreError(
        f"{shown!r} names no known store; write 'memory:', 'sqlite:PATH' or "
        f"'postgresql://USER@HOST/DATABASE'{hint}"
    )


# Imported when asked for, so that a process loads only the store that it uses.


def __getattr__(name: str) -> Any:
    if name == "MemoryStore":
        from gorkflow.stores.memory import MemoryStore

        return MemoryStore
    if name == "SqliteStore":
        from gorkflow.stores.sqlite import SqliteStore

        return SqliteStore
    if name == "PostgresStore":
        return _postgres_store()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _memory(url: str, path: str, given: dict[str, str]) -> Store:
    from gorkflow.stores.memory import MemoryStore

    options = _convert(url, given, {"keep_ended": int})
    if path:
        raise StoreError(f"a memory store has no path: write 'memory:', not {url!r}")
    return MemoryStore(**options)


def _sqlite(url: str, path: str, given: dict[str, str]) -> Store:
    from gorkflow.stores.sqlite import SqliteStore

    options = _convert(url, given, {"synchronous": str, "busy_timeout": float})
    if path.startswith("//"):
        if not path.startswith("///"):
            raise StoreError(
                f"{url!r} names a host; write 'sqlite:PATH', or 'sqlite:///PATH' from the root"
            )
        path = path[2:]
    if path == ":memory:":
        raise StoreError("SQLite's ':memory:' loses runs between connections; write 'memory:'")
    if path.startswith("~"):
        raise StoreError(f"{url!r}: '~' means nothing here; write the path in full")
    if not path:
        raise StoreError(f"{url!r} names no file; write 'sqlite:PATH', as in 'sqlite:runs.db'")
    return SqliteStore(path, **options)


def _postgres(url: str, path: str, given: dict[str, str]) -> Store:
    from urllib.parse import urlencode

    own: dict[str, Callable[[str], Any]] = {"schema": str, "pooled": _yes_or_no, "session_url": str}
    options = _convert(url, {name: text for name, text in given.items() if name in own}, own)
    rest = urlencode({name: text for name, text in given.items() if name not in own})
    return _postgres_store()(f"postgresql:{path}{'?' if rest else ''}{rest}", **options)


def _postgres_store() -> type[PostgresStore]:
    try:
        from gorkflow.stores.postgres import PostgresStore
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise StoreError(
            "a store in PostgreSQL needs psycopg: pip install 'gorkflow[postgres]'"
        ) from error
    return PostgresStore


def _yes_or_no(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("it is 0 or 1")
    return text == "1"


_PATH = re.compile(r"[./\\]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+-]+:")  # one letter is a drive

_SCHEMES: dict[str, Callable[[str, str, dict[str, str]], Store]] = {
    "memory": _memory,
    "postgres": _postgres,
    "postgresql": _postgres,
    "sqlite": _sqlite,
}


def _split(rest: str) -> tuple[str, dict[str, str]]:
    """Split off the options. A ``?`` that no option follows belongs to the path."""
    path, mark, query = rest.rpartition("?")
    if mark and re.match(r"[A-Za-z_]+=", query):
        from urllib.parse import parse_qsl  # slow to load, and hardly ever needed

        return path, dict(parse_qsl(query, keep_blank_values=True))
    return rest, {}


def _convert(
    url: str, given: dict[str, str], known: dict[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """Return the options as the types they are of."""
    options: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            hint = did_you_mean(name, known, f"it takes {', '.join(sorted(known))}")
            raise StoreError(f"{url!r} has the unknown option {name!r}; {hint}")
        try:
            options[name] = known[name](text)
        except ValueError as error:
            raise StoreError(f"{url!r} gives {name!r} the value {text!r}: {error}") from error
    return options
