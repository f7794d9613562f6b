"""Policies as plain data: retries, joins, limits."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from gorkflow._durations import LONGEST, seconds_of
from gorkflow._text import brief, suggesting

Backoff = Literal["exponential", "linear", "constant"]
OnFailure = Literal["drain", "cancel"]
ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def queue_problems(name: object) -> list[str]:
    """Return why this can't be the name of a queue."""
    if isinstance(name, str) and ID_PATTERN.fullmatch(name):
        return []
    problem = (
        "the name of a queue must be 1 to 100 letters, digits, '_', '.' or '-', and begin with a "
        f"letter or digit, not {brief(name, 200)}"
    )
    return [problem]


def number(what: str, given: object) -> float:
    """Return what was given; raise ``TypeError`` if it is not a number."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{what} must be a number, not {brief(given)}")
    return given


def is_count(number: object, least: int = 1) -> bool:
    """Return whether it is a whole number, and not too small."""
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


_MOST = 10**15
"""Starts within a limit's ``per``. More is not a limit, and some ints are larger than any float."""


def exception_name(cls: type[BaseException]) -> str:
    """Return the name under which a policy knows an exception class."""
    # In a process for its steps the program has another name, as with multiprocessing.
    module = "__main__" if cls.__module__ == "__mp_main__" else cls.__module__
    return f"{module}.{cls.__qualname__}"


MAX_INTERRUPTIONS = 10
"""Attempts that may be interrupted in a row; the next one fails its step, since the step seems to
kill the process it runs in."""

if TYPE_CHECKING:
    ExceptionTypes = tuple[type[BaseException] | str, ...]
else:
    ExceptionTypes = tuple[str, ...]  # as a policy has them once it is made, and as JSON


