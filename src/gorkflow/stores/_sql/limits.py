"""Named limits in a database: their rows, as books that ``gorkflow.limits`` judges by, and back.

Within a transaction that the caller began.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import copy

from msgspec.structs import asdict, replace

from gorkflow._text import is_utf8
from gorkflow.clock import Moment, Timekeeper
from gorkflow.limits import Book, Lease, LimitGrant, LimitRequest, LimitUse, settle, use
from gorkflow.model import instant
from gorkflow.policy import Limit
from gorkflow.stores._sql.database import Database
from gorkflow.stores._sql.rows import UNREADABLE

_logger = logging.getLogger("gorkflow.store")
_STALE = 1.0
"""Seconds after which it is written down again that a worker still asks: not at every question."""


def take_limits(
    db: Database,
    worker_id: str,
    *,
    times: Timekeeper,
    held: Mapping[str, int],
    requests: Sequence[LimitRequest],
    unbegun: Mapping[str, int],
    began: Mapping[str, float],
) -> LimitGrant:
    workers = {row[0]: row for row in db.rows("list_workers")}

    def alive(name: str) -> bool:
        return name in workers and db.alive(workers[name], times)

    if not alive(worker_id):
        return LimitGrant((0,) * len(requests), contended=True)
    names = {name for (name,) in db.rows("list_limits_of_worker", worker_id=worker_id)}
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
                db.change("delete_limit_lease", name=name, worker_id=other)
                changed.leave(other, now)
    grant = settle(books, worker_id, held, requests, now, unbegun=unbegun, began=began)
    for name, book in books.items():
        old = before.get(name)
        _save_book(db, name, old, book)
        lease = old.leases.get(worker_id) if old else None
        _save_lease(db, name, worker_id, lease, book.leases.get(worker_id))
    return grant


def forget_worker(db: Database, worker_id: str) -> None:
    for (name,) in db.rows("list_limits_of_worker", worker_id=worker_id):
        book = _book(db, name)
        if book is not None:
            before = copy(book)
            book.leave(worker_id)
            _save_book(db, name, before, book)
    db.change("delete_limit_leases", worker_id=worker_id)


def _book(db: Database, name: str) -> Book | None:
    known = db.rows("get_limit", name=name)
    if not known:
        return None
    try:
        book = _read_book(name, *known[0])
    except UNREADABLE as error:
        # Whoever waits for it would wait for ever: so what is known begins anew with this request.
        _logger.warning("limit %r is damaged, and begins anew: %s", name, error)
        return None
    found = db.rows("list_limit_leases", name=name)
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


def uses(db: Database, now: float) -> list[LimitUse]:
    """Return the use of each limit that can be read; places of dead workers are left out."""
    times = Moment(now)
    alive = {row[0] for row in db.rows("list_workers") if db.alive(row, times)}
    found: list[LimitUse] = []
    for name, *_ in db.rows("list_limits"):
        book = _book(db, name)
        if book is not None:
            for other in book.leases.keys() - alive:
                book.leave(other, now)
            found.append(use(book, now))
    return found


def check(db: Database) -> Iterator[str]:
    for name, *row in db.rows("list_limits"):
        try:
            _read_book(name, *row)
        except UNREADABLE as error:
            yield f"{name}: {error}"


def _save_book(db: Database, name: str, before: Book | None, book: Book) -> None:
    """Write down what changed, apart from the leases."""
    if before is None or replace(before, leases=book.leases) != book:
        limit = book.limit
        db.change(
            "upsert_limit",
            name=name,
            definition=json.dumps([limit.concurrency, limit.rate, limit.per]),
            defined_at=book.defined_at,
            starts=json.dumps(book.starts),
        )


def _save_lease(
    db: Database, name: str, worker_id: str, old: Lease | None, new: Lease | None
) -> None:
    if new is None:
        if old is not None:
            db.change("delete_limit_lease", name=name, worker_id=worker_id)
        return
    if old is not None and new.asked_at <= old.asked_at + _STALE:
        old = replace(old, asked_at=new.asked_at)
    if old != new:
        db.change("upsert_limit_lease", name=name, worker_id=worker_id, **asdict(new))
