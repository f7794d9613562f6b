"""The session of a store: the one connection that lasts, for the locks of workers and for hints."""

from __future__ import annotations

import logging
import os
import selectors
import threading
from typing import NamedTuple

import psycopg

from gorkflow.errors import StoreError
from gorkflow.stores.postgres import _schema
from gorkflow.stores.postgres._connections import Db, Lock, Settings, translated
from gorkflow.stores.postgres._hinting import Listener, channel_of
from gorkflow.stores.postgres._liveness import Watch

_logger = logging.getLogger("gorkflow.store")
_RETRY = 0.25
"""Seconds between attempts to connect again. A worker must have its lock again within the grace."""


class Slot(NamedTuple):
    """The lock of a worker."""

    number: int = 0
    """0: it has none."""
    server: str = ""
    """When the server began from which it was taken."""
    own: frozenset[int] = frozenset()
    """The numbers that this store has taken for this worker: this one, and earlier ones."""


class Session:
    """Keeps the locks of the workers of one store, and listens for hints.

    Its thread waits for the server. If the connection breaks, it makes another one, and takes the
    locks anew. The rows of the workers then name the new ones.

    Args:
        settings: of the store.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.listener = Listener()
        self._has_one = not settings.pooled or settings.session_address is not None
        self._slots: dict[str, Slot] = {}
        self._listens = False
        self._db: Db | None = None
        self._lock = threading.Lock()
        """Held by the one thread that uses the connection."""
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._wake: tuple[int, int] | None = None

    def take(self, worker_id: str) -> Slot:
        """Take the lock of a worker, unless this store has it already.

        Raises:
            StoreError: If the server can't be reached.
        """
        if not self._has_one:
            return Slot()
        with self._lock, translated(self._settings):
            self._start()
            if worker_id not in self._slots:
                self._slots[worker_id] = self._take(self._connected(), frozenset())
            return self._slots[worker_id]

    def drop(self, worker_id: str) -> None:
        """Free the lock of a worker."""
        with self._lock:
            slot = self._slots.pop(worker_id, None)
            if slot is not None and self._db is not None:
                try:
                    number = self._db.lock_number(Lock.WORKER)
                    self._db.rows("drop_slot", lock=number, slot=slot.number)
                except psycopg.Error:
                    self._disconnect()  # which frees it as well

    def listen(self) -> None:
        """Have hints come from now on, or from when the server is there again."""
        if not self._has_one:
            return
        with self._lock:
            if self._listens:
                return
            self._listens = True
            self._start()
            try:
                _listen(self._connected())
            except (StoreError, psycopg.Error):
                self._disconnect()  # the thread makes another one

    def close(self) -> None:
        """End the thread, and free all locks."""
        self._stopped.set()
        if self._wake is not None:
            os.write(self._wake[1], b"x")
        if self._thread is not None:
            self._thread.join(5)
        with self._lock:
            self._disconnect()
            if self._wake is not None:
                for end in self._wake:
                    os.close(end)
                self._wake = None

    # ---- below, the lock is held

    def _start(self) -> None:
        if self._thread is None:
            self._wake = os.pipe()
            self._thread = threading.Thread(
                target=self._serve, name="gorkflow-postgres-session", daemon=True
            )
            self._thread.start()

    def _connected(self) -> Db:
        if self._db is not None and self._db.broken:
            self._disconnect()
        if self._db is None:
            db = Db(self._settings, Watch(), session=True)
            try:
                _schema.prepare(db)
                db.connection.add_notify_handler(lambda notify: self.listener.hear(notify.payload))
                if self._listens:
                    _listen(db)
                for worker_id, before in self._slots.items():
                    slot = self._slots[worker_id] = self._take(db, before.own)
                    db.change(
                        "move_worker", worker_id=worker_id, slot=slot.number, server=slot.server
                    )
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    @staticmethod
    def _take(db: Db, own: frozenset[int]) -> Slot:
        [(number, _, server)] = db.rows("take_slot", lock=db.lock_number(Lock.WORKER))
        return Slot(number, server, own | {number})

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    # ---- the thread

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                self._wait()
            except (StoreError, psycopg.Error, OSError, ValueError) as error:
                _logger.debug("the session with the store broke: %s", type(error).__name__)
                self._stopped.wait(_RETRY)

    def _wait(self) -> None:
        with self._lock, translated(self._settings):
            connection = self._connected().connection
        assert self._wake is not None  # the thread was started
        with selectors.DefaultSelector() as selector:
            for each in (connection.fileno(), self._wake[0]):
                selector.register(each, selectors.EVENT_READ)
            selector.select()
        with self._lock:
            if self._stopped.is_set() or self._db is None:
                return
            try:
                connection.pgconn.consume_input()
                while (notify := connection.pgconn.notifies()) is not None:
                    self.listener.hear(notify.extra.decode())
            except psycopg.Error:
                self._disconnect()
                raise


def _listen(db: Db) -> None:
    db.connection.execute(f"LISTEN {channel_of(db)}".encode())
