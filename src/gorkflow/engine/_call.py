"""A call of a function of the program: a step's handler, or a condition. Base of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextvars import Context

    from gorkflow.engine._asleep import RunState
    from gorkflow.engine._handlers import Handlers
    from gorkflow.engine._observer import Activations
    from gorkflow.engine._runtime import Runtime
    from gorkflow.events import Event
    from gorkflow.machine import Request, RunStep
    from gorkflow.policy import Limit
    from gorkflow.store import RunRow, Store


class Answer(NamedTuple):
    """The event that a call leads to, as data."""

    event: type[Event]
    fields: tuple[Any, ...]
    """The fields after ``at`` in the event."""


class Owner(Protocol):
    """The run that a call belongs to."""

    runtime: Runtime
    run: RunState
    row: RunRow
    """Its summary."""
    run_id: str
    context: Context
    """The context variables that its functions see."""
    handlers: Handlers
    """The tasks of its async steps."""
    observed: Activations | None
    """The run as the observers see it; ``None``: there are none."""

    def ended(self, call: Call, answer: Answer | BaseException | None) -> None:
        """Take how a call ended.

        Args:
            call: the call.
            answer: the event to record; why the run can't run on here; or ``None``: nothing, since
                the call was stopped.
        """
        ...


class Call:
    """A call that was begun, and not answered yet."""

    # Set on the class, so that a call for which none of it comes true sets none of it.
    held = 0.0
    """Seconds for which it held the event loop."""
    waits = 0
    """Runs that the function waits for; meanwhile other steps have its slots. See ``_within``."""
    awaits = ""
    """The run that the function waits for in its own task, so that it can't end before it."""
    task: asyncio.Task[None] | None = None
    """The task in which the function runs, if it does."""
    attempt = 1
    """The attempt of the step, or of the function."""
    then: Callable[[], object] | None = None
    """Called by the run once it has ended."""
    limits: tuple[Limit, ...] = ()
    """The named limits that it holds."""

    def __init__(self, owner: Owner, command: RunStep | Request) -> None:
        self.owner = owner
        self.path = command.path

    @property
    def run_id(self) -> str:
        return self.owner.run_id

    @property
    def queue(self) -> str:
        return self.owner.row.queue

    @property
    def context(self) -> Context:
        """The context variables of its run: who started that can be read from them."""
        return self.owner.context

    @property
    def store(self) -> Store:
        return self.owner.runtime.store

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self.owner.runtime.loop

    @property
    def is_over(self) -> bool:
        """Whether it is answered; the function may still run."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop the function; its answer is ignored."""
        raise NotImplementedError

    def lend(self) -> None:
        """Let other steps have its slots."""

    def take_back(self) -> None:
        """Take its slots again."""