@suggesting
@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The rule for retries: which failures are retried, and after how long.

    The classes in ``retry_on`` and ``give_up_on`` are kept by qualified name. A started run keeps
    its policy as data, and may outlive the code that made it. A text names every class that is
    called so, with or without its module: ``"httpx.ReadTimeout"``, ``"ReadTimeout"``. Both are
    looked for in the error, in what it was raised from, and in the errors of a group.

    Raises:
        ValueError: If a number is out of its range, or a text can't be the name of a class.
        TypeError: If ``retry_on`` or ``give_up_on`` has an item that is not an exception class.

    Example:
        >>> from gorkflow import RetryPolicy, step
        >>> policy = RetryPolicy(retries=5, initial_interval=0.5, give_up_on=(PermissionError,))
        >>> @step(retries=policy)
        ... def fetch(url: str) -> str:
        ...     return "a page"
    """

    retries: int = 3
    """Attempts after the first."""
    initial_interval: float = 1.0
    """Seconds before the first retry."""
    backoff: Backoff = "exponential"
    """``exponential``: times ``factor`` each time; ``linear``: plus ``initial_interval``."""
    factor: float = 2.0
    max_interval: float = 60.0
    """Seconds; no delay is longer, before jitter."""
    jitter: float = 0.1
    """The share of the delay, up or down, that is random: branches that fail together
    should not come back together."""
    retry_on: ExceptionTypes = (Exception,)
    give_up_on: ExceptionTypes = ()
    """Wins over ``retry_on``."""

    def __post_init__(self) -> None:
        """Check the ranges and turn classes into names."""
        if not is_count(self.retries, 0):
            raise ValueError(
                "retries must be 0 or more, or a policy such as RetryPolicy(retries=3), not "
                f"{brief(self.retries)}"
            )
        if self.backoff not in ("exponential", "linear", "constant"):  # it may be unhashable
            raise ValueError(
                f"backoff must be 'exponential', 'linear' or 'constant', not {brief(self.backoff)}"
            )
        for name, low in (("initial_interval", 0.0), ("max_interval", 0.0), ("factor", 1.0)):
            value = number(name, getattr(self, name))
            if not low <= value <= LONGEST:
                raise ValueError(
                    f"{name} must be at least {low:g} and at most 100 years in seconds, "
                    f"not {brief(value)}"
                )
            object.__setattr__(self, name, float(value))
        if not 0 <= number("jitter", self.jitter) <= 1:
            raise ValueError(f"jitter must be from 0 to 1, not {brief(self.jitter)}")
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))


def _names(field_name: str, types: ExceptionTypes) -> tuple[str, ...]:
    if isinstance(types, str) or not isinstance(types, tuple | list):
        raise TypeError(f"{field_name} must be a tuple of exception classes, not {brief(types)}")
    return tuple(_name(field_name, item) for item in types)


def _name(field_name: str, item: type[BaseException] | str) -> str:
    if isinstance(item, str):
        if not all(item.split(".")):
            raise ValueError(
                f"{field_name} must hold exception classes or their names, such as "
                f"'httpx.ReadTimeout' or 'ReadTimeout', not {brief(item)}"
            )
        return item
    if not (isinstance(item, type) and issubclass(item, BaseException)):
        raise TypeError(f"{field_name} must hold exception classes, not {brief(item)}")
    return exception_name(item)


def backoff_delay(policy: RetryPolicy, attempt: int) -> float:
    """Return the seconds after an attempt that failed (from 1), without jitter."""
    if policy.backoff == "constant":
        delay = policy.initial_interval
    elif policy.backoff == "linear":
        delay = policy.initial_interval * attempt
    else:
        try:
            delay = policy.initial_interval * policy.factor ** (attempt - 1)
        except OverflowError:
            delay = policy.max_interval
    return min(delay, policy.max_interval)


JoinKind = Literal["all", "settled", "first", "at_least", "tolerate"]


@dataclass(frozen=True, slots=True)
class Join:
    """The rule that decides a parallel block. Made by ``at_least`` and ``tolerate``.

    Example:
        >>> from gorkflow import Join, at_least
        >>> at_least(2) == Join("at_least", 2)
        True
    """

    kind: JoinKind
    count: int | None = None
    """``at_least``: completions that suffice; ``tolerate``: failures that are accepted."""
    percent: float | None = None
    """``tolerate``: failures that are accepted, in percent of the branches."""

    def __str__(self) -> str:
        """Return the rule as it is written in a workflow."""
        if self.percent is not None:
            return f"{self.kind}(percent={self.percent:g})"
        return self.kind if self.count is None else f"{self.kind}({self.count})"


def at_least(count: int) -> Join:
    """Return the join that completes as soon as ``count`` branches completed.

    The rest is cancelled; the output is the tuple of every branch's outcome.

    Raises:
        ValueError: If ``count`` is not at least 1.

    Example:
        >>> from gorkflow import Workflow, at_least, passthrough, run
        >>> tea = passthrough(str)
        >>> asking = Workflow("asking", input=str).parallel(tea, join=at_least(1))
        >>> run(asking, "tea", store="memory:")[0].result()
        'tea'
    """
    if not is_count(count):
        raise ValueError(f"at_least needs 1 or more branches as count, not {brief(count)}")
    return Join("at_least", count)


def tolerate(count: int | None = None, *, percent: float | None = None) -> Join:
    """Return the join that completes when all branches ended and few enough failed.

    Args:
        count: how many may fail.
        percent: how many may fail, in percent of the branches, rounded down.

    Raises:
        ValueError: If not exactly one is given, or it is out of range.
        TypeError: If the percent is not a number.

    Example:
        >>> from gorkflow import Workflow, run, step, tolerate
        >>> @step
        ... def invert(number: int) -> float:
        ...     return 1 / number
        >>> inverting = Workflow("inverting", input=list[int]).map(invert, join=tolerate(1))
        >>> [outcome.status for outcome in run(inverting, [0, 4], store="memory:")]
        ['failed', 'completed']
    """
    if (count is None) == (percent is None):
        raise ValueError("tolerate needs either a count or percent=, and not both")
    if count is not None and not is_count(count, 0):
        raise ValueError(f"tolerate needs 0 or more failures as count, not {brief(count)}")
    if percent is not None and not 0 <= number("tolerate: percent", percent) <= 100:
        raise ValueError(f"tolerate needs a percent from 0 to 100, not {brief(percent)}")
    return Join("tolerate", count, None if percent is None else float(percent))


@suggesting
@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on attempts that run, or start, over all runs and workers. Its name identifies it.

    Raises:
        ValueError: If a number is out of range, the name is not valid, or nothing is limited.
        TypeError: If a number is not a number.

    Example:
        >>> from gorkflow import Limit, step
        >>> github = Limit("github", concurrency=5, rate=100, per=60)
        >>> @step(limits=(github,))
        ... def stars(repository: str) -> int:
        ...     return len(repository)
    """

    name: str
    _: KW_ONLY
    concurrency: int | None = None
    """Attempts that may run at a time; ``None``: any number."""
    rate: float | None = None
    """Attempts that may start within any ``per`` seconds; ``None``: any number. One that is not
    whole is spread: 2.5 a second are 2 in any 0.8 seconds."""
    per: float | timedelta | None = None
    """Seconds, or a ``timedelta``; 1 second unless given. Kept as seconds."""

    def __post_init__(self) -> None:
        """Check the values, and turn durations into seconds."""
        if not isinstance(self.name, str) or not ID_PATTERN.fullmatch(self.name):
            raise ValueError(
                f"a limit's name must be 1 to 100 letters, digits, '_', '.' or '-', and begin with "
                f"a letter or digit, not {brief(self.name)}"
            )
        what = f"limit {self.name!r}"
        count, rate = self.concurrency, self.rate
        if count is None and rate is None:
            raise ValueError(f"{what} limits nothing; give it concurrency=, or rate= and per=")
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise TypeError(f"{what}: concurrency must be a whole number, not {brief(count)}")
        if count is not None and count < 1:
            raise ValueError(f"{what}: concurrency must be at least 1, not {brief(count)}")
        if rate is None:
            if self.per is not None:
                raise ValueError(f"{what}: per={brief(self.per)} says nothing without rate=")
            return
        if not 0 < number(f"{what}: rate", rate) <= _MOST:
            raise ValueError(
                f"{what}: rate must be more than 0 and finite, at most {_MOST:,}, not {brief(rate)}"
            )
        per = seconds_of(1.0 if self.per is None else self.per, f"{what}: per")
        if per == float("inf"):
            raise ValueError(f"{what}: per must be finite")
        object.__setattr__(self, "rate", float(rate))
        object.__setattr__(self, "per", per)

    def __str__(self) -> str:
        """Return what it allows, in words."""
        parts = [] if self.concurrency is None else [f"{self.concurrency} at a time"]
        if self.rate is not None:
            parts.append(f"{self.rate:g} per {self.per:g} s")
        return " and ".join(parts)

    @property
    def window(self) -> tuple[int, float] | None:
        """How many may start within how many seconds; ``None``: any number."""
        if self.rate is None or not isinstance(self.per, float):
            return None
        starts = max(1, int(self.rate))
        return starts, self.per * starts / self.rate
