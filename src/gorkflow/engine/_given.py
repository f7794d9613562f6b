"""What an engine is given, checked before anything is made of it."""

from __future__ import annotations

import os
from os import PathLike
from typing import TYPE_CHECKING

from gorkflow._text import brief
from gorkflow.clock import Clock, SystemClock
from gorkflow.errors import RunNotFoundError, UnavailableError
from gorkflow.language._options import defaults_problems
from gorkflow.language._program import importing
from gorkflow.policy import LONGEST
from gorkflow.stores import open_store

if TYPE_CHECKING:
    from gorkflow.step import StepDefaults
    from gorkflow.store import Store

DEFAULT_STORE = "sqlite:.gorkflow/runs.db"


def check_numbers(lease: object, **limits: object) -> None:
    """Check the numbers of an engine.

    Raises:
        ValueError: one is out of its range.
        TypeError: it is no such number.
    """
    if isinstance(lease, bool) or not isinstance(lease, int | float):
        raise TypeError(f"lease must be a number of seconds, not {brief(lease)}")
    if not 0 < lease <= LONGEST:
        raise ValueError(
            f"lease must be more than 0 seconds, 100 years at most, not {brief(lease)}"
        )
    for name, number in limits.items():
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} must be a whole number, not {brief(number)}")
        if number < 1:
            raise ValueError(f"{name} must be at least 1, not {brief(number)}")


def check_not_importing() -> None:
    """Check that the program is not being imported for its steps.

    Raises:
        UnavailableError: it is. Without this, each process would start others, and so on.
    """
    if program := importing():
        raise UnavailableError(
            f"{program} opens an engine while it is imported, which each process for its steps "
            'does; write `if __name__ == "__main__":` above what runs the workflow'
        )


def check_switches(defaults: StepDefaults | None, **switches: object) -> None:
    """Check the options that steps inherit from an engine, and what is either on or off.

    Raises:
        ValueError: an option is unknown, can't be inherited, or makes no sense.
        TypeError: a switch is neither ``True`` nor ``False``.
    """
    for name, switch in switches.items():
        if not isinstance(switch, bool):
            raise TypeError(f"{name} must be True or False, not {brief(switch)}")

    problems = [] if defaults is None else defaults_problems(defaults)
    if problems:
        raise ValueError(f"the engine's defaults: {'; '.join(problems)}")


def clock_of(clock: Clock | None) -> Clock:
    """Return where the time comes from.

    Raises:
        TypeError: it is not a clock.
    """
    if clock is None:
        return SystemClock()
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


def run_id_of(given: object, name: str = "run_id") -> str:
    """Return the id of a run that somebody asks for.

    Raises:
        TypeError: it is not a text.
        RunNotFoundError: no run can have it.
    """
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a text, not {brief(given)}")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise RunNotFoundError(given) from None
    return given


def store_of(store: Store | str | PathLike[str] | None) -> Store:
    """Return the store that is meant.

    Raises:
        StoreError: a URL that can't be understood.
        TypeError: it is neither a store nor a URL.
    """
    if store is None:
        store = os.environ.get("GORKFLOW_STORE") or DEFAULT_STORE
    if isinstance(store, str | PathLike):
        return open_store(store)
    if not callable(getattr(store, "read_events", None)):
        raise TypeError(
            "store must be a Store, a URL such as 'memory:', or the path of a file, not "
            f"{brief(store)}"
        )
    return store
