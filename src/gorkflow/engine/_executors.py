"""The executors of an engine: threads, our own processes, and the executors that it was given.

A place takes work and a ``Report``, to which it reports on the event loop how the handler ended;
what a result means, and when it comes too late, is the attempt's business. Async handlers need no
place: they are tasks, see ``_attempt``.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gorkflow._logs import REDACTION
from gorkflow._text import brief, did_you_mean
from gorkflow.engine._processes import BEGAN, LINE, LOG, Process, ProcessPool
from gorkflow.engine._remote_job import Log, result_of, run_job
from gorkflow.engine._results import RemoteError
from gorkflow.language.placement import LOCAL, PROCESS, reference_of
from gorkflow.step import Step

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor, Future

    from gorkflow.engine._threads import ThreadPool
    from gorkflow.redaction import Redaction
    from gorkflow.state_changes import Write

logger = logging.getLogger("gorkflow.step")

BUILT_IN = (*LOCAL, PROCESS)

Stop = Callable[[], bool]
"""Stops a handler. Returns whether that can be done: the handler then reports its end."""


class Report(Protocol):
    """Receives what becomes of a handler, on the event loop unless said otherwise."""

    cancelled: bool
    """True if its result will be ignored."""

    @property
    def label(self) -> str:
        """The step, for messages."""
        ...

    def may_begin(self) -> bool:
        """Return, right before the handler begins, whether it should. From any thread."""
        ...

    def began_there(self) -> None:
        """The handler began in another process."""
        ...

    @property
    def redaction(self) -> Redaction | None:
        """It leaves the secrets of the run out of logs; ``None``: there are none."""
        ...

    def report(self, done: float, total: float | None, message: str) -> None:
        """Take a progress report of the handler. From any thread."""
        ...

    def log(self, level: int, text: str) -> None:
        """Keep a line of the handler's log. From any thread."""
        ...

    def logged_there(self, log: Log) -> None:
        """Keep the log of a handler that ran elsewhere. From any thread."""
        ...

    def ended(self, output: bytes | None, error: BaseException | None) -> None:
        """The work could not be handed over."""
        ...

    def ended_there(
        self,
        ran: float,
        output: bytes | None,
        writes: tuple[Write, ...],
        error: BaseException | None,
    ) -> None:
        """The handler ended in another process, in which it ran for so many seconds."""
        ...


