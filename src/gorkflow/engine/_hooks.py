"""The hooks of an engine: their calls are made, one worker at a time, until each has returned."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import inspect
import itertools
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gorkflow.engine._recorded import load
from gorkflow.engine._results import exc_info
from gorkflow.engine._runs import FAILED_HOOK, LEFT_RUNS
from gorkflow.engine._threads import Functions, NoThreadError
from gorkflow.errors import RunNotFoundError, StoreCorruptError, StoreError
from gorkflow.hooks import Hook
from gorkflow.language.signature import is_async_function
from gorkflow.redaction import Redaction
from gorkflow.store import calls_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gorkflow.clock import TimerHandle
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runtime import Runtime
    from gorkflow.hooks import HookCall, OnEnd
    from gorkflow.model import Run
    from gorkflow.store import RunRow

logger = logging.getLogger("gorkflow.engine")

TIMEOUT = 30.0
"""Seconds that a hook may take."""
MAX_TRIES = 1000
"""After so many, at the longest delay some three days, a call is dropped."""
_DELAYS = (1.0, 300.0)  # seconds until a failed call is made again: at first, and at most
_FAR = 1000.0  # seconds that no call is put off by: a clock was wrong once
_MEND_EVERY = 60.0  # seconds between looks for such calls
_LOOK_AFTER = 5.0  # seconds until an engine that looks for no others' work looks for more calls
_AT_ONCE = 16  # calls that are made at a time
_KNOWN = 1000  # calls that are waited for here; the store has the others
_ERROR = 500  # characters of an error that the store keeps
_POLL = 0.02  # seconds between looks at whether the calls are made
_CLEANUP = 1.0  # seconds that a hook gets to end once it is cancelled


class Hooks:
    """Makes the calls of hooks that are due: of runs that ended here, and those that others left.

    The store puts a call off that is being made, a little further each time. So no other worker
    makes it meanwhile. When this process dies, the call is soon due again.

    Args:
        runtime: the engine's.
        registry: has the workflows, and so their hooks.
        get_run: returns a run as the hooks get it.
    """

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        get_run: Callable[[str], Awaitable[Run]],
    ) -> None:
        self._runtime = runtime
        self._registry = registry
        self._get_run = get_run
        self._context = contextvars.copy_context()
        threads = runtime.executors.threads
        self._functions = Functions(runtime.loop, threads, _AT_ONCE, "on_end hooks")
        self._queue: list[tuple[float, int, HookCall]] = []
        self._numbers = itertools.count()
        self._known: set[tuple[str, Hook]] = set()
        """The calls in the queue, and those that are being made."""
        self._made: dict[tuple[str, Hook], asyncio.Task[HookCall | None]] = {}
        self._missed: Counter[tuple[str, Hook]] = Counter()
        """How often in a row calls of the queue could not be made, and their hooks had no part."""
        self._has_complained = False
        """Whether the log says so, since the last one that could."""
        self._looks: asyncio.Task[None] | None = None
        """Looks for calls that are not waited for here, in an engine that looks for no runs."""
        self._timer: TimerHandle | None = None
        self._hold = min(runtime.lease_seconds, TIMEOUT)
        self._mend_at = 0.0
        self._closed = False

    # ---- what is due ----------------------------------------------------------------------

    def ended(self, row: RunRow) -> None:
        """Make the calls of a run whose end is durable."""
        for call in calls_of(row):
            self._wait_for(call)
        self._make_due()

    async def look(self, *, ahead: bool = False) -> None:
        """Make the calls that others left, and those that were too many to wait for here.

        Args:
            ahead: whether to wait also for those that are due later, as who does not look again.

        Raises:
            StoreError: If the store failed.
        """
        clock = self._runtime.clock
        mends = clock.monotonic() >= self._mend_at
        room = _KNOWN if ahead or mends else _AT_ONCE - len(self._made)
        if room <= 0 or self._runtime.closing:
            return
        limit = room + len(self._known)  # some that are found may be known
        found = await self._runtime.store.hook_calls(
            due_by=None if ahead or mends else clock.now(),
            of=self._registry.hooks(self._runtime.on_end),
            limit=limit,
        )
        if mends:
            self._mend_at = clock.monotonic() + _MEND_EVERY
        if len(found) == limit:
            self._leave_some()
        now = clock.now()
        for call in found:
            if call.due_at > now + _FAR:
                self._wait_for(replace(call, due_at=now))
            elif ahead or call.due_at <= now:
                self._wait_for(call)
        self._make_due()

    def _wait_for(self, call: HookCall) -> None:
        if call.key in self._known or self._hook_of(call) is None:
            return
        if len(self._known) >= _KNOWN:
            self._leave_some()
            last = max(self._queue, default=None)
            if last is None or last[0] <= call.due_at:
                return
            self._queue.remove(last)  # those that are due last wait in the store
            heapq.heapify(self._queue)
            self._known.discard(last[2].key)
            self._missed.pop(last[2].key, None)
        self._known.add(call.key)
        heapq.heappush(self._queue, (call.due_at, next(self._numbers), call))

    def _leave_some(self) -> None:
        """Look again later: the store has more calls than are waited for here."""
        if self._looks is None and not self._runtime.recovers and not self._closed:
            self._looks = self._runtime.spawn(self._look_again())

    async def _look_again(self) -> None:
        await asyncio.sleep(_LOOK_AFTER)
        self._looks = None
        try:
            await self.look(ahead=True)
        except StoreError as error:
            logger.warning("could not look for calls of hooks; trying again: %s", error)
            self._leave_some()

    def _hook_of(self, call: HookCall) -> OnEnd | None:
        if call.hook is Hook.ENGINE:
            return self._runtime.on_end
        return self._registry.hook_of_run(call.run_id, call.workflow_id)

    def _make_due(self, due_by: float = 0.0) -> None:
        """Make the calls that are due, so many at a time, and wait for the next one.

        Args:
            due_by: those that are due by then are due, though a timer may come a little early.
        """
        if self._closed:
            return
        now = max(self._runtime.clock.now(), due_by)
        while self._queue and len(self._made) < _AT_ONCE and self._queue[0][0] <= now:
            call = heapq.heappop(self._queue)[2]
            task = self._runtime.spawn(self._make(call))
            self._made[call.key] = task
            task.add_done_callback(partial(self._over, call))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue and len(self._made) < _AT_ONCE:
            due = self._queue[0][0]
            self._timer = self._runtime.clock.call_at(due, partial(self._make_due, due))

    def _over(self, call: HookCall, task: asyncio.Task[HookCall | None]) -> None:
        del self._made[call.key]
        self._known.discard(call.key)
        again = None if task.cancelled() else task.result()
        if again is None:
            self._missed.pop(call.key, None)
        else:
            self._wait_for(again)
        self._make_due()

    # ---- one call -------------------------------------------------------------------------

    async def _make(self, call: HookCall) -> HookCall | None:
        """Make a call; return it as it is to be made again, ``None``: it is not, as far as we know.

        Does not raise: it is not waited for.
        """
        try:
            return await self._take(call)
        except StoreError as error:
            why: object = error
        except Exception as error:
            if not self._has_complained:
                logger.exception("a hook could not be called")
            why = repr(error)
        return replace(call, due_at=self._later(call, why))

    def _later(self, call: HookCall, why: object) -> float:
        """Say why a hook could not be called, once for all; return when it is to be."""
        self._missed[call.key] += 1
        delay = self._delay(call.tries + self._missed[call.key])
        if not self._has_complained:
            self._has_complained = True
            logger.warning(
                "a hook of run %r could not be called, and will be in %.0f s: %s; this is not said "
                "again until a hook is called",
                call.run_id,
                delay,
                why,
            )
        return self._runtime.clock.now() + delay

    async def _take(self, call: HookCall) -> HookCall | None:
        """Make a call, unless another worker makes it."""
        hook = self._hook_of(call)
        if hook is None:
            return None
        if self._functions.are_full and not is_async_function(hook):
            # Another worker may make it. The log has said that hooks of this one hang.
            return replace(call, due_at=self._runtime.clock.now() + self._hold)
        taken = self._put_off(replace(call, tries=call.tries + 1))
        if not await self._runtime.store.put_hook_call(taken):
            return await self._as_kept(call)
        try:
            run = await self._get_run(call.run_id)
        except RunNotFoundError:
            return None  # it was deleted, and its calls with it
        except StoreCorruptError as error:
            return await self._failed(taken, hook, error)
        except StoreError:
            raise  # the call is not to blame
        except Exception as error:  # noqa: BLE001 - else it would be due for ever
            return await self._failed(taken, hook, error)
        return await self._call_with(run, hook, taken)

    async def _call_with(self, run: Run, hook: OnEnd, taken: HookCall) -> HookCall | None:
        """Call a hook with its run, in a task, while others leave the call alone."""
        work = self._runtime.loop.create_task(
            self._call(hook, run), name=f"on_end of {run.run_id}", context=self._context.copy()
        )
        try:
            taken = await self._watch(taken, work)
        except asyncio.CancelledError:
            await self._release(taken, work)
            raise
        failed = _error_of(work)
        if isinstance(failed, NoThreadError):  # it did not begin
            untried = replace(taken, tries=taken.tries - 1)
            return await self._again(untried, self._later(untried, failed))
        self._missed.pop(taken.key, None)
        self._has_complained = False
        if failed is not None:
            return await self._failed(taken, hook, failed)
        await self._runtime.store.drop_hook_call(taken)
        return None

    async def _call(self, hook: OnEnd, run: Run) -> None:
        """Call a hook: in a thread, if it is a plain function."""
        try:
            if is_async_function(hook):
                made: object = hook(run)
            elif self._functions.are_full:  # in line, its time would run out before its turn
                raise NoThreadError("too many hooks that did not return in time still run")
            else:
                context = contextvars.copy_context()
                made = await self._functions.call(partial(hook, run), context, lambda: None)
            if inspect.isawaitable(made):
                await made
        except SystemExit as error:  # the loop would end
            raise RuntimeError(f"it raised SystemExit({error.code!r})") from error

    async def _watch(self, call: HookCall, work: asyncio.Task[None]) -> HookCall:
        """Wait until a hook has returned, and keep others from calling it meanwhile."""
        loop = self._runtime.loop
        end = loop.time() + TIMEOUT
        while not work.done() and (left := end - loop.time()) > 0:
            await asyncio.wait([work], timeout=min(left, self._hold / 3))
            if not work.done():
                call = await self._held(call)
        if not work.done():
            await _stop(work)
        return call

    async def _held(self, call: HookCall) -> HookCall:
        """Put a call off that is being made. If that fails, another worker may make it, too."""
        later = self._put_off(call)
        with contextlib.suppress(StoreError):
            if await self._runtime.store.put_hook_call(later):
                return later
        return call

    async def _failed(self, call: HookCall, hook: OnEnd, error: BaseException) -> HookCall | None:
        """Have a call made again, after a while, or drop it after too many tries."""
        store, name = self._runtime.store, getattr(hook, "__qualname__", type(hook).__name__)
        redaction = await self._redaction(call.run_id)
        text = redaction.text(f"{type(error).__name__}: {error}")[:_ERROR]
        if call.tries >= MAX_TRIES:
            logger.error(
                "the hook %s failed for run %r, and is not called again after %d tries: %s",
                name, call.run_id, call.tries, text,
            )  # fmt: skip
            await store.drop_hook_call(call)
            return None
        delay = self._delay(call.tries)
        logger.warning(
            "the hook %s failed for run %r (try %d), and is called again in %.0f s: %s",
            name, call.run_id, call.tries, delay, text,
            exc_info=exc_info(error) if call.tries == 1 and not redaction else None,
            extra={FAILED_HOOK: call.run_id},
        )  # fmt: skip
        due_at = self._runtime.clock.now() + delay
        return await self._again(replace(call, error=text), due_at)

    async def _again(self, call: HookCall, due_at: float) -> HookCall | None:
        """Have the store keep a call that is to be made again."""
        again = replace(call, due_at=due_at, revision=call.revision + 1)
        return (
            again if await self._runtime.store.put_hook_call(again) else await self._as_kept(call)
        )

    async def _redaction(self, run_id: str) -> Redaction:
        """Return what leaves the secrets of a run out of an error that may quote them."""
        try:
            return (await load(self._runtime.store, run_id)).redaction()
        except (RunNotFoundError, StoreCorruptError):
            return Redaction()  # the hook got no run

    async def _release(self, call: HookCall, work: asyncio.Task[None]) -> None:
        """Stop a hook, since the engine closes, and have another worker call it soon."""
        await _stop(work)
        due = replace(call, due_at=self._runtime.clock.now(), revision=call.revision + 1)
        with contextlib.suppress(StoreError):
            await self._runtime.store.put_hook_call(due)

    async def _as_kept(self, call: HookCall) -> HookCall | None:
        """Return a call as another worker left it; ``None``: it was made."""
        found = await self._runtime.store.hook_calls(run_id=call.run_id)
        same = [each for each in found if each.key == call.key]
        return same[0] if same else None

    def _put_off(self, call: HookCall) -> HookCall:
        due_at = self._runtime.clock.now() + self._hold
        return replace(call, due_at=due_at, revision=call.revision + 1)

    def _delay(self, tries: int) -> float:
        first, longest = _DELAYS
        delay = min(longest, first * 2.0 ** min(tries - 1, 20))
        return self._runtime.uniform(delay / 2, delay)

    # ---- closing --------------------------------------------------------------------------

    async def rest(self, until: Callable[[], float]) -> None:
        """Wait until every call that is due now was made, or the grace is over.

        Args:
            until: returns when it is, by the monotonic clock: that may be shortened meanwhile.
        """
        clock = self._runtime.clock
        while self._made or (self._queue and self._queue[0][0] <= clock.now()):
            if clock.monotonic() >= until():
                break
            await asyncio.sleep(_POLL)  # as runs rest

    def close(self) -> None:
        """Begin no call any more; those that are due are left to other workers."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._known:
            count = len(self._known)
            logger.warning(
                "%d call%s of on_end hooks %s due; %s",
                count,
                "" if count == 1 else "s",
                "is still" if count == 1 else "are still",
                "the next worker that knows the workflow makes them: gorkflow worker TARGET"
                if self._runtime.store.durable
                else "with the store in memory they are lost",
                extra={LEFT_RUNS: [run_id for run_id, _ in self._known]},
            )


async def _stop(work: asyncio.Task[None]) -> None:
    """Cancel a hook, and give it a moment to clean up."""
    work.cancel()
    await asyncio.wait([work], timeout=_CLEANUP)
    if work.done() and not work.cancelled():
        work.exception()  # or asyncio would report that nobody asked for it


def _error_of(work: asyncio.Task[None]) -> BaseException | None:
    """Return why a hook failed; ``None``: it did not."""
    if not work.done():
        return TimeoutError(f"it did not return within {TIMEOUT:g} s, and can't be stopped")
    if work.cancelled():
        return TimeoutError(f"it was cancelled, or did not return within {TIMEOUT:g} s")
    return work.exception()
