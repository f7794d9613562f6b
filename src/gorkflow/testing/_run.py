"""The run of a test: in memory, in virtual time, with fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any, Generic, TypeVar, Unpack, cast, overload

from gorkflow._text import brief
from gorkflow.engine._start import StartOptions
from gorkflow.errors import RunCancelledError, RunFailedError
from gorkflow.events import Event
from gorkflow.model import Run, RunStatus, StepExecution
from gorkflow.step import StepDefaults
from gorkflow.testing._engine import VirtualEngine
from gorkflow.testing._instrument import Fakes, in_threads, with_fakes
from gorkflow.testing._scheduler import Scheduler
from gorkflow.testing.virtual_time import (
    START,
    StuckError,
    VirtualClock,
    VirtualLoop,
    in_own_thread,
    in_thread,
)
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")
Out_co = TypeVar("Out_co", covariant=True)
T = TypeVar("T")

Signals = Mapping[Any, object] | Iterable[tuple[Any, object]]
"""Payloads by signal or name; or pairs of the two, where one is sent several times."""

RUN_ID = "test-run"
_PAGE = 1_000


@dataclass(frozen=True, kw_only=True)
class Result(Generic[Out_co]):
    """The result of a run in a test.

    Example:
        >>> from gorkflow import Workflow, testing
        >>> result = testing.run_sync(Workflow("nap", input=int).sleep(60), 21)
        >>> result.output, str(result.status), result.events[-1].kind
        (21, 'completed', 'run_finished')
    """

    run: Run
    steps: Mapping[str, StepExecution]
    """Every step by path, in declared order, with those that were not reached."""
    events: tuple[Event, ...]
    error: RunFailedError | RunCancelledError | None
    """The error that ``engine.run`` would have raised."""
    order: tuple[tuple[str, int], ...] = ()
    """Under a seed: the attempts (path and number) in the order in which their results came."""

    @property
    def status(self) -> RunStatus:
        """The status of the run."""
        return self.run.status

    @property
    def output(self) -> Out_co:
        """The output of the run.

        Raises:
            RunFailedError: If the run failed.
            RunCancelledError: If the run was cancelled.
        """
        if self.error is not None:
            raise self.error
        return cast("Out_co", self.run.output)


@dataclass(frozen=True, kw_only=True)
class Play:
    """A run of a test, with its options."""

    workflow: Workflow[Any, Any]
    input: Any
    deps: object = None
    defaults: StepDefaults | None = None
    signals: Iterable[tuple[Any, object]] = ()
    sent: Callable[[], object] = lambda: None
    """Called after each signal."""
    start: datetime | float = START
    ordered: bool = False
    """True: handlers begin and end one at a time, in an order that ``seed`` draws."""
    seed: int | None = None
    """``None``: in declared order."""
    options: StartOptions

    async def played(self, engine: VirtualEngine, workflow: Workflow[Any, Any]) -> Result[Any]:
        """Run it to its end in an open engine."""
        options: StartOptions = {"run_id": RUN_ID, **self.options}
        handle = await engine.start(workflow, self.input, **options)
        for signal, payload in self.signals:
            await cast("Any", handle).send(signal, payload)
            self.sent()
        error: RunFailedError | RunCancelledError | None = None
        try:
            await _unless_stuck(handle.result(), engine, handle.run_id)
        except (RunFailedError, RunCancelledError) as caught:
            error = caught
        return await result_of(engine, handle.run_id, error)

    async def in_this_loop(self) -> Result[Any]:
        """Run it in an engine of its own."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        workflow = in_threads(self.workflow)
        async with VirtualEngine(deps=self.deps, defaults=self.defaults) as engine:
            try:
                if not self.ordered:
                    return await self.played(engine, workflow)
                with Scheduler(loop, None if self.seed is None else Random(self.seed)) as scheduler:
                    result = await self.played(engine, scheduler.watched(workflow))
                    return replace(result, order=tuple(scheduler.order))
            except StuckError:
                await engine.aclose(grace=0)  # nothing would come of waiting
                raise

    def make_loop(self) -> VirtualLoop:
        """Return a loop to run it in."""
        return VirtualLoop(VirtualClock(self.start))


async def result_of(
    engine: VirtualEngine, run_id: str, error: RunFailedError | RunCancelledError | None
) -> Result[Any]:
    """Return the result of a run that has ended."""
    events: list[Event] = []
    while page := await engine.store.read_events(run_id, after=len(events), limit=_PAGE):
        events += page
    return Result(
        run=await engine.get_run(run_id),
        steps={step.path: step for step in await engine.steps(run_id)},
        events=tuple(events),
        error=error,
    )


