"""Events as rows, and back. Shared by every store that writes.

A row keeps a value's exact bytes apart from the rest (``payload``), so that a recorded value is
never re-encoded; everything else of the event is one small JSON object (``body``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from math import isfinite
from typing import Any, NamedTuple, cast

from gorkflow import events as ev
from gorkflow._text import brief
from gorkflow.errors import StoreCorruptError
from gorkflow.events import (
    Item,
    ListOf,
    Ref,
    failures_from_json,
    failures_to_json,
    ref_from_json,
    ref_to_json,
)
from gorkflow.model import Failure, RunStatus
from gorkflow.state_changes import Write, writes_from_json, writes_to_json

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
_loads = json.JSONDecoder().decode
_text = json.encoder.encode_basestring_ascii


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


def _state(writes: tuple[Write, ...]) -> _Body:
    return {"state": writes_to_json(writes)} if writes else {}


_WRITERS: dict[type[ev.Event], Callable[[Any], _Body]] = {
    ev.RunCreated: lambda e: {
        "fingerprint": e.fingerprint, "timeout": e.timeout,
        # Only where there is one, so that older versions read all runs but reruns.
        **({} if e.origin is None else {"origin": e.origin}),
        **({} if e.from_step is None else {"from_step": e.from_step}),
        **_state(e.state),
        **({} if e.defined_at is None else {"defined_at": e.defined_at}),
    },
    ev.RunStarted: lambda e: {"deadline": e.deadline},
    ev.StepScheduled: lambda e: {
        "attempt": e.attempt, "input": ref_to_json(e.input), "ready_at": e.ready_at,
        **({"limits": e.limits} if e.limits else {}),
    },
    ev.StepCompleted: lambda e: {
        "attempt": e.attempt, "began_at": e.began_at, "ended_at": e.ended_at, **_state(e.state)
    },
    ev.StepFailed: lambda e: {
        "attempt": e.attempt, "failure": e.failure.to_json(),
        "began_at": e.began_at, "retry_at": e.retry_at, "ended_at": e.ended_at,
        **({"unknown": True} if e.unknown else {}),
    },
    ev.StepInterrupted: lambda e: {
        "attempt": e.attempt, "reason": e.reason, **({} if e.counts else {"counts": False})
    },
    ev.StepCancelled: lambda e: {"attempt": e.attempt, "reason": e.reason, "failure": e.failure},
    ev.StepSkipped: lambda e: {"reason": e.reason},
    ev.TimerSet: lambda e: {"key": e.key, "due": e.due},
    ev.TimerFired: lambda e: {"key": e.key},
    ev.Decided: lambda e: {"choice": e.choice},
    ev.WaitOpened: lambda e: {"signal": e.signal, "schema": e.schema, "due": e.due},
    ev.SignalReceived: lambda e: {"inbox_id": e.inbox_id},
    ev.Expanded: lambda e: {
        "count": e.count, **({} if e.keys is None else {"keys": list(e.keys)})
    },
    ev.Timed: lambda e: {"seconds": e.seconds, "due": e.due},
    ev.ResultKept: lambda e: {
        "what": e.what, "choice": e.choice, "source_seq": e.source_seq,
        **({} if e.keys is None else {"keys": list(e.keys)}), **_state(e.state),
    },
    ev.BlockDecided: lambda e: {
        "verdict": e.verdict, "reason": e.reason, "output": ref_to_json(e.output),
        **({"failures": failures_to_json(e.failures)} if e.failures else {}),
    },
    ev.CancelRequested: lambda e: {"reason": e.reason},
    ev.TypesAccepted: lambda e: {"fingerprint": e.fingerprint, "problems": list(e.problems)},
    ev.ClockSet: lambda e: {"by": e.by},
    ev.UndoStarted: lambda e: {
        "status": e.status.value, "failures": failures_to_json(e.failures), "reason": e.reason,
        "paths": e.paths,
    },
    ev.RunFinished: lambda e: {
        "status": e.status.value, "output": ref_to_json(e.output),
        "failures": failures_to_json(e.failures), "reason": e.reason,
    },
}  # fmt: skip


def _keys(body: _Body) -> tuple[str, ...] | None:
    keys: Any = body.get("keys")
    if keys is None:
        return None
    if type(keys) is not list or any(type(key) is not str for key in cast("list[object]", keys)):
        raise TypeError(f"keys are {brief(keys, 80)}")  # pyright: ignore[reportUnknownArgumentType]
    return tuple(cast("list[str]", keys))


def _writes(body: _Body) -> tuple[Write, ...]:
    return writes_from_json(body["state"]) if "state" in body else ()


def _names(items: Any) -> tuple[str, ...]:
    if not all(isinstance(item, str) for item in items):
        raise TypeError(f"names are {brief(items, 80)}")
    return tuple(items)


_READERS: dict[str, Callable[[_Body, bytes | None], _Body]] = {
    "run_created": lambda b, p: {
        "origin": None,
        "from_step": None,
        "defined_at": None,
        **b,
        "input": p,
        "state": _writes(b),
    },
    "step_scheduled": lambda b, _: {
        **b,
        "input": ref_from_json(b["input"]),
        "limits": _names(b.get("limits", ())),
    },
    "step_completed": lambda b, p: {**b, "output": p, "state": _writes(b)},
    "step_interrupted": lambda b, _: {"counts": True, **b},
    "step_failed": lambda b, _: {
        **b,
        "failure": Failure.from_json(b["failure"]),
        "unknown": b.get("unknown", False),
    },
    "signal_received": lambda b, p: {**b, "payload": p},
    "expanded": lambda b, _: {**b, "keys": _keys(b)},
    "result_kept": lambda b, p: {**b, "output": p, "keys": _keys(b), "state": _writes(b)},
    "block_decided": lambda b, _: {
        **b,
        "output": ref_from_json(b["output"]),
        "failures": tuple(map(Failure.from_json, b.get("failures", ()))),
    },
    "types_accepted": lambda b, _: {**b, "problems": _names(b["problems"])},
    "undo_started": lambda b, _: {
        **b,
        "status": RunStatus(b["status"]),
        "failures": failures_from_json(b["failures"]),
        "paths": _names(b["paths"]),
    },
    "run_finished": lambda b, _: {
        **b,
        "status": RunStatus(b["status"]),
        "output": ref_from_json(b["output"]),
        "failures": failures_from_json(b["failures"]),
    },
}
"""How to read what isn't the fields as they are. An upcaster for an older ``v`` goes here."""

