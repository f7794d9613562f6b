"""The conditions of a run, its times and keys: functions that are not steps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from gorkflow._durations import due_of, seconds_of
from gorkflow._text import brief
from gorkflow.engine._call import Answer, Call
from gorkflow.engine._results import logged, make_failure, unreadable
from gorkflow.engine._threads import NoThreadError
from gorkflow.engine._watchdog import Countdown, roots
from gorkflow.engine._within import context_of
from gorkflow.errors import StepValueError, ValueInvalidError
from gorkflow.events import Decided, Event, Expanded, StepFailed, Timed, item_of
from gorkflow.flow import template_of
from gorkflow.machine import AskTime, Decide, Expand, Request
from gorkflow.model import FailureCode

if TYPE_CHECKING:
    from gorkflow.clock import TimerHandle
    from gorkflow.engine._call import Owner
    from gorkflow.language.signature import Condition

logger = logging.getLogger("gorkflow.step")

_KEYS_TIMEOUT = 10.0  # seconds for the keys of all items together, as for a condition
_MAX_KEY = 200  # characters as it stands in a path


def evaluate(owner: Owner, command: Request) -> Evaluation:
    """Begin to ask what a command is about."""
    if isinstance(command, Decide):
        return Decision(owner, command)
    if isinstance(command, AskTime):
        return Timing(owner, command)
    return Expansion(owner, command)


class Evaluation(Call):
    """A call of functions that are not steps, in a task."""

    def __init__(self, owner: Owner, command: Request) -> None:
        super().__init__(owner, command)
        self.command = command
        self._asked = ""
        self._cancelled = False
        self._running = self.loop.create_task(self._run(), context=context_of(self))
        self.task: asyncio.Task[None] | None = self._running

    @property
    def is_over(self) -> bool:
        """Whether the function has answered."""
        return self._running.done()

    def cancel(self) -> None:
        """Stop. A sync condition runs to its end in its thread; its answer is ignored."""
        self._cancelled = True
        self._running.cancel()

    def _means_nothing(self) -> bool:
        """Return whether it was cancelled by its run, or because the whole program stops."""
        stopping = self.owner.runtime.is_shutting_down
        return self._cancelled or (self._running.cancelling() > 0 and stopping())

    async def _run(self) -> None:
        try:
            answer = Answer(*await self._answer())
        except (KeyboardInterrupt, SystemExit):
            raise
        except NoThreadError as error:
            self.owner.ended(self, error)  # the worker that claims the run asks again
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._means_nothing():
                self.owner.ended(self, None)
                raise
            try:
                self._fail(error)
            finally:
                error.__traceback__ = None  # it has frames that have the error: a cycle
        else:
            self.owner.ended(self, answer)

    def _fail(self, error: BaseException) -> None:
        run_id, path = self.run_id, self.path
        if (damage := unreadable(run_id, path, error)) is not None:
            self.owner.ended(self, damage)
            return
        now, code = self.owner.runtime.clock.now(), self._code(error)
        failure = make_failure(path, self.command.spec.id, 1, code, error, now)
        if self._asked not in failure.message:
            raised = f"{self._asked} raised {type(error).__name__}"
            failure = replace(failure, message=f"{raised}: {failure.message}")
        fields = {"run_id": run_id, "path": path, "attempt": 1}
        shown = self.owner.run.values.hidden(failure)
        info = logged(failure, shown, error)
        try:
            logger.warning("run %r: %s", run_id, shown, exc_info=info, extra=fields)
        finally:  # a log handler of the program's may raise, but the run has to continue
            self.owner.ended(self, Answer(StepFailed, (1, failure, None, None)))

    roots[_run.__code__] = itemgetter("self")

    async def _answer(self) -> tuple[type[Event], tuple[Any, ...]]:
        """Return the event that answers the command: its class, and its own fields."""
        raise NotImplementedError

    async def _call(
        self, asked: Callable[[], Any], function: Condition, seconds: float | None
    ) -> Any:
        """Call what was made of a function.

        Args:
            asked: what to call.
            function: what it was made of.
            seconds: that it gets once it begins, less those for which others block the loop;
                ``None``: any number.
        """
        runtime = self.owner.runtime
        timeout = asyncio.timeout(None)
        countdown: TimerHandle | None = None

        def begins() -> None:
            nonlocal countdown
            if seconds is not None:
                countdown = Countdown(
                    runtime.watchdog, self, seconds, lambda: timeout.reschedule(0.0)
                )

        try:
            async with timeout:
                if not function.is_async:
                    context = context_of(self)
                    return await runtime.functions.call(asked, context, begins)
                begins()
                return await asked()
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise TimeoutError(f"{self._asked} took longer than {seconds:g} s") from error
        finally:
            if countdown is not None:
                countdown.cancel()

    def _code(self, error: BaseException) -> FailureCode:
        return FailureCode.CONDITION


class Decision(Evaluation):
    """The evaluation of a choice, or of the condition of a loop."""

    command: Decide

    async def _answer(self) -> tuple[type[Event], tuple[Any, ...]]:
        return Decided, (await self._choose(),)

    async def _choose(self) -> int:
        arms = self.command.spec.conditions
        conditions = self.owner.run.definition.conditions[template_of(self.command.path)]
        for index, (arm, condition) in enumerate(zip(arms, conditions, strict=True)):
            self._asked = f"condition {arm.condition!r}"
            wanted = [annotation for _, annotation in condition.params]
            arguments = self.owner.run.values.arguments(wanted, self.command.input)
            holds = await self._call(partial(condition.fn, *arguments), condition, arm.timeout)
            if not isinstance(holds, bool):
                raise TypeError(
                    f"condition {arm.condition!r} must return True or False, not {brief(holds)}"
                )
            if holds:
                return index
        return len(arms)


class Timing(Evaluation):
    """The time of a sleep or wait."""

    command: AskTime

    async def _answer(self) -> tuple[type[Event], tuple[Any, ...]]:
        run, spec, given = self.owner.run, self.command.spec, self.command.input
        asks = spec.asks
        assert asks is not None  # or nothing was asked
        self._asked = f"the time of {spec.kind} {spec.id!r}, {asks.function!r},"
        function = run.definition.times[template_of(self.command.path)]
        arguments = run.values.arguments([wanted for _, wanted in function.params], given)
        said = await self._call(partial(function.fn, *arguments), function, asks.timeout)
        if asks.is_due:
            return Timed, (None, due_of(said, self._asked, self.owner.runtime.clock.now()))
        seconds = seconds_of(said, self._asked, endless=spec.may_be_endless)
        return Timed, (None if seconds == inf else seconds, None)


class Expansion(Evaluation):
    """The items of a map: how many there are, and their keys."""

    command: Expand

    async def _answer(self) -> tuple[type[Event], tuple[Any, ...]]:
        count = self.owner.run.values.count(self.command.input)
        if not self.command.spec.keyed:
            return Expanded, (count, None)
        function = self.owner.run.definition.keys[template_of(self.command.path)]
        self._asked = f"key {function.name!r}"
        keys = await self._call(self._all(function, count), function, _KEYS_TIMEOUT)
        return Expanded, (count, self._distinct(keys))

    def _distinct(self, keys: list[Any]) -> tuple[str, ...]:
        """Return keys as they stand in paths.

        Raises:
            StepValueError: If one can't stand there, or two are the same.
        """
        redaction = self.owner.run.values.redaction
        for index, key in enumerate(keys if redaction else ()):
            if redaction is not None and redaction.holds(str(key)):
                raise StepValueError(
                    f"{self._asked} returned a secret for item {index}, and views show keys; "
                    "return another text"
                )
        return _distinct(self._asked, keys)

    def _code(self, error: BaseException) -> FailureCode:
        """A wrong list or key is a failure of values; an exception is one of code."""
        invalid = isinstance(error, ValueInvalidError)
        return FailureCode.VALIDATION if invalid else FailureCode.CONDITION

    def _all(self, function: Condition, count: int) -> Callable[[], Any]:
        """Return what asks for the keys of all items: async, if the function is."""
        wanted = [annotation for _, annotation in function.params]
        values, given = self.owner.run.values, self.command.input

        def arguments(index: int) -> tuple[Any, ...]:
            return values.arguments(wanted, item_of(given, index))

        async def one_by_one() -> list[Any]:
            return [await function.fn(*arguments(index)) for index in range(count)]

        if function.is_async:
            return one_by_one
        return lambda: [function.fn(*arguments(index)) for index in range(count)]


def _distinct(asked: str, keys: list[Any]) -> tuple[str, ...]:
    """Return keys as they stand in paths.

    Raises:
        StepValueError: If one can't stand there, or two are the same.
    """
    from urllib.parse import quote  # slow to load, and only needed for keys

    places: dict[str, int] = {}
    for index, key in enumerate(keys):
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise StepValueError(f"{asked} must return a str or int, not {brief(key)}")
        try:
            written = quote(str(key), safe="")
        except UnicodeEncodeError:
            raise StepValueError(
                f"{asked} returned {brief(key)}, which holds a lone surrogate"
            ) from None
        if not written or len(written) > _MAX_KEY:
            raise StepValueError(
                f"{asked} returned {brief(key)} for item {index}; a key must have 1 to {_MAX_KEY} "
                "characters, with all but letters, digits and _.-~ percent-encoded"
            )
        first = places.setdefault(written, index)
        if first != index:
            raise StepValueError(
                f"{asked} returned {brief(key)} for items {first} and {index}; keys must differ"
            )
    return tuple(places)
