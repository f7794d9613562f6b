"""Runs that a step starts or waits for: they must not wait for what the step holds itself.

A step that waits for a run holds its run's place among ``max_concurrent_runs``, its slots, and its
named limits, and would have them for ever if that run needed one of them. So:

- a run that was started in a step, or that a step waits for, is let in beyond
  ``max_concurrent_runs``;
- while a step waits for a run, others may have its slots; when the run has ended, it goes on at
  once, so for a moment one more step may run than ``max_concurrent_steps`` says;
- a named limit is not lent: the step may need what it protects to itself. Where the run can't get
  it before the step has ended, the step gets an error at once.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING

from gorkflow.errors import DeadlockError
from gorkflow.flow import StepSpec, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from gorkflow.definition import Definition
    from gorkflow.engine._attempt import Attempt
    from gorkflow.policy import Limit
    from gorkflow.store import Store

_step: ContextVar[weakref.ref[Attempt] | None] = ContextVar("gorkflow step", default=None)


def context_of(attempt: Attempt) -> Context:
    """Return the context variables that a handler sees, by which it is known who calls us."""
    context = attempt.driver.context.copy()
    context.run(_step.set, weakref.ref(attempt))
    return context


def calling() -> Attempt | None:
    """Return the attempt whose handler calls us; ``None``: something else does."""
    return _running(_step.get())


def _running(found: weakref.ref[Attempt] | None) -> Attempt | None:
    attempt = None if found is None else found()
    return None if attempt is None or attempt.is_over else attempt


@contextmanager
def waiting() -> Generator[None]:
    """While this lasts, others may have the slots of the step that called us, if one did."""
    attempt = calling()
    if attempt is None:
        yield
        return
    _tell(attempt, _lend)
    try:
        yield
    finally:
        _tell(attempt, _take_back)


def _lend(attempt: Attempt) -> None:
    if not attempt.is_over:
        attempt.waits += 1
        if attempt.waits == 1:
            attempt.driver.runtime.slots.release(attempt.command.spec.executor)


def _take_back(attempt: Attempt) -> None:
    if not attempt.is_over:
        attempt.waits -= 1
        if not attempt.waits:
            attempt.driver.runtime.slots.take_back(attempt.command.spec.executor)


def _tell(attempt: Attempt, call: Callable[[Attempt], None]) -> None:
    """Call on the loop of the attempt's engine, which may be another: a thread can open its own."""
    loop = attempt.driver.runtime.loop
    if asyncio.get_running_loop() is loop:
        call(attempt)
    else:
        with suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(call, attempt)


def check_limits(definition: Definition, run_id: str | None, store: Store) -> None:
    """Check that a step which waits for a run of this definition does not hold what that needs.

    Raises:
        DeadlockError: it does, or a step does that waits for the step's own run.
    """
    attempt = calling()
    held: Counter[str] = Counter()
    holders: dict[str, Attempt] = {}
    while attempt is not None:
        if _is_same(attempt.driver.runtime.store, store):
            for limit in attempt.command.spec.limits:
                held[limit.name] += 1
                holders.setdefault(limit.name, attempt)
        attempt = _running(attempt.driver.context.get(_step))
        if attempt is not None and not attempt.waits:
            break  # it will end by itself
    for path, limit in _limits_in(definition) if held else ():
        if limit.concurrency is not None and limit.concurrency <= held[limit.name]:
            holder = holders[limit.name]
            run = f"run {run_id!r}" if run_id else f"a run of {definition.workflow_id!r}"
            raise DeadlockError(
                f"step {holder.command.path!r} of run {holder.driver.run_id!r} holds limit "
                f"{limit.name!r} ({limit}) while it waits for {run}, whose step {path!r} needs it: "
                "neither would ever go on; take the limit off one of the two steps"
            )


def _is_same(one: Store, other: Store) -> bool:
    path = getattr(one, "path", None)
    return one is other or (path is not None and path == getattr(other, "path", None))


def _limits_in(definition: Definition) -> Iterator[tuple[str, Limit]]:
    for path, node in walk(definition.tree):
        if isinstance(node, StepSpec):
            for limit in node.limits:
                yield path, limit
