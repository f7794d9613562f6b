"""Rows of a database: what they say, if they can be read, and the columns of a summary."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from msgspec import Struct, convert

from gorkflow._durations import LONGEST
from gorkflow.errors import StoreCorruptError
from gorkflow.hooks import HookCall
from gorkflow.schedule import ScheduleRow
from gorkflow.store import RunRow, Worker
from gorkflow.stores._sql.database import Row

_logger = logging.getLogger("gorkflow.store")
S = TypeVar("S", bound=Struct)
T = TypeVar("T")
UNREADABLE = (ValueError, TypeError, OverflowError, OSError, RecursionError)
"""Raised for a damaged row."""
_LISTS = frozenset({"tags", "waits_for"})
"""Columns that hold JSON."""
NO_NAMES = "[]"


def readable(found: Iterable[Row], read: Callable[[Row], T], what: str) -> Iterator[T]:
    """Yield what can be read of the rows; a damaged one must not hide the others."""
    for values in found:
        try:
            yield read(values)
        except StoreCorruptError:
            _logger.exception("left out %s", what)


def run_row(values: Row) -> RunRow:
    """Return the summary in a row of ``runs``.

    Raises:
        StoreCorruptError: If it can't be read.
    """
    try:
        return _convert(RunRow, values[1:])
    except UNREADABLE as error:
        raise StoreCorruptError(
            f"the summary of run {values[1]!r} can't be read: {error}; restore it from a backup"
        ) from error


def readable_runs(found: Iterable[Row]) -> Iterator[tuple[int, RunRow]]:
    """Yield the keys and summaries that can be read."""
    return readable(found, lambda values: (values[0], run_row(values)), "a run")


def schedule_row(values: Row) -> ScheduleRow:
    """Return the schedule in a row.

    Raises:
        StoreCorruptError: If it can't be read.
    """
    try:
        row = _convert(ScheduleRow, values)
        if (row.cron is None) is (row.every is None):
            raise ValueError("it has no rule, or two")
        if row.every is not None and not 1 <= row.every <= LONGEST:
            raise ValueError(f"it is due every {row.every!r} seconds")
    except UNREADABLE as error:
        raise StoreCorruptError(
            f"schedule {values[0]!r} can't be read: {error}; remove it, and add it again"
        ) from error
    return row


def worker_of(values: Row) -> Worker:
    """Return the worker in a row; of one whose queues can't be read, no queues."""
    worker = Worker._make(values)
    try:
        queues = convert(json.loads(values[-1]), tuple[str, ...])
    except UNREADABLE:
        queues = ()
    return worker._replace(queues=queues)


def worker_columns(worker: Worker) -> dict[str, object]:
    """Return the columns of a worker, by name."""
    columns: dict[str, object] = worker._asdict()
    columns["queues"] = names(worker.queues)
    return columns


def hook_call(values: Row) -> HookCall:
    """Return the hook call in a row.

    Raises:
        StoreCorruptError: If it can't be read.
    """
    fields = dict(zip(HookCall.__struct_fields__, values, strict=True))
    try:
        return convert(fields, HookCall, strict=False)
    except UNREADABLE as error:
        raise StoreCorruptError(
            f"a hook call of run {values[0]!r} can't be read: {error}"
        ) from error


def _convert(cls: type[S], values: Sequence[Any]) -> S:
    """Return an object of a class whose fields are the columns, in their order.

    Raises:
        Exception: If the row is damaged; one of ``UNREADABLE``.
    """
    "".join(value for value in values if type(value) is str).encode()  # else it is not UTF-8
    fields = dict(zip(cls.__struct_fields__, values, strict=True))
    for name in _LISTS & fields.keys():
        fields[name] = json.loads(fields[name]) if fields[name] != NO_NAMES else ()
    return convert(fields, cls, strict=False)  # SQLite has 0 and 1 for booleans


def origin(row: RunRow) -> list[Any]:
    """Return the columns of a summary that never change, in the order of the statements."""
    return [
        row.run_id,
        row.workflow_id,
        row.workflow_version,
        row.fingerprint,
        row.resource_id,
        names(row.tags),
        row.created_at,
        row.token,
        row.priority,
        int(row.exclusive),  # of a bool, sqlite3 would ask around for somebody who knows it
        row.queue,
        row.line.value,
    ]


def state(row: RunRow) -> list[Any]:
    """Return the columns that an append may change, ``seq`` apart, in the same way."""
    return [
        row.status.value,
        storable(row.reason),
        row.started_at,
        row.finished_at,
        row.due_at,
        row.worker_id,
        row.seen,
        int(row.orphaned),
        row.trace,
        names(row.waits_for),
        row.hooks,
    ]


def names(given: tuple[object, ...]) -> str:
    """Return tags, or the names of signals, as they are kept."""
    return json.dumps(given) if given else NO_NAMES


def storable(text: str) -> str:
    """Return a text without lone surrogates.

    It may quote an exception: one in there must not keep a run from ending.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
