"""What SQLite's errors mean for the caller, judged by their names, never by their messages."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from gorkflow.errors import StoreCorruptError, StoreError, StoreUnavailableError

_Meaning = tuple[type[StoreError], str]
_UNAVAILABLE: _Meaning = (
    StoreUnavailableError,
    "can't be opened or written; check that its folder exists, and who may write to both",
)
_MEANINGS: dict[str, _Meaning] = {
    "READONLY": _UNAVAILABLE,
    "CANTOPEN": _UNAVAILABLE,
    "PERM": _UNAVAILABLE,
    "AUTH": _UNAVAILABLE,
    "NOTADB": (StoreCorruptError, "is no SQLite database; name another file, or move it away"),
    "CORRUPT": (
        StoreCorruptError,
        "is damaged; restore a backup, or save what is left with `sqlite3 FILE .recover`",
    ),
    "FULL": (StoreError, "can't grow: the disk is full; make room, it then works again"),
    "IOERR": (StoreError, "could not be read or written: I/O error, or the disk is full"),
    "BUSY": (StoreUnavailableError, "is held by another program; end what keeps it open"),
    "LOCKED": (StoreUnavailableError, "is held by another program; end what keeps it open"),
    "TOOBIG": (StoreError, "can't keep a value this large (SQLite's limit is 1 GB)"),
    "NOMEM": (StoreError, "could not be read or written: out of memory"),
}


@contextmanager
def translated(path: str) -> Generator[None, None, None]:
    """Turn SQLite's errors, and those of values it can't hold, into ours.

    Raises:
        StoreError: or the subclass that says what is the matter.
    """
    try:
        yield
    except sqlite3.Error as error:
        # SQLITE_IOERR_WRITE and the like: the part after SQLITE_ names the family.
        name = getattr(error, "sqlite_errorname", "")
        family = name.removeprefix("SQLITE_").partition("_")[0]
        cls, text = _MEANINGS.get(family, (StoreError, "refused the statement"))
        raise cls(f"the store {path!r} {text} ({name or 'SQLite'}: {error})") from error
    except OSError as error:
        raise StoreUnavailableError(
            f"the store {path!r} can't be opened or written: {error}"
        ) from error
    except UNSTORABLE as error:
        raise StoreError(f"the store {path!r} can't keep a value it was given: {error}") from error


UNSTORABLE = (UnicodeError, OverflowError)
"""Raised by ``sqlite3`` for a lone surrogate, and for an integer over 64 bits."""
