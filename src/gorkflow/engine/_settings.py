"""The settings of an engine: what its constructor is given, checked before it is used."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from logging import getLevelNamesMapping
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec import Struct

from gorkflow._durations import LONGEST
from gorkflow._text import brief, did_you_mean
from gorkflow.clock import Clock, StoreClock
from gorkflow.engine._executors import checked
from gorkflow.engine._observer import Observers, Telemetry, observers_of
from gorkflow.language.options import defaults_problems, hook_problems
from gorkflow.model import DEFAULT_QUEUE
from gorkflow.policy import queue_problems
from gorkflow.stores import open_store

if TYPE_CHECKING:
    from gorkflow.hooks import OnEnd
    from gorkflow.step import StepDefaults
    from gorkflow.store import Store

DEFAULT_STORE = "sqlite:.gorkflow/runs.db"
MAX_PAYLOAD = 4 * 1024 * 1024
_NO_LOGS = 2**31
"""Above the level of any line."""
_OPTIONAL = ("max_concurrent_runs", "max_concurrent_steps", "max_processes")


class Settings(Struct, kw_only=True):
    """Numbers and places, as of ``Engine``; a client has the defaults."""

    max_payload: int
    deps: object = None
    max_concurrent_runs: int | None = None
    max_concurrent_steps: int | None = None
    max_threads: int = 64
    max_processes: int | None = None
    executors: Mapping[str, Executor] = {}
    queues: Mapping[str, int | None] = MappingProxyType({DEFAULT_QUEUE: None})
    """The queues that are served, each with its bound."""
    lease: float = 30.0
    logs: bool | int | str = True
    on_end: OnEnd | None = None
    telemetry: Telemetry | Iterable[Telemetry] | None = None

    observers: Observers | None = None
    """Made of ``telemetry``, by ``check``."""

    @property
    def room(self) -> tuple[int | None, int, int]:
        """The number of attempts, of threads and of processes at a time."""
        processes = self.max_processes or os.cpu_count() or 1
        return self.max_concurrent_steps, self.max_threads, processes

    @property
    def log_level(self) -> int:
        """The least level of the log lines that are kept."""
        if isinstance(self.logs, bool):
            return logging.INFO if self.logs else _NO_LOGS
        return getLevelNamesMapping()[self.logs] if isinstance(self.logs, str) else self.logs

    def check(self, defaults: StepDefaults | None) -> None:
        """Check them, and the options that steps inherit.

        Raises:
            ValueError: If a number is out of range, or an option is unknown or invalid.
            TypeError: If an argument has the wrong type.
        """
        lease = self.lease
        if isinstance(lease, bool) or not isinstance(lease, int | float):
            raise TypeError(f"lease must be a number of seconds, not {brief(lease)}")
        if not 0 < lease <= LONGEST:
            raise ValueError(
                f"lease must be more than 0 seconds, 100 years at most, not {brief(lease)}"
            )
        for name in (*_OPTIONAL, "max_threads", "max_payload"):
            number = getattr(self, name)
            if number is None and name in _OPTIONAL:
                continue
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"{name} must be a whole number, not {brief(number)}")
            if number < 1:
                raise ValueError(f"{name} must be at least 1, not {brief(number)}")
        _check_logs(self.logs)
        if self.on_end is not None and (wrong := hook_problems(self.on_end)):
            raise TypeError(wrong[0])
        problems = [] if defaults is None else defaults_problems(defaults)
        if problems:
            raise ValueError(f"defaults: {'; '.join(problems)}")
        self.executors = checked(self.executors)
        if self.telemetry is not None:
            self.observers = observers_of(self.telemetry)


def served(queues: Mapping[str, int | None] | Iterable[str] | None) -> dict[str, int | None]:
    """Return the queues of an engine, each with its bound.

    Raises:
        TypeError: If they are not names, or a bound is not a number.
        ValueError: If a name or a bound is not valid, or there are none.
    """
    if queues is None:
        return {DEFAULT_QUEUE: None}
    if isinstance(queues, str) or not isinstance(queues, Iterable):
        raise TypeError(
            f"queues must be names in a list, or a dict of names and bounds, not {brief(queues)}"
        )
    found: dict[str, int | None] = {}
    found.update(queues if isinstance(queues, Mapping) else dict.fromkeys(queues))  # pyright: ignore[reportUnknownArgumentType]
    if not found:
        raise ValueError("queues names none; leave it out to serve the queue 'default'")
    for name, bound in found.items():
        if problems := queue_problems(name):
            raise ValueError(f"queues: {problems[0]}")
        if bound is None:
            continue
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise TypeError(
                f"the bound of queue {name!r} must be a whole number, not {brief(bound)}"
            )
        if bound < 1:
            raise ValueError(f"the bound of queue {name!r} must be at least 1, not {brief(bound)}")
    return found


def _check_logs(logs: object) -> None:
    """Check which log lines are to be kept.

    Raises:
        TypeError: If it is neither a boolean nor a level.
        ValueError: If there is no such level.
    """
    if not isinstance(logs, bool | int | str):
        raise TypeError(f"logs must be True, False or a level such as 'DEBUG', not {brief(logs)}")
    if isinstance(logs, str) and logs not in getLevelNamesMapping():
        hint = did_you_mean(logs.upper(), getLevelNamesMapping())
        raise ValueError(f"logs: there is no level {logs!r}; {hint}")


def check_flag(name: str, value: object) -> None:
    """Check that an argument is a boolean: ``"no"`` would count as true.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {brief(value)}")


def checked_grace(grace: object) -> float:
    """Return seconds to wait for attempts.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is negative.
    """
    if isinstance(grace, bool) or not isinstance(grace, int | float):
        raise TypeError(f"grace must be a number of seconds, not {brief(grace)}")
    if not grace >= 0:
        raise ValueError(f"grace must be 0 seconds or more, not {brief(grace)}")
    return min(grace, LONGEST)


def clock_of(clock: Clock | None) -> Clock:
    """Return where the time comes from.

    Raises:
        TypeError: If it is not a clock.
    """
    if clock is None:
        return StoreClock()
    if isinstance(clock, type):
        raise TypeError(f"clock must be an object, not the class {brief(clock)}; call it")
    names = ("now", "monotonic", "call_at", "call_later")
    missing = [f"{name}()" for name in names if not callable(getattr(clock, name, None))]
    if missing:
        raise TypeError(
            "clock must have now(), monotonic(), call_at() and call_later(), but "
            f"{brief(clock)} lacks {', '.join(missing)}"
        )
    return clock


def store_of(store: Store | str | PathLike[str] | None) -> Store:
    """Return the store that is meant.

    Raises:
        StoreError: If a URL can't be understood.
        TypeError: If it is neither a store nor a URL.
    """
    if store is None:
        store = os.environ.get("GORKFLOW_STORE") or DEFAULT_STORE
    if isinstance(store, str | PathLike):
        return open_store(store)
    if isinstance(store, type) or not callable(getattr(store, "read_events", None)):
        raise TypeError(
            "store must be a Store, a URL such as 'memory:', or the path of a file, not "
            f"{brief(store)}"
        )
    return store