async def _unless_stuck(work: Coroutine[Any, Any, T], engine: VirtualEngine, run_id: str) -> T:
    """Wait for something, unless nothing can happen any more."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)  # the engine saw to it
    task = loop.create_task(work)
    stuck: asyncio.Future[T] = loop.create_future()

    def tell(error: StuckError) -> None:
        if not stuck.done():
            stuck.set_exception(error)

    loop.stuck.append(tell)
    try:
        await asyncio.wait([task, stuck], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        steps = await engine.steps(run_id)
        open_steps = [
            f"{step.path!r} ({step.status})" for step in steps if not step.status.terminal
        ]
        raise StuckError(f"{stuck.exception()}. Not ended: {', '.join(open_steps) or 'no step'}")
    finally:
        loop.stuck.remove(tell)
        task.cancel()
        stuck.cancel()


class PlayOptions(StartOptions, total=False):
    """Options of ``testing.run``, beside those of ``Engine.start``. All are optional.

    Example:
        from gorkflow import Signal, Workflow, testing

        approved = Signal("approved", str)
        asking = Workflow("asking", input=int).wait_for(approved)
        options: testing.PlayOptions = {"signals": {approved: "Ann"}, "seed": 1}
        assert testing.run_sync(asking, 7, **options).output == (7, "Ann")
    """

    fakes: Fakes | None
    """Fakes for steps; see ``with_fakes``."""
    signals: Signals
    """Signals to send after the start, in this order."""
    deps: object
    """As of ``Engine``."""
    defaults: StepDefaults | None
    """As of ``Engine``."""
    start: datetime | float
    """The first time of day."""
    seed: int | None
    """Handlers begin and end one at a time, in an order drawn from this seed; see ``explore``."""


def _check_play(workflow: Any, options: PlayOptions) -> None:
    """Check the options that only tests have."""
    if not isinstance(workflow, Workflow):
        raise TypeError(f"workflow must be a Workflow, not {brief(workflow)}")
    kinds: dict[str, Any] = {
        "signals": Iterable,
        "start": datetime | int | float,
        "seed": int | None,
    }
    for name, kind in kinds.items():
        given = options.get(name, ())
        if name in options and (not isinstance(given, kind) or isinstance(given, bool | str)):
            raise TypeError(f"{name} is of another kind: {brief(given)}; see PlayOptions")


def play_of(workflow: Workflow[Any, Any], input: Any, options: PlayOptions) -> Play:
    """Return the run of a test by its options."""
    _check_play(workflow, options)
    rest: dict[str, Any] = dict(options)
    fakes = rest.pop("fakes", None)
    signals: Any = rest.pop("signals", ())
    is_mapping = isinstance(signals, Mapping)
    sent: list[Any] = [*(cast("Any", signals).items() if is_mapping else signals)]
    if not all(type(pair) is tuple and len(pair) == 2 for pair in sent):
        raise TypeError(f"signals must be pairs of signal and payload, not {brief(signals)}")
    names = ("deps", "defaults", "start", "seed")
    own = {name: rest.pop(name) for name in names if name in rest}
    return Play(
        workflow=workflow if fakes is None else with_fakes(workflow, fakes),
        input=input,
        signals=tuple(sent),
        options=cast("StartOptions", rest),
        ordered=own.get("seed") is not None,
        **own,
    )


@overload
async def run(
    workflow: Workflow[None, Out], input: None = None, **options: Unpack[PlayOptions]
) -> Result[Out]: ...
@overload
async def run(
    workflow: Workflow[In, Out], input: In, **options: Unpack[PlayOptions]
) -> Result[Out]: ...
async def run(
    workflow: Workflow[Any, Out], input: Any = None, **options: Unpack[PlayOptions]
) -> Result[Out]:
    """Run a workflow in memory and in virtual time, and return its result.

    It runs in the running loop if that is virtual, else in a loop of its own, in a thread. So
    ``asyncio.sleep`` in a step takes no time. Steps of processes and executors run in threads here.

    Args:
        workflow: The workflow to run.
        input: Its input.
        options: Those of ``PlayOptions`` and of ``Engine.start``.

    Raises:
        WorkflowInvalidError: If a fake names an unknown step, or does not fit.
        InputInvalidError: If the input is not valid.
        StuckError: If it waits for ever, such as for a signal that is not given.

    Example:
        from gorkflow import Workflow, step, testing

        @step(retries=5)
        async def charge(cents: int) -> str:
            return "paid"

        paying = Workflow("paying", input=int).then(charge)
        result = await testing.run(paying, 990, fakes={charge: ConnectionError("offline")})
        assert result.steps["charge"].attempt == 6
        assert "offline" in str(result.error)
    """
    play = play_of(workflow, input, options)
    if isinstance(asyncio.get_running_loop(), VirtualLoop):
        return await play.in_this_loop()
    return await _in_thread(play)


@overload
def run_sync(
    workflow: Workflow[None, Out], input: None = None, **options: Unpack[PlayOptions]
) -> Result[Out]: ...
@overload
def run_sync(
    workflow: Workflow[In, Out], input: In, **options: Unpack[PlayOptions]
) -> Result[Out]: ...
def run_sync(
    workflow: Workflow[Any, Out], input: Any = None, **options: Unpack[PlayOptions]
) -> Result[Out]:
    """Run a workflow as ``run`` does, in a test that is not async. Blocks.

    Args:
        workflow: The workflow to run.
        input: Its input.
        options: Those of ``PlayOptions`` and of ``Engine.start``.

    Raises:
        WorkflowInvalidError: If a fake names an unknown step, or does not fit.
        InputInvalidError: If the input is not valid.
        StuckError: If it waits for ever, such as for a signal that is not given.

    Example:
        >>> from gorkflow import Workflow, testing
        >>> testing.run_sync(Workflow("night", input=str).sleep(8 * 3600), "tea").output
        'tea'
    """
    play = play_of(workflow, input, options)
    return in_own_thread(lambda: whole(play))


def whole(play: Play) -> Result[Any]:
    """Run it in a loop of its own. Blocks."""
    with asyncio.Runner(loop_factory=play.make_loop) as runner:
        return runner.run(play.in_this_loop())


async def _in_thread(play: Play) -> Result[Any]:
    """Run it in a thread. A cancel of the caller cancels it."""
    inside: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def main() -> Result[Any]:
        inside.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await play.in_this_loop()

    def work() -> Result[Any]:
        with asyncio.Runner(loop_factory=play.make_loop) as runner:
            return runner.run(main())

    try:
        return await asyncio.wrap_future(in_thread(work))
    except asyncio.CancelledError:
        for loop, task in inside:
            if task is not None and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
        raise
