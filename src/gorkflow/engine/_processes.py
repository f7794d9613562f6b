"""Our own processes for steps: each runs one attempt at a time, can be killed, and is used again.

Theory of operation
-------------------
A process is a fresh interpreter (never a fork: threads and event loops don't survive one) that
talks with us over a socket, in frames: a letter, a length, a body. It gets jobs, and answers with
``began``, log records, lines to keep, progress and the result. One of our threads waits for these,
so that the event loop has nothing to do with it.

It is the leader of a process group of its own: what a step starts dies with it when it is killed,
and Ctrl-C in the terminal is our business alone.

When we die, it dies, so no step of a run that another worker takes over is still running. Our ends
of the socket and of a pipe, the lifeline, close then. On Linux, the closed
lifeline makes the kernel kill the group, even if it is busy. Elsewhere the closed socket makes one
of its threads do it, if the step lets threads run. A fork of our program must not keep these ends
open: it closes them.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

from gorkflow.engine._remote_job import run_job
from gorkflow.errors import ProcessDiedError, UnavailableError

Receive = Callable[[str, bytes], None]
"""Takes what a process sends before its result: a letter and a body."""
JOB, BEGAN, LOG, LINE, PROGRESS, RESULT = "JBLKPR"
_HEADER = 9
_BOOT = """
import sys
sys.path[:] = {path!r}
from gorkflow.engine._processes import main
main({fd}, {lifeline}, {level})
"""


# ---- the connection ---------------------------------------------------------------------------


class Lifeline:
    """A pipe through which nothing is sent: its reader notices when the writer dies."""

    def __init__(self) -> None:
        self.theirs, self._ours = os.pipe()
        _ends.add(self)

    def close_theirs(self) -> None:
        """Close the end that another process has now."""
        os.close(self.theirs)

    def cut(self) -> None:
        """Close our end, once."""
        ours, self._ours = self._ours, -1
        if ours >= 0:
            os.close(ours)

    abandon = cut


class Channel:
    """Frames over a socket. Several threads may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        self._lock = threading.Lock()
        _ends.add(self)

    def abandon(self) -> None:
        """Close our end in a fork of this process, but not the connection."""
        os.close(self._connection.detach())

    def send(self, kind: str, body: bytes = b"") -> None:
        """Send a frame.

        Raises:
            OSError: If the other end is closed.
        """
        with self._lock:
            self._connection.sendall(kind.encode() + len(body).to_bytes(_HEADER - 1, "big"))
            if body:
                self._connection.sendall(body)

    def frames(self) -> Iterator[tuple[str, bytes]]:
        """Yield what comes, until the other end is closed."""
        with suppress(OSError):
            while len(header := self._file.read(_HEADER)) == _HEADER:
                length = int.from_bytes(header[1:], "big")
                body = self._file.read(length)
                if len(body) < length:
                    return
                yield header[:1].decode(), body

    def close(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._connection.close()


_ends: weakref.WeakSet[Lifeline | Channel] = weakref.WeakSet()


def _abandon_all() -> None:
    for end in list(_ends):
        with suppress(OSError):
            end.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


# ---- here -------------------------------------------------------------------------------------


class Process:
    """One process for steps.

    Raises:
        UnavailableError: If this system has no such processes.
    """

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise UnavailableError(
                "executor='process' needs Linux or macOS; give Engine(executors={'pool': "
                "ProcessPoolExecutor()}) and write executor='pool'"
            )
        ours, theirs = socket.socketpair()
        wanted = logging.getLogger("gorkflow.step").getEffectiveLevel()
        level = min(logging.getLogger().level, wanted)
        path = [item for item in sys.path if isinstance(item, str)]
        self._lifeline = Lifeline()
        boot = _BOOT.format(
            path=path, fd=theirs.fileno(), lifeline=self._lifeline.theirs, level=level
        )
        self._popen = subprocess.Popen(  # noqa: S603 - our own interpreter, and our own words
            [sys.executable, "-c", boot],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), self._lifeline.theirs],
            start_new_session=True,
        )
        theirs.close()
        self._lifeline.close_theirs()
        self._channel = Channel(ours)
        self._lock = threading.Lock()
        self.pid = self._popen.pid
        self.used = False

    def run(self, job: bytes, receive: Receive) -> bytes:
        """Run a job and return its result. Blocks.

        Raises:
            ProcessDiedError: If the process ended, by itself or by ``kill``.
        """
        with suppress(OSError):  # if it is dead, there are no frames either
            self._channel.send(JOB, job)
            for kind, body in self._channel.frames():
                if kind == RESULT:
                    self.used = True
                    return body
                receive(kind, body)
        raise ProcessDiedError(self._post_mortem())

    def _post_mortem(self) -> str:
        self.kill()
        code = self._popen.wait()
        self._channel.close()
        self._lifeline.cut()
        if code >= 0:
            return f"the process in which it ran ended by itself, with exit code {code}"
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        why = " (the system may have run out of memory)" if -code == signal.SIGKILL else ""
        return f"the process in which it ran was killed by {name}{why}"

    def kill(self) -> None:
        """Kill it, and what it started. ``run`` then raises."""
        with self._lock, suppress(ProcessLookupError, PermissionError):
            if self._popen.returncode is None:
                os.killpg(self.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """Have an idle process end."""
        self._channel.close()

    def wait(self) -> None:
        """Wait for the end of a dismissed process; it gets a second."""
        try:
            self._popen.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.kill()
            self._popen.wait()
        self._lifeline.cut()


class ProcessPool:
    """Processes that are made when needed and kept until ``close``.

    ``_admission`` bounds their number.
    """

    def __init__(self) -> None:
        self._idle: list[Process] = []
        self._lock = threading.Lock()
        self._closed = False

    def run(self, job: bytes, receive: Receive, taken: Callable[[Process | None], bool]) -> bytes:
        """Run a job in some process and return its result. Blocks.

        Args:
            job: for ``run_job``.
            receive: takes what the process sends meanwhile.
            taken: called with the process, and with ``None`` before that has other work; returns
                whether the job is still wanted.

        Raises:
            ProcessDiedError: If the process ended before the job did.
            UnavailableError: If this system has no such processes.
        """
        while True:
            process = self._take()
            began = not process.used
            if not taken(process):
                taken(None)
                self._put_back(process)
                raise ProcessDiedError("it was stopped before it began")

            def received(kind: str, body: bytes) -> None:
                nonlocal began
                began = True
                receive(kind, body)

            try:
                result = process.run(job, received)
            except ProcessDiedError:
                if began:
                    raise
                continue  # it died while it was idle, which is not the job's fault
            taken(None)
            self._put_back(process)
            return result

    def _take(self) -> Process:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Process()

    def _put_back(self, process: Process) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.dismiss()
        process.wait()

    def close(self) -> None:
        """End idle processes; those that work end after their work, unless they are killed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.dismiss()
        for process in idle:
            process.wait()


# ---- there ------------------------------------------------------------------------------------


def main(fd: int, lifeline: int, level: int) -> None:
    """Run jobs, one after another, until the process that sends them ends.

    Args:
        fd: the socket by which they come.
        lifeline: our end of its lifeline.
        level: of the log records that it wants.
    """
    channel = Channel(socket.socket(fileno=fd))
    os.set_inheritable(fd, False)
    os.set_inheritable(lifeline, False)
    _die_with(lifeline)
    worker = _Worker(channel)
    threading.Thread(target=worker.listen, daemon=True).start()
    root = logging.getLogger()
    root.setLevel(level)
    root.addHandler(_Sends(channel))
    worker.run_jobs()


def _die_with(lifeline: int) -> None:
    """Have the kernel kill our process group when the other end of a pipe is closed.

    Only Linux can, by a signal of our choice (``F_SETSIG`` in fcntl(2)). Elsewhere the thread that
    listens has to notice, which a step that never releases the GIL prevents.
    """
    import fcntl  # Windows has none

    set_signal = getattr(fcntl, "F_SETSIG", None)
    if set_signal is not None:
        fcntl.fcntl(lifeline, set_signal, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)


class _Worker:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()

    def listen(self) -> None:
        """Take jobs, and notice the end of the process that sends them."""
        for _, body in self._channel.frames():
            self._idle.clear()
            self._jobs.put(body)
        self._jobs.put(None)
        if not self._idle.is_set():
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def run_jobs(self) -> None:
        """Run what comes, in the main thread, as some libraries want it."""
        while (job := self._jobs.get()) is not None:
            result = run_job(job, self._began, self._report, self._log)
            self._idle.set()
            try:
                self._channel.send(RESULT, result)
            except OSError:
                return

    def _began(self) -> None:
        self._channel.send(BEGAN)

    def _report(self, done: float, total: float | None, message: str) -> None:
        with suppress(OSError):  # nobody is there any more, and so this process ends
            self._channel.send(PROGRESS, json.dumps([done, total, message]).encode())

    def _log(self, level: int, text: str) -> None:
        with suppress(OSError):  # nobody is there any more, and so this process ends
            self._channel.send(LINE, json.dumps([level, text]).encode())


class _Sends(logging.Handler):
    """Sends log records to the process in which logging was configured."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if record.exc_info and not record.exc_text:
                record.exc_text = logging.Formatter().formatException(record.exc_info)
            self._channel.send(LOG, _plain(record))
        except Exception:  # noqa: BLE001 - to log never fails a program, whatever is wrong with it
            self.handleError(record)


def _plain(record: logging.LogRecord) -> bytes:
    """Return what of a log record is plain data, as JSON."""
    fields = {
        name: value
        for name, value in record.__dict__.items()
        if isinstance(value, str | int | float | None) and name not in {"msg", "args"}
    }
    return json.dumps({**fields, "msg": record.getMessage()}).encode()
