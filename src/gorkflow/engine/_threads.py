"""Our own daemon threads for sync steps: they never delay the exit of the interpreter.

``concurrent.futures`` joins its threads at exit, so one step that hangs would hang the program.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable

_names = itertools.count(1)


class ThreadPool:
    """Threads that are made when needed and kept until ``close``.

    The number of threads is bounded by who submits (see ``_admission``), not here.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._closed = False

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` in a thread. It must not raise.

        Raises:
            RuntimeError: the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the thread pool is closed")
            if self._idle:
                self._idle -= 1
            else:
                self._threads += 1
                name = f"gorkflow-{next(_names)}"
                threading.Thread(target=self._loop, name=name, daemon=True).start()
        self._work.put(work)

    def _loop(self) -> None:
        while True:
            work = self._work.get()
            if work is None:
                return
            work()
            del work  # or the last work's objects would live until the next
            with self._lock:
                self._idle += 1

    def close(self) -> None:
        """Let idle threads end; those that work end after their work."""
        with self._lock:
            self._closed = True
            threads = self._threads
        for _ in range(threads):
            self._work.put(None)
