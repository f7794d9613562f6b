"""A file system that writes down what SQLite asks of it, and the disks that a power loss leaves.

The product runs on apsw instead of the standard library's ``sqlite3`` here, because only apsw lets
a file system be put under SQLite. What the product asks of SQLite is the same.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

SECTOR = 512


class Op(NamedTuple):
    """What was asked of the file system, or a promise that was made in between."""

    kind: str
    """``write``, ``truncate``, ``sync``, ``delete`` or ``promise``."""
    name: str
    """Of the file, or the run."""
    offset: int
    """Of a write; the size after a truncate; the ``seq`` that was promised."""
    data: bytes = b""


class Recording:
    """The operations in their order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ops: list[Op] = []

    def note(self, op: Op) -> None:
        with self._lock:
            self.ops.append(op)


class RecordingVfs(apsw.VFS):
    """Passes everything on to the system's own file system, and notes it."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        super().__init__("recording", "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 - apsw's name
        return RecordingFile(self.recording, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - as above
        super().xDelete(filename, syncdir)
        self.recording.note(Op("delete", Path(filename).name, 0))


class RecordingFile(apsw.VFSFile):
    """A file whose changes are noted."""

    def __init__(self, recording: Recording, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.name = Path(path or "").name
        self.recording = recording

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - as above
        super().xWrite(data, offset)
        self.recording.note(Op("write", self.name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - as above
        super().xTruncate(newsize)
        self.recording.note(Op("truncate", self.name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - as above
        super().xSync(flags)
        self.recording.note(Op("sync", self.name, 0))


# apsw in the clothes of the standard library


class Cursor:
    """As much of ``sqlite3.Cursor`` as the product uses."""

    def __init__(self, db: Any, cursor: Any) -> None:
        self._cursor = cursor
        self.rowcount = db.changes()
        self.lastrowid = db.last_insert_rowid()

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> Any:
        return self._cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)


class Connection:
    """As much of ``sqlite3.Connection`` as the product uses."""

    def __init__(self, path: Any, **options: Any) -> None:
        self._db = apsw.Connection(os.fspath(path), vfs="recording")
        self._db.set_busy_timeout(int(options.get("timeout", 5) * 1000))

    def execute(self, sql: str, values: Any = ()) -> Cursor:
        try:
            return Cursor(self._db, self._db.execute(sql, values))
        except apsw.ConstraintError as error:
            raise sqlite3.IntegrityError(str(error)) from error
        except apsw.Error as error:
            raise sqlite3.OperationalError(str(error)) from error

    def executemany(self, sql: str, values: Iterable[Any]) -> Cursor:
        return Cursor(self._db, self._db.executemany(sql, values))

    @property
    def in_transaction(self) -> bool:
        return bool(self._db.in_transaction)

    def close(self) -> None:
        self._db.close()


# Images


class Disk:
    """What is safely on the disk, and what was only handed to it."""

    def __init__(self) -> None:
        self.safe: dict[str, bytearray] = {}
        self.pending: dict[str, list[Op]] = {}

    def perform(self, op: Op) -> None:
        """Go one operation on."""
        if op.kind == "promise":
            return
        if op.kind == "sync":
            content = self.safe.setdefault(op.name, bytearray())
            for earlier in self.pending.pop(op.name, []):
                _apply(content, earlier)
        elif op.kind == "delete":  # the folder was synced with it, or the file is of no more use
            self.safe.pop(op.name, None)
            self.pending.pop(op.name, None)
        else:
            self.pending.setdefault(op.name, []).append(op)

    def after_power_loss(self, chance: random.Random) -> dict[str, bytes]:
        """Return the files: of what was not synced, a random half is there, some of it torn."""
        files = {name: bytearray(content) for name, content in self.safe.items()}
        for name, ops in self.pending.items():
            content = files.setdefault(name, bytearray())
            for op in ops:
                if chance.random() < 0.5:
                    _apply(content, _torn(op, chance) if chance.random() < 0.2 else op)
        return {name: bytes(content) for name, content in files.items()}


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "truncate":
        del content[op.offset :]
        return
    end = op.offset + len(op.data)
    if len(content) < op.offset:
        content.extend(bytes(op.offset - len(content)))
    content[op.offset : end] = op.data


def _torn(op: Op, chance: random.Random) -> Op:
    """Return a write of which only some sectors got to the disk."""
    kept = chance.randrange(len(op.data) // SECTOR + 1) * SECTOR
    return op._replace(data=op.data[:kept]) if op.kind == "write" else op


def save(files: dict[str, bytes], folder: Path, database: str) -> None:
    """Write an image into a folder."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / database).touch()


def promises(ops: Sequence[Op]) -> dict[str, int]:
    """Return what was acknowledged: the highest ``seq`` of each run."""
    return {op.name: op.offset for op in ops if op.kind == "promise"}
