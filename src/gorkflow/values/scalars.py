"""The kinds of the standard library's scalars: texts that their class reads back exactly."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import base64
import datetime as dt
import fractions
import ipaddress
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

from pydantic_core import TzInfo

from gorkflow.values.kind import (
    Kind,
    Misfit,
    Reading,
    Writing,
    inner_of,
    tagged,
)


class Scalar(Kind):
    """A class whose values are written as one text; values of its subclasses are rejected."""

    def __init__(
        self,
        cls: type,
        write: Callable[[Any], str] = str,
        read: Callable[[str], Any] | None = None,
        label: str = "",
    ) -> None:
        self.cls = cls
        self.classes = frozenset({cls})
        self._write = write
        self._read = cls if read is None else read
        self.label = label or cls.__name__
        self.labels = frozenset({self.label})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise self.misfit(value)
        try:
            text = self._write(value)
        except (ValueError, OverflowError) as error:  # a Fraction of more than 4,300 digits
            raise Misfit(f"this {self.label} can't be written: {error}"[:200]) from None
        writing.take(len(text) + len(self.label) + 14)
        return tagged(self.label, text)

    def load(self, record: Any, reading: Reading) -> Any:
        text = inner_of(record, self.label)
        try:
            return self._read(text)
        except zoneinfo.ZoneInfoNotFoundError:
            raise Misfit(f"the time zone of {text!r:.80} is not installed here") from None
        except Exception:  # noqa: BLE001 - each class has errors of its own
            raise Misfit(f"the record of this {self.label} is damaged: {text!r:.80}") from None


# ---- dates and times --------------------------------------------------------------------------
# ISO 8601, and what it has no word for in brackets, as RFC 9557 does for the names of zones:
# 2024-03-30T09:00:00+01:00[Europe/Berlin].


def _zoned(value: dt.datetime | dt.time) -> str:
    zone = value.tzinfo
    text = value.isoformat()
    if zone is None or (type(zone) is dt.timezone and zone == _unnamed(zone)):
        pass
    elif type(zone) is dt.timezone:
        text += f"[_name={quote(zone.tzname(None), safe='')}]"
    elif type(zone) is TzInfo:
        text += "[_pydantic]"
    elif type(zone) is zoneinfo.ZoneInfo:
        text += f"[{_write_zone(zone)}]"
    else:
        raise Misfit(
            f"its time zone is a {type(zone).__module__}.{type(zone).__qualname__}, which can't be "
            "kept; use zoneinfo.ZoneInfo or datetime.timezone"
        )
    return f"{text}[_fold=1]" if value.fold else text


def _unnamed(zone: dt.timezone) -> dt.timezone | None:
    """Return a zone if it has no name of its own; two zones are equal under any names."""
    return zone if repr(zone) == repr(dt.timezone(zone.utcoffset(None))) else None


def _read_zoned(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        iso, *notes = text.split("[")
        value = read(iso)
        for note in notes:
            name = note.removesuffix("]")
            if name == "_fold=1":
                value = value.replace(fold=1)
            elif name == "_pydantic":
                value = value.replace(tzinfo=TzInfo(value.utcoffset().total_seconds()))
            elif name.startswith("_name="):
                zone = dt.timezone(value.utcoffset(), unquote(name[6:]))
                value = value.replace(tzinfo=zone)
            else:
                value = value.replace(tzinfo=zoneinfo.ZoneInfo(name))
        return value

    return parsed


def _write_zone(zone: zoneinfo.ZoneInfo) -> str:
    try:
        zone.__reduce__()  # knows whether it was made from a file
    except Exception:  # noqa: BLE001 - pickle's
        raise Misfit(
            "a ZoneInfo made from a file has no name to find it by; use ZoneInfo(name)"
        ) from None
    return zone.key


def _write_timedelta(value: dt.timedelta) -> str:
    return f"P{value.days}DT{value.seconds}.{value.microseconds:06}S"


_TIMEDELTA = re.compile(r"P(-?\d+)DT(\d+)\.(\d{6})S")


def _read_timedelta(text: str) -> dt.timedelta:
    found = _TIMEDELTA.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return dt.timedelta(int(found[1]), int(found[2]), int(found[3]))


# ---- others -----------------------------------------------------------------------------------


def _write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _read_complex(text: str) -> complex:
    real, imag = text.split(" ")
    return complex(float(real), float(imag))


class Pattern(Kind):
    """A compiled pattern, with its flags."""

    cls = re.Pattern
    label = "Pattern"
    classes = frozenset({cls})
    labels = frozenset({label})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not re.Pattern:
            raise self.misfit(value)
        source: Any = value.pattern
        if type(source) not in {str, bytes}:
            raise Misfit("a pattern must be made from a str or bytes, of no subclass")
        text = source if isinstance(source, str) else _write_bytes(source)
        writing.take(len(text) + 32)
        record = {**tagged("Pattern", text), "$flags": value.flags}
        return record if isinstance(source, str) else {**record, "$bytes": True}

    def load(self, record: Any, reading: Reading) -> Any:
        text = inner_of(record, "Pattern")
        source = base64.b64decode(text) if record.get("$bytes") else text
        return re.compile(source, record.get("$flags", 0))


_ADDRESSES = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)
_PATHS = (type(pathlib.Path()), pathlib.PurePosixPath, pathlib.PureWindowsPath)

SCALARS: dict[type, Kind] = {
    kind.cls: kind
    for kind in (
        Scalar(dt.datetime, _zoned, _read_zoned(dt.datetime.fromisoformat)),
        Scalar(dt.date, dt.date.isoformat, dt.date.fromisoformat),
        Scalar(dt.time, _zoned, _read_zoned(dt.time.fromisoformat)),
        Scalar(dt.timedelta, _write_timedelta, _read_timedelta),
        Scalar(zoneinfo.ZoneInfo, _write_zone, zoneinfo.ZoneInfo),
        Scalar(Decimal),
        Scalar(fractions.Fraction),
        Scalar(complex, lambda number: f"{number.real!r} {number.imag!r}", _read_complex),
        Scalar(uuid.UUID),
        Scalar(bytes, _write_bytes, base64.b64decode),
        Scalar(bytearray, _write_bytes, lambda text: bytearray(base64.b64decode(text))),
        *map(Scalar, _ADDRESSES),
        Scalar(_PATHS[0], label="Path"),
        *map(Scalar, _PATHS[1:]),
    )
}
SCALARS[re.Pattern] = Pattern()
