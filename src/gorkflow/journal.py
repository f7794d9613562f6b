"""The journal: events as rows, and back. Shared by every store that writes.

A row has a value's exact bytes apart (``payload``), so that a recorded value is never encoded
again; the other fields of the event are one small JSON object (``body``).
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec
from msgspec import structs

from gorkflow import events as ev
from gorkflow._text import brief
from gorkflow.errors import StoreCorruptError

_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """One event as it is stored."""

    run_id: str
    seq: int
    kind: str
    path: str
    at: float
    body: str
    payload: bytes | None


_COLUMNS = len(structs.fields(ev.Event))
"""The first fields of each event have columns of their own."""


class _Form:
    """How the events of one class are written."""

    def __init__(self, cls: type[ev.Event]) -> None:
        own = structs.fields(cls)[_COLUMNS:]
        payloads = [i for i, item in enumerate(own) if item.type in (bytes, bytes | None)]
        self.cls = cls
        self.payload = payloads[0] if payloads else None
        """Which of the fields is the value's bytes, after those with columns of their own."""
        self.empty = bool(payloads) and own[payloads[0]].type is not bytes
        """Whether the payload may be ``None``."""
        inside = [item for item in own if item.type not in (bytes, bytes | None)]
        notes = cls.__annotations__
        self.refs = [i for i, item in enumerate(inside) if notes[item.name] == "Ref"]
        self.body: Any = msgspec.defstruct(
            cls.__name__,
            [
                (item.name, item.type)
                if item.default is msgspec.NODEFAULT
                else (item.name, item.type, item.default)
                for item in inside
            ],
            omit_defaults=True,
            forbid_unknown_fields=True,
        )
        self.decode = msgspec.json.Decoder(self.body).decode


_FORMS = {kind: _Form(cls) for kind, cls in ev.EVENT_TYPES.items()}

Values = tuple[Any, ...]
"""The fields of a row."""


def to_row(event: ev.Event) -> Row:
    """Return the event as a row."""
    return Row(*to_values(event.run_id, event))


def to_values(run: int | str, event: ev.Event) -> Values:
    """Return the event as the values of a row. A store may have a number for the run's id."""
    form = _FORMS[event.kind]
    own, payload, at = structs.astuple(event)[_COLUMNS:], None, form.payload
    if at is not None:
        own, payload = own[:at] + own[at + 1 :], own[at]
    body = form.body(*own)
    try:
        text = _encode(body).decode()
    except UnicodeEncodeError:  # a lone surrogate in a message; it must not keep a run from ending
        text = json.dumps(msgspec.to_builtins(body), allow_nan=False)  # as an escape: "\udc80"
    return (run, event.seq, event.kind, event.path, event.at, text, payload)


def _body(form: _Form, text: str) -> Any:
    try:
        return form.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if "\\ud" not in text:
            raise
        return msgspec.convert(json.loads(text), form.body)  # it may have a lone surrogate


def from_row(row: Row) -> ev.Event:
    """Return the event of a row.

    Raises:
        StoreCorruptError: If the row can't be read; the message names run, seq and what is wrong.
    """
    where = f"event {row.seq} of run {row.run_id!r}"
    form = _FORMS.get(row.kind)
    if form is None:
        raise StoreCorruptError(
            f"{where} has kind {row.kind!r}, which this version of gorkflow does not know; read it "
            "with the version that wrote it, or a newer one"
        )
    try:
        own = list(structs.astuple(_body(form, row.body)))
        for index in form.refs:
            own[index] = ev.ref_from_json(own[index])
        if form.payload is not None:
            if type(row.payload) is not bytes and not (form.empty and row.payload is None):
                raise TypeError(f"the value is {brief(row.payload, 80)}")
            own.insert(form.payload, row.payload)
        row.path.encode()  # else the row was not UTF-8
        if not 0 <= row.at <= ev.LATEST:
            raise TypeError(f"its time is {row.at!r}")
        return form.cls(row.run_id, row.seq, row.path, row.at, *own)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise StoreCorruptError(
            f"{where} can't be read: {error}; restore it from a backup, or delete the run with "
            "`gorkflow runs delete`"
        ) from error
