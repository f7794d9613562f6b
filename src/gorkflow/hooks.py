"""Hooks: functions that are called when a run has ended, and what a store keeps of their calls.

A call is due from the commit that ends the run, until its hook has returned. So at least one call
reaches the hook, and a crash in between loses none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntFlag
from typing import Protocol, TypeAlias

from msgspec import Struct

from gorkflow.events import Seconds
from gorkflow.model import Run

OnEnd: TypeAlias = Callable[[Run], object]
"""A hook: a function of a run, plain or async. Its result is ignored."""


class Hook(IntFlag):
    """The hooks of a run: one of its workflow, one of the engines.

    Example:
        >>> from gorkflow.hooks import Hook
        >>> [hook.name for hook in Hook(3)]
        ['WORKFLOW', 'ENGINE']
    """

    WORKFLOW = 1
    """``Workflow(…, on_end=…)``."""
    ENGINE = 2
    """``Engine(…, on_end=…)``."""


class HookCall(Struct, frozen=True, kw_only=True):
    """A call of a hook that is due, as a store keeps it.

    Example:
        >>> from gorkflow.hooks import Hook, HookCall
        >>> call = HookCall(
        ...     run_id="r1", workflow_id="orders", hook=Hook.ENGINE, ended_at=5.0, due_at=5.0
        ... )
        >>> call.tries, call.error
        (0, '')
    """

    run_id: str
    workflow_id: str
    hook: Hook
    """The owner of the hook: one of the two."""
    ended_at: Seconds
    """When the run ended."""
    due_at: Seconds
    """When a worker may call it next. A worker that calls it puts that off meanwhile."""
    tries: int = 0
    """How often a worker began to call it."""
    error: str = ""
    """How the latest try failed."""
    revision: int = 0
    """Rises with each write. A write names the next one, so that one of several workers wins."""

    @property
    def key(self) -> tuple[str, Hook]:
        """The run, and the owner of the hook: there is one such call."""
        return self.run_id, self.hook


class HookStore(Protocol):
    """The part of a store that keeps the calls of hooks.

    ``Store.write`` records them with the transition after which a run has ended: one call for each
    hook in ``row.hooks``. It is due when the run ended. A deleted run takes its calls along.

    Example:
        >>> import asyncio
        >>> from gorkflow import stores
        >>> async def main() -> int:
        ...     store = stores.open_store("memory:")
        ...     await store.open()
        ...     return len(await store.hook_calls())
        >>> asyncio.run(main())
        0
    """

    async def hook_calls(
        self,
        *,
        due_by: float | None = None,
        of: Iterable[tuple[Hook, str]] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[HookCall]:
        """Return calls, the one that is due first in front.

        Args:
            due_by: only those that are due by then, in seconds since the epoch.
            of: only of these hooks: the owner, and the id of the run's workflow.
            run_id: only of this run.
            limit: at most so many.
        """
        ...

    async def put_hook_call(self, call: HookCall) -> bool:
        """Change a call: when it is due, its tries, its error; durable on return.

        Returns:
            Whether it was written: only on top of the revision before, and while it is kept.
        """
        ...

    async def drop_hook_call(self, call: HookCall) -> bool:
        """Remove a call, in any revision; return whether it was there.

        A call of another run that has the id by now, with another ``ended_at``, stays.
        """
        ...