_PLAIN: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "str": (str,),
    "str | None": (str, type(None)),
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


_LATEST = 250_000_000_000.0  # in the year 9892; Python's calendar ends in 9999


def _is_time(value: float | None, name: str = "") -> bool:
    """Whether an event can hold these seconds: an instant, or a duration of up to 100 years.

    A clock may have been set back, so ``by`` may be negative.
    """
    return value is None or (-_LATEST if name == "by" else 0) <= value <= _LATEST


def _ref(ref: Ref) -> str | None:
    """Return the JSON of a reference; ``None`` where it takes more than a line."""
    if type(ref) is int:
        return str(ref)
    if type(ref) is tuple and all(type(item) is int for item in ref):
        return f"[{','.join(map(str, ref))}]"
    if type(ref) is Item and type(ref.of) is int:
        return f'{{"item":{ref.index},"of":{ref.of}}}'
    if type(ref) is ListOf and (items := _ref(ref.items)) is not None:
        return f'{{"list":{items}}}'
    return None


def _run_created(e: ev.RunCreated) -> str | None:
    odd = e.timeout, e.origin, e.from_step, e.defined_at
    if e.state or any(item is not None for item in odd):
        return None
    return f'{{"fingerprint":{_text(e.fingerprint)},"timeout":null}}'


def _run_started(e: ev.RunStarted) -> str | None:
    return None if e.deadline is not None else '{"deadline":null}'


def _step_scheduled(e: ev.StepScheduled) -> str | None:
    taken = _ref(e.input)
    if taken is None or e.limits or type(e.ready_at) is not float or not isfinite(e.ready_at):
        return None
    return f'{{"attempt":{e.attempt},"input":{taken},"ready_at":{e.ready_at!r}}}'


def _step_completed(e: ev.StepCompleted) -> str | None:
    began, ended = e.began_at, e.ended_at
    if e.state:
        return None
    if type(began) is not float or type(ended) is not float or not isfinite(began + ended):
        return None
    return f'{{"attempt":{e.attempt},"began_at":{began!r},"ended_at":{ended!r}}}'


def _block_decided(e: ev.BlockDecided) -> str | None:
    output = _ref(e.output)
    if output is None or e.failures:
        return None
    return f'{{"verdict":{_text(e.verdict)},"reason":{_text(e.reason)},"output":{output}}}'


def _run_finished(e: ev.RunFinished) -> str | None:
    output = _ref(e.output)
    if output is None or e.failures:
        return None
    status, reason = _text(e.status.value), _text(e.reason)
    return f'{{"status":{status},"output":{output},"failures":[],"reason":{reason}}}'


_SHORT_CUTS: dict[type[ev.Event], Callable[[Any], str | None]] = {
    ev.RunCreated: _run_created,
    ev.RunStarted: _run_started,
    ev.StepScheduled: _step_scheduled,
    ev.StepCompleted: _step_completed,
    ev.BlockDecided: _block_decided,
    ev.RunFinished: _run_finished,
}
"""The body as text, past the JSON encoder, for the kinds that make up nearly every history."""

_PAYLOADS: dict[type[ev.Event], str] = {
    ev.RunCreated: "input",
    ev.StepCompleted: "output",
    ev.SignalReceived: "payload",
    ev.ResultKept: "output",
}
"""The field that holds a value's bytes."""


Values = tuple[Any, ...]
"""The fields of a row."""


def to_row(event: ev.Event) -> Row:
    """Return the event as a row."""
    return Row(*to_values(event.run_id, event))


def to_values(run: int | str, event: ev.Event) -> Values:
    """Return the event as the values of a row.

    Args:
        run: what stands for the run, if not its id.
        event: the event.
    """
    cls = type(event)
    short_cut = _SHORT_CUTS.get(cls)
    body = short_cut(event) if short_cut is not None else None
    if body is None:
        body = _dumps(_WRITERS[cls](event))
    field = _PAYLOADS.get(cls)
    payload = None if field is None else getattr(event, field)
    return (run, event.seq, event.kind, event.path, event.at, event.v, body, payload)


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
            value = values[name]
            if type(value) not in types or (float in types and not _is_time(value, name)):
                raise TypeError(f"{name} is {brief(value, 80)}")
        if not _is_time(row.at):
            raise TypeError(f"its time is {row.at!r}")
        return cls(row.run_id, row.seq, row.path, row.at, **values)
    except (
        ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, OSError
    ) as error:  # fmt: skip
        raise StoreCorruptError(
            f"{where} can't be read: {error}; restore it from a backup, or delete the run with "
            "`gorkflow runs delete`"
        ) from error
