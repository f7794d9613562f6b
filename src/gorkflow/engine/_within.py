"""Runs that a step starts or waits for: they must not wait for what the step holds itself.

A step that waits for a run holds its slots, its named limits, and its run's place among
``max_concurrent_runs``. It would have them for ever if that run needed one of them. So:

- a run that was started in a step, or that a step waits for, is let in beyond
  ``max_concurrent_runs``;
- while a step waits for a run, others may have its slots; when the run has ended, it continues at
once; so one step more than ``max_concurrent_steps`` may run for a moment;
- a named limit is not lent: the step may need what it protects to itself. If the run can't get it
before the step has ended, the step gets an error at once.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from gorkflow.errors import DeadlockError
from gorkflow.flow import StepSpec, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from gorkflow.definition import Definition
    from gorkflow.policy import Limit
    from gorkflow.store import Store


class Caller(Protocol):
    """A call of a function of the program: a step's, or a condition's, which holds no slots."""

    path: str
    held: float
    """Seconds for which it held the event loop."""
    waits: int
    """Runs that the function waits for; meanwhile other steps have its slots."""
    awaits: str
    """The run that the function waits for in its own task, so that it can't end before it."""
    task: asyncio.Task[None] | None
    """The task in which the function runs, if it does."""
    limits: tuple[Limit, ...]
    """The named limits that it holds."""

    @property
    def run_id(self) -> str:
        """The run that it belongs to."""
        ...

    @property
    def queue(self) -> str:
        """The queue of its run."""
        ...

    @property
    def context(self) -> Context:
        """The context variables of its run."""
        ...

    @property
    def store(self) -> Store:
        """The store of its run."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of its engine."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether it is answered; the function may still run."""
        ...

    def lend(self) -> None:
        """Let other steps have its slots."""
        ...

    def take_back(self) -> None:
        """Take its slots again."""
        ...


_caller: ContextVar[weakref.ref[Caller] | None] = ContextVar("gorkflow caller", default=None)
_waiters: dict[str, set[Caller]] = {}
"""The calls that wait for the end of a run, by their own run."""
_lock = Lock()


def context_of(caller: Caller) -> Context:
    """Return the context variables that a function sees; ``calling`` finds the call by them."""
    context = caller.context.copy()
    context.run(_caller.set, weakref.ref(caller))
    return context


def enter(caller: Caller) -> None:
    """Have what the current task calls from now on belong to a call."""
    _caller.set(weakref.ref(caller))


def caller_in(context: Context) -> Caller | None:
    """Return the call whose function has these context variables, or began what has them."""
    found = context.get(_caller)
    return None if found is None else found()


def calling() -> Caller | None:
    """Return the call whose function calls us; ``None``: other code does."""
    return _running(_caller.get())


def queue_inside(store: Store) -> str | None:
    """Return the queue of the run whose step calls us; ``None``: none does, of this store."""
    caller = calling()
    return caller.queue if caller is not None and _is_same(caller.store, store) else None


def _running(found: weakref.ref[Caller] | None) -> Caller | None:
    caller = None if found is None else found()
    return None if caller is None or caller.is_over else caller


@contextmanager
def waiting(run_id: str = "") -> Generator[None]:
    """While this lasts, others may have the slots of the step that called us, if one did.

    Args:
        run_id: the run whose end the caller waits for; empty: only for its next event.
    """
    caller = calling()
    if caller is None:
        yield
        return
    is_own_task = caller.task is asyncio.current_task()
    if is_own_task:
        _awaits(caller, run_id)
    _in_its_loop(caller, _lend)
    try:
        yield
    finally:
        if is_own_task:
            _awaits(caller, "")
        _in_its_loop(caller, _take_back)


def _awaits(caller: Caller, run_id: str) -> None:
    with _lock:  # steps in threads wait, too
        caller.awaits = run_id
        if run_id:
            _waiters.setdefault(caller.run_id, set()).add(caller)
        elif caller in (waiters := _waiters.get(caller.run_id, set())):
            waiters.remove(caller)
            if not waiters:
                del _waiters[caller.run_id]


def awaited_inside(run_id: str) -> list[str]:
    """Return the runs whose end steps of a run wait for."""
    with _lock:
        return [caller.awaits for caller in _waiters.get(run_id, ())]


def _lend(caller: Caller) -> None:
    if not caller.is_over:
        caller.waits += 1
        if caller.waits == 1:
            caller.lend()


def _take_back(caller: Caller) -> None:
    if not caller.is_over:
        caller.waits -= 1
        if not caller.waits:
            caller.take_back()


