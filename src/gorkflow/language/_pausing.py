"""The methods of workflows that wait: for a time, or for a signal."""

from __future__ import annotations

from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from gorkflow.language._elements import UNSET, Element, Sleep, Wait, timeout_of
from gorkflow.language._options import id_problems
from gorkflow.language._overloads import FluentMethods
from gorkflow.node import In_contra, Out_co
from gorkflow.policy import LONGEST
from gorkflow.signal import Signal

if TYPE_CHECKING:
    from gorkflow.workflow import Workflow

T = TypeVar("T")


class PausingMethods(FluentMethods[In_contra, Out_co]):
    """``sleep`` and ``wait_for``."""

    def sleep(
        self, duration: float | timedelta, *, id: str | None = None
    ) -> Workflow[In_contra, Out_co]:
        """Return the workflow with a sleep at its end; it hands on what it gets.

        The due time is recorded, so it is kept over a crash, and nothing runs meanwhile.

        Args:
            duration: seconds, or a ``timedelta``; 0 or more.
            id: unique in the workflow; ``sleep``, so a second one needs an id.

        Raises:
            WorkflowInvalidError: it is no duration, or the id is taken.
        """
        problems = [] if id is None else id_problems("sleep", id)
        seconds = _seconds(duration, problems)
        return self.grown(Sleep("sleep" if id is None else id, seconds), problems)

    def wait_for(
        self,
        signal: Signal[T],
        *,
        timeout: float | timedelta | None = None,
        default: T = UNSET,
        id: str | None = None,
    ) -> Workflow[In_contra, tuple[Out_co, T]]:
        """Return the workflow with a wait for a signal at its end.

        It gives the pair of what it gets and the signal's payload; a next step with two parameters
        gets one each. A signal that was sent before the run waits is kept for it. Where several
        waits of a run are for the same signal, the oldest gets the first.

        Args:
            signal: what to wait for.
            timeout: seconds (or ``timedelta``) from when the wait begins; none.
            default: the payload when it timed out; without one, the wait then fails with code
                ``timeout``.
            id: unique in the workflow; the signal's name, so a second wait needs an id.

        Raises:
            WorkflowInvalidError: it can't stand there; lists why.
        """
        if not isinstance(signal, Signal):
            return self.grown(None, [f"wait_for takes a Signal(name, type), not {signal!r}"])
        problems = [] if id is None else id_problems("wait", id)
        seconds = timeout_of(timeout, problems)
        if default is not UNSET and seconds is None and not problems:
            problems.append(
                f"the wait for {signal.name!r} has a default, but no timeout after which it would "
                "be used: give it a timeout="
            )
        wait = Wait(
            signal.name if id is None else id,
            signal.name,
            signal.type,
            seconds,
            default=None if default is UNSET else default,
            has_default=default is not UNSET,
        )
        return self.grown(wait, problems)

    def grown(self, element: Element | None, problems: list[str]) -> Workflow[Any, Any]:
        """Return the workflow with another element, checked in its place."""
        raise NotImplementedError


def _seconds(duration: Any, problems: list[str]) -> float:
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        problems.append(f"a sleep must be seconds or a timedelta, not {duration!r}")
    elif not isfinite(duration) or duration < 0:
        problems.append(f"a sleep must be 0 seconds or more, and end, not {duration!r}")
    elif duration > LONGEST:
        problems.append(f"a sleep must be at most 100 years; it is in seconds: {duration!r}")
    else:
        return float(duration)
    return 0.0
