"""The engine in virtual time."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from os import PathLike
from typing import Any, cast

from gorkflow.engine._executors import Executors, Report, Stop
from gorkflow.engine._threads import ThreadPool
from gorkflow.engine.engine import Engine
from gorkflow.step import StepDefaults
from gorkflow.store import Store, Transition, Written
from gorkflow.stores import open_store
from gorkflow.testing.virtual_time import VirtualLoop, outside
from gorkflow.workflow import Workflow

_LEASE = 1e9  # seconds: a jump of time is no lapse


class VirtualEngine(Engine):
    """An engine that runs in virtual time: open it in a ``VirtualLoop``.

    Use it for several runs, or for signals and cancellations at certain times. For a single run,
    ``testing.run`` is simpler. It differs from ``Engine``: time waits for its threads and its
    store. ``seed`` draws the jitter of retries. Runs that only wait stay in memory. It takes over
    runs of other engines on opening and by ``recover()`` only.

    Args:
        store: A ``Store``, or a URL; the default is a fresh memory store.
        workflows: As of ``Engine``.
        deps: As of ``Engine``.
        defaults: As of ``Engine``.
        seed: The seed of the jitter.
        options: The other options of ``Engine``.

    Example:
        import asyncio

        from gorkflow import Workflow, testing

        waiting = Workflow("waiting", input=int).sleep(3600)


        async def test() -> None:
            async with testing.VirtualEngine() as engine:
                handle = await engine.start(waiting, 1)
                await asyncio.sleep(1800)
                assert (await handle.info()).status == "suspended"
                assert await handle.result() == 1


        testing.in_virtual_time(test())
    """

    def __init__(
        self,
        store: Store | str | PathLike[str] = "memory:",
        *,
        workflows: Iterable[Workflow[Any, Any]] = (),
        deps: object = None,
        defaults: StepDefaults | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        opened = open_store(store) if isinstance(store, str | PathLike) else store
        options.setdefault("lease", _LEASE)
        outside = cast("Store", Outside(opened))
        # Without `recover`, runs that only wait stay here, and wake on the instant they are due:
        # those that leave are woken by a heartbeat, which time does not jump to.
        self._recovers_once = options.pop("recover", True)
        super().__init__(
            outside, workflows=workflows, deps=deps, defaults=defaults, recover=False, **options
        )
        self._random = random.Random(seed)

    async def open(self) -> None:
        """Open the engine.

        Raises:
            RuntimeError: If the running loop is not a ``VirtualLoop``.
        """
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise RuntimeError(
                "a VirtualEngine needs virtual time; run the test with testing.in_virtual_time(…)"
            )
        self._clock = loop.clock
        await super().open()
        self._opened().runtime.uniform = self._random.uniform
        if self._recovers_once:
            await self.recover()

    def abandon(self) -> None:
        """Let the threads of an engine end that died in a test, and can't be closed."""
        if self._worker is not None:
            self._worker.runtime.executors.close()

    def _make_executors(self) -> Executors:
        return _Executors(
            asyncio.get_running_loop(), self._make_threads(), self._settings.executors
        )

    def _make_threads(self) -> ThreadPool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)  # `open` saw to it
        return _Threads(loop)


class _Threads(ThreadPool):
    """Threads whose work virtual time waits for."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._virtual = loop

    def submit(self, work: Callable[[], None]) -> None:
        def watched() -> None:
            try:
                work()  # hands over its result to the loop, so that comes before the end
            finally:
                if not self._virtual.is_closed():
                    self._virtual.call_soon_threadsafe(self._virtual.end_outside)

        super().submit(watched)
        self._virtual.begin_outside()


class _Executors(Executors):
    """Executors whose work virtual time waits for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._outside: set[Report] = set()

    def send(self, executor: str, job: Callable[[], bytes], report: Report) -> Stop:
        if executor in self.given:
            cast("VirtualLoop", self.loop).begin_outside()
            self._outside.add(report)
        return super().send(executor, job, report)

    def post(self, call: Callable[[], object], report: Report) -> None:
        super().post(call, report)
        if report in self._outside:  # a given executor reports nothing but the end
            self._outside.remove(report)
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(cast("VirtualLoop", self.loop).end_outside)


class Outside:
    """A store whose calls virtual time waits for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return repr(self._store)

    def check(self) -> None:
        """Raise if it can't be called any more."""

    def write(
        self, batch: Sequence[Transition], *, block: bool = False
    ) -> asyncio.Future[list[Written]]:
        answer = self._store.write(batch)
        if isinstance(answer, asyncio.Future) and answer.done():
            return answer
        return asyncio.ensure_future(_waited_for(answer))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def waited_for(*args: Any, **options: Any) -> Any:
            self.check()
            with outside():
                return await method(*args, **options)

        return waited_for


async def _waited_for(answer: Awaitable[list[Written]]) -> list[Written]:
    with outside():
        return await answer
