"""Named limits in the file: their rows, to the books that ``gorkflow.limits`` judges by, and back.

Within a transaction that the caller began.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from copy import copy

from msgspec.structs import astuple, replace

from gorkflow._text import is_utf8
from gorkflow.clock import Moment, Timekeeper
from gorkflow.limits import Book, Lease, LimitGrant, LimitRequest, LimitUse, settle, use
from gorkflow.model import instant
from gorkflow.policy import Limit
from gorkflow.stores.sqlite._files import WorkerLocks
from gorkflow.stores.sqlite._reads import UNREADABLE, worker_alive
from gorkflow.stores.sqlite._schema import query, rows

_logger = logging.getLogger("gorkflow.store")
_STALE = 1.0
"""Seconds after which it is written down again that a worker still asks: not at every question."""


def take_limits(
    db: sqlite3.Connection,
    locks: WorkerLocks,
    worker_id: str,
    *,
    times: Timekeeper,
    held: Mapping[str, int],
    requests: Sequence[LimitRequest],
    unbegun: Mapping[str, int],
    began: Mapping[str, float],
) -> LimitGrant:
    def alive(name: str) -> bool:
        found = rows(db, query("get_worker"), (name,))
        return bool(found) and worker_alive(found[0], locks, times)

    if not alive(worker_id):
        return LimitGrant((0,) * len(requests), contended=True)
    names = {name for (name,) in rows(db, query("list_limits_of_worker"), (worker_id,))}
    names.update(held, (limit.name for request in requests for limit in request.limits))
    living = {worker_id: True}
    books: dict[str, Book] = {}
    before: dict[str, Book] = {}
    now = times.now()
    for name in sorted(names):
        book = _book(db, name)
        if book is None:
            continue
        before[name] = book
        books[name] = changed = copy(book)
        changed.leases = {other: copy(lease) for other, lease in book.leases.items()}
        for other in book.leases:
            if other not in living:
                living[other] = alive(other)
            if not living[other]:
                db.execute(query("delete_limit_lease"), (name, other))
                changed.leave(other, now)
    grant = settle(books, worker_id, held, requests, now, unbegun=unbegun, began=began)
    for name, book in books.items():
        old = before.get(name)
        _save_book(db, name, old, book)
        lease = old.leases.get(worker_id) if old else None
        _save_lease(db, name, worker_id, lease, book.leases.get(worker_id))
    return grant


def forget_worker(db: sqlite3.Connection, worker_id: str) -> None:
    for (name,) in rows(db, query("list_limits_of_worker"), (worker_id,)):
        book = _book(db, name)
        if book is not None:
            before = copy(book)
            book.leave(worker_id)
            _save_book(db, name, before, book)
    db.execute(query("delete_limit_leases"), (worker_id,))


def _book(db: sqlite3.Connection, name: str) -> Book | None:
    known = rows(db, query("get_limit"), (name,))
    if not known:
        return None
    try:
        book = _read_book(name, *known[0])
    except UNREADABLE as error:
        # Whoever waits for it would wait for ever: so what is known begins anew with this request.
        _logger.warning("limit %r is damaged, and begins anew: %s", name, error)
        return None
    found = rows(db, query("list_limit_leases"), (name,))
    book.leases = {other: Lease(*lease) for other, *lease in found if is_utf8(other)}
    return book


def _read_book(name: str, definition: str, defined_at: float, log: str) -> Book:
    concurrency, rate, per = json.loads(definition)
    limit = Limit(name, concurrency=concurrency, rate=rate, per=per)
    starts = tuple(
        (float(first), float(last), int(count)) for first, last, count in json.loads(log)
    )
    for at in (defined_at, *(at for first, last, _ in starts for at in (first, last))):
        instant(at)
    return Book(limit, defined_at, starts)


def uses(db: sqlite3.Connection, locks: WorkerLocks, now: float) -> list[LimitUse]:
    """Return the use of each limit that can be read; places of dead workers are left out."""
    times = Moment(now)
    workers = rows(db, query("list_workers"))
    alive = {row[0] for row in workers if worker_alive(row, locks, times)}
    found: list[LimitUse] = []
    for name, *_ in rows(db, query("list_limits")):
        book = _book(db, name)
        if book is not None:
            for other in book.leases.keys() - alive:
                book.leave(other, now)
            found.append(use(book, now))
    return found


def check(db: sqlite3.Connection) -> Iterator[str]:
    for name, *row in rows(db, query("list_limits")):
        try:
            _read_book(name, *row)
        except UNREADABLE as error:
            yield f"{name}: {error}"


def _save_book(db: sqlite3.Connection, name: str, before: Book | None, book: Book) -> None:
    """Write down what changed, apart from the leases."""
    if before is None or replace(before, leases=book.leases) != book:
        limit = book.limit
        definition = json.dumps([limit.concurrency, limit.rate, limit.per])
        db.execute(
            query("upsert_limit"), (name, definition, book.defined_at, json.dumps(book.starts))
        )


def _save_lease(
    db: sqlite3.Connection, name: str, worker_id: str, old: Lease | None, new: Lease | None
) -> None:
    if new is None:
        if old is not None:
            db.execute(query("delete_limit_lease"), (name, worker_id))
        return
    if old is not None and new.asked_at <= old.asked_at + _STALE:
        old = replace(old, asked_at=new.asked_at)
    if old != new:
        db.execute(query("upsert_limit_lease"), (name, worker_id, *astuple(new)))
