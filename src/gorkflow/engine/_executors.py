"""Where handlers run: on the event loop, in a thread, in a process of ours, or somewhere else.

Each place has one class. It is made to start an attempt's handler; it tells the attempt, on the
event loop, when the handler began (``began``) and how it ended (``ended``); and it can ``stop`` it.
Everything else, what a result means and when it comes too late, is the attempt's business.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from gorkflow._text import brief
from gorkflow.engine._job import result_of, run_job
from gorkflow.engine._processes import BEGAN, LOG, Process, ProcessPool
from gorkflow.engine._results import RemoteError
from gorkflow.engine._shipping import job_of
from gorkflow.engine._watchdog import roots
from gorkflow.engine._within import context_of
from gorkflow.errors import StepCancelledError
from gorkflow.language._hazards import is_async_function, unwrapped
from gorkflow.language._placement import LOCAL, PROCESS, reference_of
from gorkflow.step import Step

if TYPE_CHECKING:
    from contextvars import Context

    from gorkflow.engine._attempt import Attempt
    from gorkflow.engine._threads import ThreadPool

logger = logging.getLogger("gorkflow.step")

BUILT_IN = (*LOCAL, PROCESS)


class Handler(Protocol):
    """A handler that was started."""

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task in which it runs, if it does."""
        ...

    def stop(self) -> bool:
        """Stop it. Return whether that can be done: it then says so when it has ended."""
        ...


class Executors:
    """The places where an engine's handlers run.

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

    def start(self, attempt: Attempt) -> Handler:
        """Start the handler of an attempt."""
        match attempt.command.spec.executor:
            case "loop":
                return _OnLoop(attempt, self.loop)
            case "thread":
                return _InThread(attempt, self)
            case "process":
                return _InProcess(attempt, self)
            case name:
                return _Elsewhere(attempt, self, self.given[name])

    def post(self, call: Callable[[], object], attempt: Attempt) -> None:
        """Call something on the event loop, from any thread."""
        try:
            self.loop.call_soon_threadsafe(call)
        except RuntimeError:
            logger.log(
                # Nobody waits for the result of an attempt that was cancelled or timed out.
                logging.DEBUG if attempt.cancelled else logging.WARNING,
                "step %r of run %r ended after its event loop was closed; its result is lost",
                attempt.command.path,
                attempt.driver.run_id,
            )

    def tell(self, attempt: Attempt, answer: Callable[[], bytes]) -> None:
        """Tell an attempt, from any thread, how its job ended.

        Args:
            attempt: whose job it was.
            answer: returns what the job gave, or raises why there is nothing.
        """
        output: bytes | None = None
        error: BaseException | None = None
        ran = 0.0
        try:
            ran, output, attempt.writes = result_of(answer())
        except RemoteError as caught:
            error, ran = caught, caught.ran
        except Exception as caught:  # noqa: BLE001 - outcome as data
            error = caught
        self.post(partial(attempt.ended_after, ran, output, error), attempt)
        error = None  # its traceback has this frame, which would be a cycle

    def close(self) -> None:
        """Let threads and processes end."""
        self.threads.close()
        self.processes.close()


class _OnLoop:
    """An async handler: a task.

    Args:
        attempt: whose handler it is.
        loop: the engine's.
        begun: what the handler has given to be awaited, and its context, if it was called already.
    """

    __slots__ = ("_attempt", "_is_under_way", "task")

    def __init__(
        self,
        attempt: Attempt,
        loop: asyncio.AbstractEventLoop,
        begun: tuple[Coroutine[Any, Any, Any], Context] | None = None,
    ) -> None:
        self._attempt = attempt
        self._is_under_way = False
        if begun is None and attempt.command.spec.timeout is not None:
            attempt.count_down()
        coroutine, context = begun or (None, context_of(attempt))
        self.task: asyncio.Task[None] | None = loop.create_task(
            self._run(coroutine), name=attempt.command.path, context=context
        )

    async def _run(self, coroutine: Coroutine[Any, Any, Any] | None) -> None:
        attempt = self._attempt
        self._is_under_way = True
        output, error = None, None
        try:
            output = attempt.returned(await (coroutine or attempt.call()))
        except (KeyboardInterrupt, SystemExit):
            raise  # not a failure of the step: somebody wants the program to stop
        except BaseException as caught:
            error = caught
            if isinstance(caught, asyncio.CancelledError) and self._means_nothing():
                raise  # the attempt has no result, and runs again
        attempt.ended(output, error)
        error = None  # its traceback has this frame, which would be a cycle

    roots[_run.__code__] = attrgetter("_attempt")

    def _means_nothing(self) -> bool:
        """Return whether we were cancelled because the whole program stops."""
        attempt, task = self._attempt, self.task
        cancelled = task is not None and task.cancelling() > 0
        return cancelled and not attempt.cancelled and attempt.driver.runtime.is_shutting_down()

    def stop(self) -> bool:
        assert self.task is not None  # it was made at once
        self.task.cancel()
        if not self._is_under_way:  # then it never will be, and nobody else says that it has ended
            error = asyncio.CancelledError()
            self.task.get_loop().call_soon(self._attempt.ended, None, error)
        return True


class _InThread:
    """A plain function in one of our threads, which nothing can stop."""

    def __init__(self, attempt: Attempt, executors: Executors) -> None:
        self._attempt = attempt
        self._executors = executors
        self._rest: _OnLoop | None = None
        self._context = context = context_of(attempt)
        attempt.count_down()
        executors.threads.submit(lambda: context.run(self._run))

    @property
    def task(self) -> asyncio.Task[None] | None:
        return None if self._rest is None else self._rest.task

    def _run(self) -> None:
        attempt = self._attempt
        output, error = None, None
        try:
            value = attempt.call()
            if inspect.iscoroutine(value) and is_async_function(unwrapped(attempt.step.fn)):
                self._executors.post(partial(self._go_on, value), attempt)
                return
            output = attempt.returned(value)
        except BaseException as caught:  # noqa: BLE001 - outcome as data
            error = caught
        self._executors.post(partial(self._ended, output, error), attempt)
        error = None  # as above

    def _go_on(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Await what a plain function around an async one has handed on instead of its result."""
        attempt = self._attempt
        if attempt.cancelled:
            coroutine.close()
            attempt.ended(None, StepCancelledError("it was stopped before it began"))
        else:
            self._rest = _OnLoop(attempt, self._executors.loop, (coroutine, self._context))

    def _ended(self, output: bytes | None, error: BaseException | None) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error  # in the loop's thread, where it stops the program
        self._attempt.ended(output, error)

    def stop(self) -> bool:
        return self._rest is not None and self._rest.stop()


