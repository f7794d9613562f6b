"""Our own processes for steps: each runs one attempt at a time, can be killed, and is used again.

Theory of operation
-------------------
A process is a fresh interpreter (never a fork: threads and event loops don't survive one) that
talks with us over a socket, in frames: a letter, a length, a body. It gets jobs, and answers with
``began``, log records, progress and the result. A thread of ours waits for these, so that the event
loop has nothing to do with it.

It is the leader of a process group of its own: what a step starts dies with it when it is killed,
and Ctrl-C in the terminal is our business alone.

When we die, it dies, so no step runs on for a run that another worker takes over. Our ends of the
socket and of a pipe, the lifeline, close then; on Linux the kernel kills the group for the latter,
whatever it is doing, and elsewhere a thread of it does for the former, if the step lets threads
run. A fork of ours (a pool of somebody's, say) must not keep these ends open: it closes them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from gorkflow.errors import ProcessDiedError, UnavailableError

Told = Callable[[str, bytes], None]
"""Takes what a process says before its result: a letter and a body."""
JOB, BEGAN, LOG, PROGRESS, RESULT = "JBLPR"
_HEADER = 9
_BOOT = """
import sys
sys.path[:] = {path!r}
from gorkflow.engine._child import main
main({fd}, {lifeline}, {level})
"""


class _End(Protocol):
    """Something whose other end is in another process, which notices when all of this one close."""

    def abandon(self) -> None:
        """Close it in a fork of this process, where it is of no use."""
        ...


_ends: weakref.WeakSet[_End] = weakref.WeakSet()


def _abandon_all() -> None:
    for end in list(_ends):
        with suppress(OSError):
            end.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


class Lifeline:
    """A pipe through which nothing is sent: who reads it learns that the writer is gone."""

    def __init__(self) -> None:
        self.theirs, self._ours = os.pipe()
        _ends.add(self)

    def handed_over(self) -> None:
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
        """Close our end in a fork of this process; the connection goes on."""
        os.close(self._connection.detach())

    def send(self, kind: str, body: bytes = b"") -> None:
        """Send a frame.

        Raises:
            OSError: the other end is gone.
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
        """Close our end."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._connection.close()


class Process:
    """One process for steps.

    Raises:
        UnavailableError: this system has no such processes.
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
        self._lifeline.handed_over()
        self._channel = Channel(ours)
        self._lock = threading.Lock()
        self._killed = False
        self.pid = self._popen.pid
        self.used = False

    def run(self, job: bytes, told: Told) -> bytes:
        """Run a job and return its result. Blocks.

        Args:
            job: for ``_job.run_job``.
            told: takes what it says meanwhile.

        Raises:
            ProcessDiedError: the process ended; ``kill`` may have been called.
        """
        with suppress(OSError):  # if it is gone, there are no frames either
            self._channel.send(JOB, job)
            for kind, body in self._channel.frames():
                if kind == RESULT:
                    self.used = True
                    return body
                told(kind, body)
        raise ProcessDiedError(self._post_mortem())

    def _post_mortem(self) -> str:
        self._end(signal.SIGKILL)
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
        self._end(signal.SIGKILL)

    def let_go(self) -> None:
        """Let an idle process end."""
        self._channel.close()

    def wait(self) -> None:
        """Wait for the end of a process that was let go; it gets a second."""
        try:
            self._popen.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._end(signal.SIGKILL)
            self._popen.wait()
        self._lifeline.cut()

    def _end(self, number: int) -> None:
        with self._lock, suppress(ProcessLookupError, PermissionError):
            if self._popen.returncode is None:
                os.killpg(self.pid, number)


class ProcessPool:
    """Processes that are made when needed and kept until ``close``.

    The number of processes is bounded by who submits (see ``_admission``), not here.
    """

    def __init__(self) -> None:
        self._idle: list[Process] = []
        self._lock = threading.Lock()
        self._closed = False

    def run(self, job: bytes, told: Told, taken: Callable[[Process | None], bool]) -> bytes:
        """Run a job in some process and return its result. Blocks.

        Args:
            job: for ``_job.run_job``.
            told: takes what the process says meanwhile.
            taken: called with the process, and with ``None`` before that has other work; returns
                whether the job is still wanted.

        Raises:
            ProcessDiedError: the process ended before the job did.
            UnavailableError: this system has no such processes.
        """
        while True:
            process = self._take()
            began = not process.used
            if not taken(process):
                taken(None)
                self._give_back(process)
                raise ProcessDiedError("it was stopped before it began")

            def noted(kind: str, body: bytes) -> None:
                nonlocal began
                began = True
                told(kind, body)

            try:
                result = process.run(job, noted)
            except ProcessDiedError:
                if began:
                    raise
                continue  # it died while it was idle, which is nobody's fault here
            taken(None)
            self._give_back(process)
            return result

    def _take(self) -> Process:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Process()

    def _give_back(self, process: Process) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.let_go()
        process.wait()

    def close(self) -> None:
        """Let idle processes end; those that work end after their work, unless they are killed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.let_go()
        for process in idle:
            process.wait()


def log_record(record: Any) -> bytes:
    """Return a log record as bytes: what can be said of it in plain data."""
    fields = {
        name: value
        for name, value in record.__dict__.items()
        if isinstance(value, str | int | float | None) and name not in {"msg", "args"}
    }
    return json.dumps({**fields, "msg": record.getMessage()}).encode()
