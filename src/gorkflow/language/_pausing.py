"""The methods of workflows that wait: for a time, or for a signal."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief
from gorkflow.annotations import describe, fits
from gorkflow.language._elements import UNSET, Condition, Element, Sleep, Time, Wait
from gorkflow.language._options import id_problems
from gorkflow.language._overloads import FluentMethods
from gorkflow.node import In_contra, Node, Out_co
from gorkflow.policy import due_of, pause_of
from gorkflow.signal import Signal

if TYPE_CHECKING:
    from gorkflow.workflow import Workflow


class PausingMethods(FluentMethods[In_contra, Out_co]):
    """What is behind ``sleep`` and ``wait_for``."""

    def _with_sleep(self, duration: Any, until: Any, sleep_id: str | None) -> Workflow[Any, Any]:
        problems = [] if sleep_id is None else id_problems("sleep", sleep_id)
        time = Time()
        if duration is UNSET and until is None:
            problems.append("a sleep needs to know how long: sleep(seconds) or sleep(until=…)")
        elif duration is not UNSET and until is not None:
            problems.append("a sleep takes either a duration or until=, not both")
        elif until is not None:
            time = _due(until, problems)
        else:
            time = _duration(duration, "a sleep", problems)
        return self.grown(Sleep("sleep" if sleep_id is None else sleep_id, time), problems)

    def _with_wait(
        self, signal: Any, timeout: Any, until: Any, default: Any, wait_id: str | None
    ) -> Workflow[Any, Any]:
        if not isinstance(signal, Signal):
            return self.grown(None, [f"wait_for takes a Signal(name, type), not {brief(signal)}"])
        problems = [] if wait_id is None else id_problems("wait", wait_id)
        time = Time()
        if timeout is not None and until is not None:
            problems.append("wait_for takes either timeout= or until=, not both")
        elif until is not None:
            time = _due(until, problems)
        elif timeout is not None:
            time = _duration(timeout, "timeout", problems, waits=True)
        if default is not UNSET and time == Time() and not problems:
            problems.append(
                f"the wait for {signal.name!r} has a default, but no timeout after which it would "
                "be used: give it a timeout="
            )
        wait = Wait(
            signal.name if wait_id is None else wait_id,
            signal.name,
            signal.type,
            time,
            default=None if default is UNSET else default,
            has_default=default is not UNSET,
        )
        return self.grown(wait, problems)

    def grown(self, element: Element | None, problems: list[str]) -> Workflow[Any, Any]:
        """Return the workflow with another element, checked in its place."""
        raise NotImplementedError


def _duration(duration: Any, what: str, problems: list[str], *, waits: bool = False) -> Time:
    """Return a time that is given as a duration, or as what says it; add what is wrong with it."""
    if _is_code(duration):
        return _said(duration, what, float | timedelta, "seconds or a timedelta", problems)
    try:
        return Time(seconds=pause_of(duration, what, waits=waits))
    except (TypeError, ValueError) as error:
        problems.append(str(error))
        return Time()


def _due(until: Any, problems: list[str]) -> Time:
    """Return a time that is given by its end, or by what says it; add what is wrong with it."""
    if _is_code(until):
        return _said(until, "until", datetime, "a datetime with a time zone", problems)
    try:
        return Time(until=due_of(until, "until"))
    except (TypeError, ValueError) as error:
        problems.append(str(error))
        return Time()


def _is_code(item: Any) -> bool:
    return isinstance(item, Node) or callable(item) or inspect.iscoroutine(item)


def _said(fn: Any, what: str, wanted: Any, words: str, problems: list[str]) -> Time:
    if inspect.iscoroutine(fn):
        fn.close()
        problems.append(f"the function of {what} was called; give the function itself, without ()")
        return Time()
    if isinstance(fn, Node):
        problems.append(f"{what} takes a plain function that returns {words}, not {brief(fn)}")  # pyright: ignore[reportUnknownArgumentType]
        return Time()
    function = Condition(fn)
    if not fits(function.returns, wanted):
        gives = describe(function.returns)
        problems.append(f"{function.name!r} must return {words} for {what}, not {gives}")
    return Time(function=function, is_due=wanted is datetime)
