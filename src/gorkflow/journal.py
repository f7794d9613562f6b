"""Events as rows, and back. Shared by every store that writes.

A row keeps a value's exact bytes apart from the rest (``payload``), so that a recorded value is
never re-encoded; everything else of the event is one small JSON object (``body``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from gorkflow import events as ev
from gorkflow.errors import StoreCorruptError
from gorkflow.model import Failure, RunStatus
from gorkflow.refs import failures_from_json, failures_to_json, ref_from_json, ref_to_json

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


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
    ev.RunCreated: lambda e: {"fingerprint": e.fingerprint},
    ev.RunStarted: lambda e: {"deadline": e.deadline},
    ev.StepScheduled: lambda e: {
        "attempt": e.attempt, "input": ref_to_json(e.input), "ready_at": e.ready_at
    },
    ev.StepCompleted: lambda e: {"attempt": e.attempt, "began_at": e.began_at},
    ev.StepFailed: lambda e: {
        "attempt": e.attempt, "failure": e.failure.to_json(),
        "began_at": e.began_at, "retry_at": e.retry_at,
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
    "run_created": lambda b, p: {"fingerprint": b["fingerprint"], "input": p},
    "step_scheduled": lambda b, _: {**b, "input": ref_from_json(b["input"])},
    "step_completed": lambda b, p: {**b, "output": p},
    "step_failed": lambda b, _: {**b, "failure": Failure.from_json(b["failure"])},
    "block_decided": lambda b, _: {**b, "output": ref_from_json(b["output"])},
    "run_finished": lambda b, _: {
        "status": RunStatus(b["status"]),
        "output": ref_from_json(b["output"]),
        "failures": failures_from_json(b["failures"]),
        "reason": b["reason"],
    },
}
"""How to read what isn't simply the fields as they are. An upcaster for an older ``v`` goes here."""


def to_row(event: ev.Event) -> Row:
    """Return the event as a row."""
    body = _dumps(_WRITERS[type(event)](event))
    payload: bytes | None = None
    if isinstance(event, ev.StepCompleted):
        payload = event.output
    elif isinstance(event, ev.RunCreated):
        payload = event.input
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
        body = json.loads(row.body)
        reader = _READERS.get(row.kind)
        fields = reader(body, row.payload) if reader else body
        if cls is ev.StepCompleted and not isinstance(fields["output"], bytes):
            raise TypeError("its payload is missing")  # noqa: TRY301 - one place names the row
        return cls(row.run_id, row.seq, row.path, row.at, **fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreCorruptError(
            f"{where} can't be read: {error}; restore it from a backup, or delete the run"
        ) from error