class _InProcess:
    """A plain function in a process of ours, which is killed to stop it."""

    task: asyncio.Task[None] | None = None

    def __init__(self, attempt: Attempt, executors: Executors) -> None:
        self._attempt = attempt
        self._executors = executors
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._stopped = False
        try:
            job = job_of(attempt)
        except Exception as error:  # noqa: BLE001 - outcome as data
            executors.post(partial(attempt.ended, None, error), attempt)
        else:
            executors.threads.submit(lambda: self._run(job))

    def _run(self, job: bytes) -> None:
        run = self._executors.processes.run
        self._executors.tell(self._attempt, lambda: run(job, self._told, self._taken))

    def _taken(self, process: Process | None) -> bool:
        with self._lock:
            self._process = process
            stopped = self._stopped
        return process is None or (not stopped and self._attempt.may_begin())

    def _told(self, kind: str, body: bytes) -> None:
        if kind == BEGAN:
            self._executors.post(self._began, self._attempt)
        elif kind == LOG:
            record = logging.makeLogRecord(json.loads(body))
            name = logging.getLogger(record.name)
            if name.isEnabledFor(record.levelno):
                name.handle(record)
        else:
            self._attempt.report(*json.loads(body))

    def _began(self) -> None:
        self._attempt.began()
        self._attempt.begins()
        self._attempt.count_down()

    def stop(self) -> bool:
        with self._lock:  # or it might be another attempt's by now
            self._stopped = True
            if self._process is not None:
                self._process.kill()
        return True


class _Elsewhere:
    """A plain function on an executor that the engine was given."""

    task: asyncio.Task[None] | None = None

    def __init__(self, attempt: Attempt, executors: Executors, executor: Executor) -> None:
        self._attempt = attempt
        self._executors = executors
        self._future: Future[bytes] | None = None
        attempt.begins()  # as far as we know
        attempt.count_down()
        try:
            self._future = executor.submit(run_job, job_of(attempt))
        except Exception as error:  # noqa: BLE001 - outcome as data
            executors.post(partial(attempt.ended, None, error), attempt)
        else:
            self._future.add_done_callback(self._done)

    def _done(self, future: Future[bytes]) -> None:
        """Take the result, in whichever thread the executor calls back."""
        self._future = None  # it keeps its callbacks, and so us
        self._executors.tell(self._attempt, future.result)

    def stop(self) -> bool:
        future = self._future
        return future is None or future.cancel()  # or it has ended, and says so any moment


def checked(given: Mapping[str, Executor]) -> Mapping[str, Executor]:
    """Return the executors that an engine was given.

    Raises:
        ValueError: one has the name of a place that every engine has.
        TypeError: one is no executor.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"executors must map names to executors, not {brief(given)}")
    for name, executor in given.items():
        if not isinstance(name, str):
            raise TypeError(f"executors: a name must be a text, not {brief(name)}")
        if name in BUILT_IN:
            raise ValueError(f"executors: {name!r} is a name of ours; choose another")
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
        import difflib  # only for this error

        have = ", ".join(sorted(map(repr, known))) or "none"
        near = difflib.get_close_matches(executor, (PROCESS, *known), 1)
        hint = f"did you mean {near[0]!r}? Or " if near else ""
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
