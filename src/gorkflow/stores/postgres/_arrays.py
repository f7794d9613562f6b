"""Arrays of a database: the columns of a batch, in the binary form of PostgreSQL.

The dumpers are our own. Those of psycopg ask each value for its type. So a statement with small
numbers would be another one than that with large numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct, pack
from typing import Any, ClassVar

from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper

_HEADER = Struct("!IIIII")
_NULL = b"\xff\xff\xff\xff"
_EMPTY = pack("!III", 0, 0, 0)[:8]
_NOWHERE = "\uffff"
"""In place of NUL in what is looked for: no text that is kept has it."""


class Column(list[Any]):
    """A column of a batch. Its class decides how it is sent."""


class Texts(Column):
    """Texts, or ``None``."""


class Ints(Column):
    """Whole numbers of up to 64 bits."""


class Floats(Column):
    """Numbers, or ``None``."""


class Bools(Column):
    """Yes or no."""


class Blobs(Column):
    """Bytes, or ``None``."""


class _ColumnDumper(Dumper):
    format = Format.BINARY
    element: ClassVar[int]

    def dump(self, obj: Column) -> bytes:
        if not obj:
            return _EMPTY + pack("!I", self.element)
        return _HEADER.pack(1, 1, self.element, len(obj), 1) + self.items(obj)

    def items(self, column: Sequence[Any]) -> bytes:
        raise NotImplementedError


class _TextsDumper(_ColumnDumper):
    oid = 1009
    element = 25

    def items(self, column: Sequence[str | None]) -> bytes:
        return _items(None if text is None else storable(text) for text in column)


class _FoundTextsDumper(_TextsDumper):
    def items(self, column: Sequence[str | None]) -> bytes:
        return _items(None if text is None else findable(text) for text in column)


def _items(column: Iterable[bytes | None]) -> bytes:
    parts: list[bytes] = []
    for data in column:
        parts += (_NULL,) if data is None else (len(data).to_bytes(4), data)
    return b"".join(parts)


class _BlobsDumper(_ColumnDumper):
    oid = 1001
    element = 17

    def items(self, column: Sequence[bytes | None]) -> bytes:
        return _items(column)


class _IntsDumper(_ColumnDumper):
    oid = 1016
    element = 20

    def items(self, column: Sequence[int]) -> bytes:
        try:
            return b"".join([b"\0\0\0\x08" + n.to_bytes(8, signed=True) for n in column])
        except OverflowError:
            raise OverflowError("a whole number of more than 64 bits") from None


class _FloatsDumper(_ColumnDumper):
    oid = 1022
    element = 701

    def items(self, column: Sequence[float | None]) -> bytes:
        return b"".join([_NULL if n is None else pack("!id", 8, n) for n in column])


class _BoolsDumper(_ColumnDumper):
    oid = 1000
    element = 16

    def items(self, column: Sequence[bool]) -> bytes:
        return b"".join([b"\0\0\0\x01\x01" if yes else b"\0\0\0\x01\0" for yes in column])


class _TextDumper(StrBinaryDumper):
    def dump(self, obj: str) -> bytes:
        return findable(obj)


def storable(text: str) -> bytes:
    """Return a text as it is sent.

    Raises:
        UnicodeError: If it holds NUL, or a lone surrogate.
    """
    data = text.encode()
    if b"\0" in data:
        raise UnicodeError("PostgreSQL can't keep a text with the character NUL")
    return data


def findable(text: str) -> bytes:
    """Return a text as it is sent to find the same one: with NUL, there is none."""
    return text.replace("\0", _NOWHERE).encode()


def escaped(text: str) -> str:
    """Return a text for people in a form that can be kept: it may quote an exception."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def prepare(connection: Connection[Any], *, keeps: bool) -> None:
    """Have a connection send what this store gives it.

    Args:
        connection: the connection.
        keeps: whether it writes: then a column with a text that can't be kept is rejected.
    """
    adapters = connection.adapters
    for column, dumper in (
        (Texts, _TextsDumper if keeps else _FoundTextsDumper),
        (Ints, _IntsDumper),
        (Floats, _FloatsDumper),
        (Bools, _BoolsDumper),
        (Blobs, _BlobsDumper),
    ):
        adapters.register_dumper(column, dumper)
    # One type for all, so that a statement is prepared once.
    adapters.register_dumper(int, Int8BinaryDumper)
    adapters.register_dumper(str, _TextDumper)
