"""The writes of transitions: the statements that take a whole batch, and its order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import psycopg

from gorkflow.journal import to_values
from gorkflow.store import Append, NewRun, Transition, Written, calls_of
from gorkflow.stores._sql.database import Row
from gorkflow.stores._sql.rows import names
from gorkflow.stores.postgres import _resources
from gorkflow.stores.postgres._arrays import Blobs, Bools, Column, Floats, Ints, Texts, escaped
from gorkflow.stores.postgres._connections import Db, Lock, is_unkeepable

_logger = logging.getLogger("gorkflow.store")
_Values = dict[str, Any]
_STATE: dict[str, type[Column]] = {
    "status": Texts, "reason": Texts, "started_at": Floats, "finished_at": Floats,
    "due_at": Floats, "worker_id": Texts, "seen": Ints, "orphaned": Bools, "trace": Texts,
    "waits_for": Texts, "hooks": Ints,
}  # fmt: skip
"""The columns of a summary that an append may change, ``seq`` apart."""
_ORIGIN: dict[str, type[Column]] = {
    "run_id": Texts, "workflow_id": Texts, "workflow_version": Texts, "fingerprint": Texts,
    "resource_id": Texts, "tags": Texts, "created_at": Floats, "token": Ints, "priority": Ints,
    "exclusive": Bools, "queue": Texts, "line": Ints,
}  # fmt: skip
"""Those that never change."""


def write(db: Db, batch: Sequence[Transition]) -> list[Written]:
    """Create runs and record transitions. An item that can't be stored leaves the others alone."""
    try:
        _define(db, [item for item in batch if isinstance(item, NewRun)])
        return _write(db, batch)
    except (ValueError, OverflowError):
        pass
    except psycopg.Error as error:
        if not is_unkeepable(error):
            raise
    # So seldom that each may cost a transaction within the transaction.
    with db.transaction():
        return [_write_alone(db, item) for item in batch]


def _define(db: Db, new: Sequence[NewRun]) -> None:
    """Keep definitions that this connection has not seen yet.

    By themselves: who creates a run of the same definition waits until this is committed.
    """
    trees = {item.row.fingerprint: item.tree for item in new}
    unknown = trees.keys() - db.defined
    if unknown:
        values = {"d_fingerprint": Texts(unknown), "d_tree": Texts(trees[n] for n in unknown)}
        with db.transaction() if db.settings.pooled else nullcontext():
            db.change("define", **values)
        db.defined |= unknown


def is_new(item: Transition) -> bool:
    """Whether it creates a run."""
    return isinstance(item, NewRun)


def _write_alone(db: Db, item: Transition) -> Written:
    db.connection.execute(b"SAVEPOINT item")
    try:
        (written,) = _Wave([item]).write(db)
    except (ValueError, OverflowError, psycopg.Error) as error:
        if isinstance(error, psycopg.Error) and not is_unkeepable(error):
            raise
        _logger.exception("run %r can't be recorded and is left as it was", item.row.run_id)
        db.connection.execute(b"ROLLBACK TO SAVEPOINT item")
        written = Written.UNSTORABLE
    db.connection.execute(b"RELEASE SAVEPOINT item")
    return written


def _write(db: Db, batch: Sequence[Transition]) -> list[Written]:
    waves = [_Wave(items) for items in _waves(batch)]
    if len(waves) == 1 and waves[0].is_one_statement and not db.settings.pooled:
        return waves[0].write(db)
    with db.transaction():
        return [written for wave in waves for written in wave.write(db)]


def _waves(batch: Sequence[Transition]) -> list[list[Transition]]:
    """Divide a batch into parts of which each may be written in any order: new runs first."""
    waves: list[list[Transition]] = []
    created: set[str] = set()
    appended: set[str] = set()
    for item in batch:
        run_id = item.row.run_id
        if isinstance(item, Append):
            follows = run_id in appended
        else:  # an append may end the run that has its resource
            follows = run_id in created or bool(item.row.resource_id is not None and appended)
        if follows or not waves:
            waves.append([])
            created.clear()
            appended.clear()
        (appended if isinstance(item, Append) else created).add(run_id)
        waves[-1].append(item)
    return waves