def _in_its_loop(caller: Caller, call: Callable[[Caller], None]) -> None:
    """Call on the loop of the caller's engine, which may be another: a thread can open its own."""
    loop = caller.loop
    if asyncio.get_running_loop() is loop:
        call(caller)
    else:
        with suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(call, caller)


def check_own(run_id: str, store: Store) -> None:
    """Check that a step does not wait for the end of a run that can't end before the step.

    That is its own run, or the run of a step that waits for its own. Tasks that the step started
    may wait for any run: the step can end before they do.

    Raises:
        DeadlockError: If it does.
    """
    caller = calling()
    if caller is None or caller.task is not asyncio.current_task():
        return
    first = caller
    while True:
        if caller.run_id == run_id and _is_same(caller.store, store):
            why = "it is part of that run"
            if caller is not first:
                why = f"step {caller.path!r} of that run waits for run {caller.awaits!r}"
            raise DeadlockError(
                f"step {first.path!r} of run {first.run_id!r} waits for the end of run "
                f"{run_id!r}, and {why}: neither would ever end; read the run as it is now "
                "(await handle.info()), or wait after the step has returned"
            )
        parent = _running(caller.context.get(_caller))
        if parent is None or parent.awaits != caller.run_id:
            return
        caller = parent


def check_limits(
    definition: Definition,
    run_id: str | None,
    store: Store,
    begins: Callable[[str], bool] = lambda _: True,
) -> None:
    """Check that a step which waits for a run of this definition does not hold what that needs.

    Args:
        definition: the run's.
        run_id: the run; ``None``: it has no id yet.
        store: where it is.
        begins: returns whether the step at a path may still begin.

    Raises:
        DeadlockError: If it does, or a step does that waits for the step's own run.
    """
    held, holders = _held(store)
    for path, limit in _limits_in(definition) if held else ():
        if limit.concurrency is None or limit.concurrency > held[limit.name] or not begins(path):
            continue
        holder, its_run = holders[limit.name]
        run = f"run {run_id!r}" if run_id else f"a run of {definition.workflow_id!r}"
        raise DeadlockError(
            f"step {holder!r} of run {its_run!r} holds limit "
            f"{limit.name!r} ({limit}) while it waits for {run}, whose step {path!r} needs it: "
            "neither would ever continue; take the limit off one of the two steps"
        )


def holds_limits(store: Store) -> bool:
    """Return whether the step that calls us holds limits, or one that waits for its run."""
    return bool(_held(store)[0])


def _held(store: Store) -> tuple[Counter[str], dict[str, tuple[str, str]]]:
    """Return the places that such steps hold, and one step and its run, by limit."""
    caller = calling()
    held: Counter[str] = Counter()
    holders: dict[str, tuple[str, str]] = {}
    while caller is not None:
        if caller.limits and _is_same(caller.store, store):
            for limit in caller.limits:
                held[limit.name] += 1
                holders.setdefault(limit.name, (caller.path, caller.run_id))
        caller = _running(caller.context.get(_caller))
        if caller is not None and not caller.waits:
            break  # it will end by itself
    return held, holders


async def check_line(store: Store, run_id: str | None, resource_id: str | None = None) -> None:
    """Check that a step which waits for a run in line is not of a run that has the resource.

    Args:
        store: where the run is.
        run_id: the run; ``None``: it is about to be started.
        resource_id: the resource that such a run waits for.

    Raises:
        DeadlockError: If it is, or a step that waits for its run is.
    """
    steps: dict[str, str] = {}
    caller = calling()
    while caller is not None:
        if _is_same(caller.store, store):
            steps[caller.run_id] = caller.path
        caller = _running(caller.context.get(_caller))
        if caller is not None and not caller.waits:
            break  # it will end by itself
    if not steps:
        return
    if run_id is not None:
        waiting = await store.get_run(run_id)
        if waiting is None or not waiting.is_in_line:
            return
        resource_id = waiting.resource_id
    for row in (await store.get_runs([*steps])).values():
        if row.resource_id == resource_id and not row.status.terminal:
            run = "another run" if run_id is None else f"run {run_id!r}"
            raise DeadlockError(
                f"step {steps[row.run_id]!r} of run {row.run_id!r} waits for {run}, which waits "
                f"until that run has freed the resource {resource_id!r}: neither would ever "
                "continue; start it without waiting for it, or with another resource_id"
            )


def _is_same(one: Store, other: Store) -> bool:
    name = getattr(one, "name", None)
    return one is other or (name is not None and name == getattr(other, "name", None))


def _limits_in(definition: Definition) -> Iterator[tuple[str, Limit]]:
    for path, node in walk(definition.tree):
        if isinstance(node, StepSpec):
            for limit in node.limits:
                yield path, limit
