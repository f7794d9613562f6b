"""What a process for steps does: one job after another, until nobody is there any more."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import signal
import socket
import threading

from gorkflow.engine._job import run_job
from gorkflow.engine._processes import BEGAN, LOG, PROGRESS, RESULT, Channel, log_record


def main(fd: int, lifeline: int, level: int) -> None:
    """Run jobs.

    Args:
        fd: the socket by which they come.
        lifeline: the pipe whose other end is closed when who sends them is gone.
        level: of the log records that somebody wants.
    """
    channel = Channel(socket.socket(fileno=fd))
    os.set_inheritable(fd, False)
    os.set_inheritable(lifeline, False)
    _die_with(lifeline)
    work = _Work(channel)
    threading.Thread(target=work.listen, daemon=True).start()
    root = logging.getLogger()
    root.setLevel(level)
    root.addHandler(_Sends(channel))
    work.go_on()


def _die_with(lifeline: int) -> None:
    """Have the kernel kill our process group when the other end of a pipe is closed.

    Linux alone can, by a signal of our choice (``F_SETSIG`` in fcntl(2)). Elsewhere the thread that
    listens has to notice, which a step that never lets go of the GIL prevents.
    """
    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is not None:
        fcntl.fcntl(lifeline, set_signal, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)


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
