"""What a process for steps does: one job after another, until nobody is there any more."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socket
import threading

from gorkflow.engine._job import run_job
from gorkflow.engine._processes import BEGAN, LOG, PROGRESS, RESULT, Channel, log_record


def main(fd: int, level: int) -> None:
    """Run jobs.

    Args:
        fd: the socket by which they come.
        level: of the log records that somebody wants.
    """
    channel = Channel(socket.socket(fileno=fd))
    os.set_inheritable(fd, False)
    work = _Work(channel)
    threading.Thread(target=work.listen, daemon=True).start()
    root = logging.getLogger()
    root.setLevel(level)
    root.addHandler(_Sends(channel))
    work.go_on()


class _Work:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()

    def listen(self) -> None:
        """Take jobs, and notice the end of who sends them."""
        for _, body in self._channel.frames():
            self._idle.clear()
            self._jobs.put(body)
        self._jobs.put(None)
        if not self._idle.is_set():
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def go_on(self) -> None:
        """Run what comes, in the main thread, as some libraries want it."""
        while (job := self._jobs.get()) is not None:
            result = run_job(job, self._began, self._report)
            self._idle.set()
            try:
                self._channel.send(RESULT, result)
            except OSError:
                return

    def _began(self) -> None:
        self._channel.send(BEGAN)

    def _report(self, done: float, total: float | None, message: str) -> None:
        self._channel.send(PROGRESS, json.dumps([done, total, message]).encode())


class _Sends(logging.Handler):
    """Sends log records to where somebody configured logging."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if record.exc_info and not record.exc_text:
                record.exc_text = logging.Formatter().formatException(record.exc_info)
            self._channel.send(LOG, log_record(record))
        except Exception:  # noqa: BLE001 - to log never fails a program, whatever is wrong with it
            self.handleError(record)