class _Wave:
    """Items of different runs, which are written by one statement for each kind."""

    def __init__(self, items: Sequence[Transition]) -> None:
        self._count = len(items)
        self._new = [(n, item) for n, item in enumerate(items) if isinstance(item, NewRun)]
        self._moves = [(n, item) for n, item in enumerate(items) if isinstance(item, Append)]
        self._has_resources = any(new.row.resource_id is not None for _, new in self._new)

    @property
    def is_one_statement(self) -> bool:
        """Whether it needs no transaction around it."""
        return not self._has_resources and not (self._new and self._moves)

    def write(self, db: Db) -> list[Written]:
        """Write the items; return the answers in their order."""
        answers = [Written.FENCED] * self._count
        for number, _ in self._new:
            answers[number] = Written.DUPLICATE
        new = self._new
        if self._has_resources:
            decided = _resources.decide(db, [each.row for _, each in new])
            for (number, _), answer in zip(new, decided, strict=True):
                answers[number] = answer
            new = [(n, each) for n, each in new if answers[n] is Written.OK]
            for number, _ in new:
                answers[number] = Written.DUPLICATE  # unless it is created after all
        found: list[Row] = []
        if new:
            found += db.rows("create_runs", **_columns_of_new(db, new))
        if any(move.changed or move.consumed for _, move in self._moves):
            found += db.rows("append_runs", **_columns_of_changes(db, self._moves))
        elif len(self._moves) == 1:
            found += db.rows("append_events_of_one", **_values_of_move(db, *self._moves[0]))
        elif self._moves:
            found += db.rows("append_events", **_columns_of_moves(db, self._moves))
        for (number,) in found:
            answers[number] = Written.OK
        return answers


def _columns_of_new(db: Db, items: Sequence[tuple[int, NewRun]]) -> _Values:
    tags = [(n, *tag) for n, item in items for tag in item.row.tags]
    trees = {item.row.fingerprint: item.tree for _, item in items}
    return {
        "lock": db.lock_number(Lock.DEFINITIONS),
        "ord": Ints(n for n, _ in items),
        "after": Ints(item.row.seq for _, item in items),
        "d_fingerprint": Texts(trees),
        "d_tree": Texts(trees.values()),
        "t_ord": Ints(n for n, _, _ in tags),
        "t_name": Texts(name for _, name, _ in tags),
        "t_value": Texts(value for _, _, value in tags),
        **_columns_of_rows(items, _ORIGIN | _STATE),
        **_columns_of_events(db, items),
        **_columns_beside(items),
    }


def _columns_of_moves(db: Db, items: Sequence[tuple[int, Append]]) -> _Values:
    return {
        "ord": Ints(n for n, _ in items),
        "run_id": Texts(item.row.run_id for _, item in items),
        "token": Ints(item.row.token for _, item in items),
        "before": Ints(item.expected_seq for _, item in items),
        "after": Ints(item.seq for _, item in items),
        **_columns_of_events(db, items),
    }


def _values_of_move(db: Db, number: int, item: Append) -> _Values:
    return {
        "ord": number,
        "run_id": item.row.run_id,
        "token": item.row.token,
        "before": item.expected_seq,
        "after": item.seq,
        **_columns_of_events(db, [(number, item)]),
    }


def _columns_of_changes(db: Db, items: Sequence[tuple[int, Append]]) -> _Values:
    return {
        "changed": Bools(item.changed for _, item in items),
        "consumed": Texts(f"{{{','.join(map(str, item.consumed))}}}" for _, item in items),
        **_columns_of_rows(items, _STATE),
        **_columns_of_moves(db, items),
        **_columns_beside(items),
    }


_FORMS: dict[str, Callable[[Any], Any]] = {"reason": escaped, "tags": names, "waits_for": names}


def _columns_of_rows(
    items: Sequence[tuple[int, Transition]], columns: dict[str, type[Column]]
) -> _Values:
    values: _Values = {}
    for name, kind in columns.items():
        given = [getattr(item.row, name) for _, item in items]
        form = _FORMS.get(name)
        values[name] = kind(given if form is None else map(form, given))
    return values


def _columns_beside(items: Sequence[tuple[int, Transition]]) -> _Values:
    """Return the columns of what is kept beside the summaries: waits, and calls that are due."""
    waits = [(n, signal) for n, item in items for signal in item.row.waits_for]
    calls = [
        (n, call)
        for n, item in items
        if item.row.hooks and item.row.status.terminal
        for call in calls_of(item.row)
    ]
    return {
        "w_ord": Ints(n for n, _ in waits),
        "w_signal": Texts(signal for _, signal in waits),
        "h_ord": Ints(n for n, _ in calls),
        "h_hook": Ints(int(call.hook) for _, call in calls),
        "h_workflow": Texts(call.workflow_id for _, call in calls),
        "h_ended": Floats(call.ended_at for _, call in calls),
        "h_due": Floats(call.due_at for _, call in calls),
    }


def _columns_of_events(db: Db, items: Sequence[tuple[int, Transition]]) -> _Values:
    rows = [to_values(n, event) for n, item in items for event in item.events]
    columns = zip(*rows, strict=True) if rows else [()] * len(_EVENT)
    values: _Values = {"era": db.state.era}
    for (name, kind), column in zip(_EVENT.items(), columns, strict=True):
        values[name] = kind(column)
    return values


_EVENT: dict[str, type[Column]] = {
    "e_ord": Ints, "e_seq": Ints, "e_kind": Texts, "e_path": Texts, "e_at": Floats,
    "e_body": Texts, "e_payload": Blobs,
}  # fmt: skip
"""The columns of an event, as ``to_values`` has them."""
