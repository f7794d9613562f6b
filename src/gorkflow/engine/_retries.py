"""The judgement of retries: whether an exception is worth another try: the one place that judges.

An exception speaks for more than its class. Its cause, given by ``from``, counts as if the step had
raised it. So do the errors of a group, such as a ``TaskGroup`` makes. ``__context__`` does not
count: it is there by chance. All that a policy looks at is data, since it may come from another
process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import cast

from msgspec import Struct

from gorkflow._durations import seconds_of
from gorkflow.errors import (
    DeadlockError,
    NonRetryableError,
    RetryAfterError,
    StepCancelledError,
    ValueInvalidError,
)
from gorkflow.policy import RetryPolicy, backoff_delay, exception_name

Names = frozenset[str]
"""All that an error is called: the names of its class and of all that this inherits from."""

_NEVER_RETRIED = (NonRetryableError, ValueInvalidError, StepCancelledError, DeadlockError)
_MOST = 100_000
"""Exceptions that are looked at: a ``__cause__`` can be a property that makes ever new ones."""


class Thrown(Struct, frozen=True):
    """The facts of an exception for a policy."""

    errors: frozenset[Names]
    """Those that have to be worth another try, each of them: the error, or all errors of the group
    that don't ask for another try themselves."""
    names: Names
    """All that anything in it is called."""
    is_final: bool = False
    """Never tried again, under any policy."""
    delay: float | None = None
    """Seconds after which it asked to be tried again."""


def thrown(error: BaseException) -> Thrown:
    """Return what a policy looks at in an exception."""
    errors: set[Names] = set()
    names: set[str] = set()
    delays: list[float] = []
    is_final = False
    seen: set[int] = set()
    todo: list[tuple[BaseException, Names]] = [(error, frozenset())]
    while todo:
        head, around = todo.pop()
        chain = list(islice(_chain(head, seen), _MOST))
        called = around.union(*map(_called, dict.fromkeys(map(type, chain))))
        names |= called
        members = [each for item in chain for each in _members(item)]
        todo += [(each, called) for each in members]
        # Causes don't count here: asyncio.timeout raises its error from a CancelledError.
        is_final |= not members and not isinstance(head, Exception)
        is_final |= any(isinstance(item, _NEVER_RETRIED) for item in chain)
        asked = [delay for item in chain if (delay := _asked_delay(item)) is not None]
        delays += asked
        if chain and not members and not asked:
            errors.add(called)
    return Thrown(frozenset(errors), frozenset(names), is_final, max(delays, default=None))


def _chain(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield an exception and what caused it, up to one that says itself what is to be done."""
    found: BaseException | None = error
    kept: list[BaseException] = []  # so that no id is given to another one
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        kept.append(found)
        yield found
        if isinstance(found, _NEVER_RETRIED) or _asked_delay(found) is not None:
            return
        found = found.__cause__


def _members(error: BaseException) -> Sequence[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return ()
    return cast("BaseExceptionGroup[BaseException]", error).exceptions


def _called(cls: type[BaseException]) -> Names:
    return frozenset(name for base in cls.__mro__ for name in _names_of(base))


def _names_of(cls: type) -> Iterator[str]:
    """Yield the full name of a class, and those by which the packages around hand it on."""
    yield exception_name(cls)
    package, name = str(cls.__module__), cls.__name__
    while (package := package.rpartition(".")[0]) and package in sys.modules:
        if vars(sys.modules[package]).get(name) is cls:
            yield f"{package}.{name}"


def _asked_delay(error: BaseException) -> float | None:
    """Return the seconds it asks for; ``None``: a subclass has not set any, or none that can be."""
    if not isinstance(error, RetryAfterError):
        return None
    try:
        return seconds_of(error.delay, "delay", endless=False)
    except Exception:  # noqa: BLE001 - it is user code, and the failure must be recorded
        return None


def retry_delay(
    policy: RetryPolicy,
    failures: int,
    error: BaseException | Thrown,
    uniform: Callable[[float, float], float],
) -> float | None:
    """Return the seconds until the next attempt, or ``None`` when there is to be none.

    Args:
        policy: the step's policy.
        failures: attempts that failed so far, this one included. Interrupted ones don't count.
        error: what the attempt raised.
        uniform: draws the jitter, as ``random.uniform``.
    """
    seen = error if isinstance(error, Thrown) else thrown(error)
    if failures > policy.retries or not is_retryable(policy, seen):
        return None
    if seen.delay is not None:
        return seen.delay
    delay = backoff_delay(policy, failures)
    return delay * uniform(1 - policy.jitter, 1 + policy.jitter) if policy.jitter else delay


def is_retryable(policy: RetryPolicy, error: BaseException | Thrown) -> bool:
    """Return whether the policy would try again after this error, retries left aside."""
    seen = error if isinstance(error, Thrown) else thrown(error)
    if seen.is_final or _matches(policy.give_up_on, seen.names):
        return False
    return all(_matches(policy.retry_on, names) for names in seen.errors)


@lru_cache(maxsize=256)  # to look through all classes takes milliseconds
def unknown_names(policy: RetryPolicy) -> tuple[str, ...]:
    """Return the names in a policy by which no exception class of this process goes.

    It may be loaded later, or elsewhere; or the name is misspelt, and never matches.
    """
    wanted = {str(name) for name in (*policy.retry_on, *policy.give_up_on)}
    wanted = {name for name in wanted if _class_of(name) is None}
    classes: list[type[BaseException]] = [BaseException]
    known: set[type[BaseException]] = set(classes)
    for cls in classes if wanted else ():
        found = {name for name in wanted if _matches((name,), frozenset(_names_of(cls)))}
        wanted -= found
        fresh = [each for each in type.__subclasses__(cls) if each not in known]
        known.update(fresh)
        classes += fresh
    return tuple(sorted(wanted))


def _matches(wanted: Sequence[type[BaseException] | str], names: Names) -> bool:
    """Return whether one of these names means an error that is called so."""
    for item in map(str, wanted):
        if item in names or any(name.endswith(f".{item}") for name in names):
            return True
        found = _class_of(item)
        if found is not None and exception_name(found) in names:
            return True
    return False


def _class_of(name: str) -> type[BaseException] | None:
    """Return the exception class that a module of this process has by this name, if one does.

    It may be another module than that of the class: ``asyncio.TimeoutError`` is a builtin.
    """
    module, _, last = name.rpartition(".")
    module = module or "builtins"
    found = vars(sys.modules[module]).get(last) if module in sys.modules else None
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
