"""Events as rows, and back. Shared by every store that writes.

A row keeps a value's exact bytes apart from the rest (``payload``), so that a recorded value is
never re-encoded; everything else of the event is one small JSON object (``body``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from math import isfinite
from typing import Any, NamedTuple

from gorkflow import events as ev
from gorkflow.errors import StoreCorruptError
from gorkflow.model import Failure, RunStatus
from gorkflow.refs import failures_from_json, failures_to_json, ref_from_json, ref_to_json

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
_loads = json.JSONDecoder().decode


class Row(NamedTuple):
    """One event as it is stored."""

    run_id: str
    seq: int
    kind: str
    path: str
    at: float
    v: int
    body: str
    payload: bytes | None


_Body = dict[str, Any]
_WRITERS: dict[type[ev.Event], Callable[[Any], _Body]] = {
    ev.RunCreated: lambda e: {"fingerprint": e.fingerprint, "timeout": e.timeout},
    ev.RunStarted: lambda e: {"deadline": e.deadline},
    ev.StepScheduled: lambda e: {
        "attempt": e.attempt, "input": ref_to_json(e.input), "ready_at": e.ready_at
    },
    ev.StepCompleted: lambda e: {
        "attempt": e.attempt, "began_at": e.began_at, "ended_at": e.ended_at
    },
    ev.StepFailed: lambda e: {
        "attempt": e.attempt, "failure": e.failure.to_json(),
        "began_at": e.began_at, "retry_at": e.retry_at, "ended_at": e.ended_at,
    },
    ev.StepInterrupted: lambda e: {"attempt": e.attempt, "reason": e.reason},
    ev.StepCancelled: lambda e: {"attempt": e.attempt, "reason": e.reason, "failure": e.failure},
    ev.StepSkipped: lambda e: {"reason": e.reason},
    ev.TimerSet: lambda e: {"key": e.key, "due": e.due},
    ev.TimerFired: lambda e: {"key": e.key},
    ev.Decided: lambda e: {"choice": e.choice},
    ev.BlockDecided: lambda e: {
        "verdict": e.verdict, "reason": e.reason, "output": ref_to_json(e.output)
    },
    ev.CancelRequested: lambda e: {"reason": e.reason},
    ev.RunFinished: lambda e: {
        "status": e.status.value, "output": ref_to_json(e.output),
        "failures": failures_to_json(e.failures), "reason": e.reason,
    },
}  # fmt: skip

_READERS: dict[str, Callable[[_Body, bytes | None], _Body]] = {
    "run_created": lambda b, p: {**b, "input": p},
    "step_scheduled": lambda b, _: {**b, "input": ref_from_json(b["input"])},
    "step_completed": lambda b, p: {**b, "output": p},
    "step_failed": lambda b, _: {**b, "failure": Failure.from_json(b["failure"])},
    "block_decided": lambda b, _: {**b, "output": ref_from_json(b["output"])},
    "run_finished": lambda b, _: {
        **b,
        "status": RunStatus(b["status"]),
        "output": ref_from_json(b["output"]),
        "failures": failures_from_json(b["failures"]),
    },
}
"""How to read what isn't the fields as they are. An upcaster for an older ``v`` goes here."""

_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "str": (str,),
    "bytes": (bytes,),
    "bytes | None": (bytes, type(None)),
}
_CHECKS: dict[type[ev.Event], tuple[tuple[str, tuple[type, ...]], ...]] = {
    cls: tuple(
        (field.name, _PLAIN[str(field.type)])
        for field in fields(cls)
        if str(field.type) in _PLAIN and field.name not in {"run_id", "seq", "path", "at"}
    )
    for cls in ev.EVENT_TYPES.values()
}
"""The fields of plain types, which a damaged row could hold anything in. Readers see to the others.
"""


def to_row(event: ev.Event) -> Row:
    """Return the event as a row."""
    payload: bytes | None = None
    body: str | None = None
    # The two kinds that make up nearly every history take a short cut past the JSON encoder.
    if type(event) is ev.StepScheduled:
        if type(event.input) is int and type(event.ready_at) is float and isfinite(event.ready_at):
            body = (
                f'{{"attempt":{event.attempt},"input":{event.input},"ready_at":{event.ready_at!r}}}'
            )
    elif type(event) is ev.StepCompleted:
        payload = event.output
        began, ended = event.began_at, event.ended_at
        if type(began) is float and type(ended) is float and isfinite(began + ended):
            body = f'{{"attempt":{event.attempt},"began_at":{began!r},"ended_at":{ended!r}}}'
    elif type(event) is ev.RunCreated:
        payload = event.input
    if body is None:
        body = _dumps(_WRITERS[type(event)](event))
    return Row(event.run_id, event.seq, event.kind, event.path, event.at, event.v, body, payload)


def from_row(row: Row) -> ev.Event:
    """Return the event of a row.

    Raises:
        StoreCorruptError: the row can't be read; the message names run, seq and what is wrong.
    """
    cls = ev.EVENT_TYPES.get(row.kind)
    where = f"event {row.seq} of run {row.run_id!r}"
    if cls is None or row.v > cls.v:
        raise StoreCorruptError(
            f"{where} has kind {row.kind!r} version {row.v!r}, which this version of gorkflow does "
            "not know; read it with the version that wrote it, or a newer one"
        )
    try:
        body = _loads(row.body)
        reader = _READERS.get(row.kind)
        values = reader(body, row.payload) if reader else body
        for name, types in _CHECKS[cls]:
            if type(values[name]) not in types:
                raise TypeError(f"{name} is {values[name]!r:.80}")
        return cls(row.run_id, row.seq, row.path, row.at, **values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreCorruptError(
            f"{where} can't be read: {error}; restore it from a backup, or delete the run"
        ) from error