class Executors:
    """The places where handlers run that are not tasks.

    Args:
        loop: the engine's.
        threads: for sync steps.
        given: by name, as ``Engine(executors=…)``.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, threads: ThreadPool, given: Mapping[str, Executor]
    ) -> None:
        self.loop = loop
        self.threads = threads
        self.processes = ProcessPool()
        self.given = given

    def in_thread(
        self,
        work: Callable[[], Any],
        done: Callable[[Any, BaseException | None], None],
        report: Report,
    ) -> Stop:
        """Call ``work`` in a thread, then ``done`` on the loop with its result or its error."""
        self.threads.submit(partial(self._in_thread, work, done, report))
        return _cannot_stop

    def _in_thread(
        self,
        work: Callable[[], Any],
        done: Callable[[Any, BaseException | None], None],
        report: Report,
    ) -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001 - outcome as data
            error = caught
        self.post(partial(_left_thread, done, result, error), report)
        error = None  # its traceback has this frame, which would be a cycle

    def send(self, executor: str, job: Callable[[], bytes], report: Report) -> Stop:
        """Have a job run in a process, or by a given executor.

        Args:
            executor: its name.
            job: returns the job, for ``run_job``; if it raises, the work has ended by that.
            report: receives what becomes of it.
        """
        given = None if executor == PROCESS else self.given[executor]
        try:
            made = job()
            if given is not None:
                return _Elsewhere(made, report, self, given).stop
        except Exception as error:  # noqa: BLE001 - outcome as data
            self.post(partial(report.ended, None, error), report)
            return _ends_anyway
        return _InProcess(made, report, self).stop

    def post(self, call: Callable[[], object], report: Report) -> None:
        """Call something on the event loop, from any thread."""
        try:
            self.loop.call_soon_threadsafe(call)
        except RuntimeError:
            logger.log(
                # Nothing waits for the result of an attempt that was cancelled or timed out.
                logging.DEBUG if report.cancelled else logging.WARNING,
                "%s ended after its event loop was closed; its result is lost",
                report.label,
            )

    def post_result(self, answer: Callable[[], bytes], report: Report) -> None:
        """Report how a job ended, from any thread.

        Args:
            answer: returns what the job gave, or raises why there is nothing.
            report: receives it.
        """
        output: bytes | None = None
        error: BaseException | None = None
        writes: tuple[Write, ...] = ()
        ran = 0.0
        try:
            ran, output, writes = result_of(answer(), report.logged_there)
        except RemoteError as caught:
            error, ran = caught, caught.ran
        except Exception as caught:  # noqa: BLE001 - outcome as data
            error = caught
        self.post(partial(report.ended_there, ran, output, writes, error), report)
        error = None  # as above

    def close(self) -> None:
        """Let threads and processes end."""
        self.threads.close()
        self.processes.close()


def _cannot_stop() -> bool:
    return False


def _ends_anyway() -> bool:
    return True


def _left_thread(
    done: Callable[[Any, BaseException | None], None], result: Any, error: BaseException | None
) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error  # in the loop's thread, where it stops the program
    done(result, error)


class _InProcess:
    """A plain function in one of our processes, which is killed to stop it."""

    def __init__(self, job: bytes, report: Report, executors: Executors) -> None:
        self._job = job
        self._report = report
        self._executors = executors
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._stopped = False
        executors.threads.submit(self._run)

    def _run(self) -> None:
        run = self._executors.processes.run
        answer = partial(run, self._job, self._received, self._taken)
        self._executors.post_result(answer, self._report)

    def _taken(self, process: Process | None) -> bool:
        with self._lock:
            self._process = process
            stopped = self._stopped
        return process is None or (not stopped and self._report.may_begin())

    def _received(self, kind: str, body: bytes) -> None:
        if kind == BEGAN:
            self._executors.post(self._report.began_there, self._report)
        elif kind == LOG:
            record = logging.makeLogRecord(json.loads(body))
            name = logging.getLogger(record.name)
            if name.isEnabledFor(record.levelno):
                if self._report.redaction is not None and record.name.startswith("gorkflow."):
                    vars(record)[REDACTION] = self._report.redaction
                name.handle(record)
        elif kind == LINE:
            self._report.log(*json.loads(body))
        else:
            self._report.report(*json.loads(body))

    def stop(self) -> bool:
        with self._lock:  # or it might be another attempt's by now
            self._stopped = True
            if self._process is not None:
                self._process.kill()
        return True


class _Elsewhere:
    """A plain function on an executor that the engine was given."""

    def __init__(
        self, job: bytes, report: Report, executors: Executors, executor: Executor
    ) -> None:
        self._report = report
        self._executors = executors
        self._future: Future[bytes] | None = executor.submit(run_job, job)
        self._future.add_done_callback(self._done)

    def _done(self, future: Future[bytes]) -> None:
        """Take the result, in the thread in which the executor calls back."""
        self._future = None  # it keeps its callbacks, and so us
        self._executors.post_result(future.result, self._report)

    def stop(self) -> bool:
        future = self._future
        return future is None or future.cancel()  # or it has ended, and reports that any moment


def checked(given: Mapping[str, Executor]) -> Mapping[str, Executor]:
    """Return the executors that an engine was given.

    Raises:
        ValueError: If one has a reserved name: "loop", "thread" or "process".
        TypeError: If one is not an executor.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"executors must map names to executors, not {brief(given)}")
    for name, executor in given.items():
        if not isinstance(name, str):
            raise TypeError(f"executors: a name must be a text, not {brief(name)}")
        if name in BUILT_IN:
            raise ValueError(f"executors: {name!r} is a reserved name; choose another")
        if not callable(getattr(executor, "submit", None)):
            raise TypeError(
                f"executors[{name!r}] must have submit(), as those of concurrent.futures, but is "
                f"{brief(executor)}"
            )
    return dict(given)


def misplaced(step: Step[Any, Any], executor: str, known: frozenset[str]) -> str:
    """Return why an engine can't run a step where it should run; empty if it can.

    Args:
        step: the step.
        executor: where it should run.
        known: the names that the engine was given executors for.
    """
    if executor in LOCAL:
        return ""
    if executor != PROCESS and executor not in known:
        have = ", ".join(sorted(map(repr, known))) or "none"
        near = did_you_mean(executor, (PROCESS, *known), "")
        hint = f"{near} Or " if near else ""
        return (
            f"step {step.id!r} runs on executor {executor!r}, which this engine does not have "
            f"(it has {have}); {hint}give it one: Engine(executors={{{executor!r}: …}})"
        )
    if _is_found(step):
        return ""
    return (
        f"step {step.id!r} runs on executor {executor!r}, which finds {reference_of(step.fn)!r} by "
        "that name, and finds something else; give the function a name of its own, at the top "
        "level of its module"
    )


def _is_found(step: Step[Any, Any]) -> bool:
    module, _, name = reference_of(step.fn).partition(":")
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is step.fn or (isinstance(found, Step) and found.fn is step.fn)
