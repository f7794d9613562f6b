"""Runs that others left: claiming them, going on with them, giving back those that can't."""

from __future__ import annotations

import contextvars
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gorkflow.engine import _blocked
from gorkflow.engine._asleep import RunState, size_of
from gorkflow.engine._driver import Driver
from gorkflow.engine._match import carried_on, differences, type_differences
from gorkflow.engine._recorded import reading, tree_of
from gorkflow.engine._values import Values
from gorkflow.errors import (
    LeaseLostError,
    RunBlockedError,
    RunNotFoundError,
    StoreCorruptError,
    StoreError,
)
from gorkflow.events import CancelRequested, RunCreated, TypesAccepted
from gorkflow.listing import RunFilter
from gorkflow.machine import replay
from gorkflow.model import BLOCKED, UNDOING, RunStatus
from gorkflow.store import Append, Message, Written

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.definition import Definition
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runs import Runs
    from gorkflow.engine._runtime import Runtime
    from gorkflow.flow import WorkflowSpec
    from gorkflow.machine import Machine
    from gorkflow.store import Claim, Loaded, RunRow

logger = logging.getLogger("gorkflow.engine")

_LOOK_AGAIN = 5.0  # seconds until a run that can't be carried on is looked at again, by others too
AHEAD = 2.0
"""Seconds before it is due that a run is claimed, so that it wakes in time, however many do."""
_LIVE = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED)
_BATCH = 100  # runs claimed in one go
_TOLD = 1000  # messages about blocked runs that are remembered, so as not to repeat them
RETRY = 1.0  # seconds until a run that the store failed is taken up again


class Claims:
    """Takes over runs that nobody carries.

    Every claim ends in one of three ways: the run is carried here, it was given back, or it is in
    ``dropped`` and will be given back. So no run stays ours that we don't carry.

    Args:
        runtime: the engine's.
        registry: the workflows it knows.
        runs: those that it carries.
    """

    def __init__(self, runtime: Runtime, registry: Registry, runs: Runs) -> None:
        self._runtime = runtime
        self._registry = registry
        self._runs = runs
        self._context = contextvars.copy_context()
        self._dropped: dict[str, int] = {}
        self._blocked: dict[str, RunBlockedError] = {}
        self._told: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self.left_some = False
        """Whether the latest look left runs that there was no room for."""

    def drop(self, run_id: str, token: int, why: BaseException | None = None) -> None:
        """Have a run given back that is ours in the store, but not carried.

        Args:
            run_id: the run.
            token: our lease on it.
            why: what it was given up for, if for something.
        """
        if isinstance(why, RunBlockedError):
            self._blocked[run_id] = why
        self._dropped[run_id] = max(token, self._dropped.get(run_id, token))

    async def recover(
        self,
        workflow_ids: list[str] | None,
        run_id: str | None = None,
        *,
        room: Callable[[], int] | None = None,
        accept_types: bool = False,
    ) -> list[str]:
        """Take over runs that nobody carries; return their ids.

        The caller has made sure that the lease holds. Should it end meanwhile, what is taken over
        begins nothing until it is renewed; and what others have taken by then, the store refuses.

        Args:
            workflow_ids: runs of these workflows; ``None``: of any.
            run_id: only this run. It is an error then if it can't be carried on.
            room: how many may be taken now; ``None``: all there are.
            accept_types: whether runs go on whose types don't fit.
        """
        taken: list[str] = []
        seen: set[str] = set()
        while True:
            limit = _BATCH if room is None else min(_BATCH, room())
            self.left_some = limit < 1
            if self.left_some or self._runtime.closing:
                return taken
            claims = await self._runtime.store.claim(
                self._runtime.worker_id,
                times=self._runtime.clock,
                ahead=AHEAD,
                workflow_ids=workflow_ids,
                run_id=run_id,
                limit=limit,
            )
            fresh = [claim for claim in claims if claim.row.run_id not in seen]
            for claim in claims:
                if claim.row.run_id in seen:  # put back just now, and due again so soon
                    self.drop(claim.row.run_id, claim.row.token)
            seen.update(claim.row.run_id for claim in claims)
            taken += await self._take_over_all(
                fresh, strict=run_id is not None, accept_types=accept_types
            )
            if not fresh or run_id is not None:
                return taken

    async def accept_types(self, workflow_ids: list[str]) -> list[str]:
        """Take over runs that types alone keep from going on, due or not; return their ids.

        ``recover`` does not see them: they were looked at just now, or wait for long.

        Args:
            workflow_ids: runs of these workflows, which the engine knows.
        """
        store, taken = self._runtime.store, list[str]()
        for workflow_id in workflow_ids:
            query: RunFilter | None = RunFilter(workflow_id=workflow_id, status=_LIVE)
            while query is not None:
                page = await store.list_runs(query)
                cursor = page.next_cursor
                query = None if cursor is None else replace(query, cursor=cursor)
                for row in page:
                    if not self._runtime.closing and await self._types_differ(row):
                        claims = await store.claim(
                            self._runtime.worker_id, times=self._runtime.clock, run_id=row.run_id
                        )
                        taken += await self._take_over_all(claims, strict=False, accept_types=True)
        return taken

    async def check(self, run_id: str) -> None:
        """Check that the code here could run a run on that nobody has, due or not.

        Raises:
            RunBlockedError: If it could not; says why.
        """
        row = await self._runtime.store.get_run(run_id)
        if row is None or row.status.terminal or row.worker_id is not None:
            return
        definition = self._registry.of_run(run_id, row.workflow_id)
        if definition is None or definition.fingerprint == row.fingerprint:
            return
        with suppress(RunNotFoundError, StoreCorruptError), reading(run_id):
            *_, problems, unfit = await self._judged(row, definition)
            if problems or unfit:
                raise _blocked.misfit(run_id, problems, unfit)

    async def _types_differ(self, row: RunRow) -> bool:
        """Return whether types that don't fit, and they alone, block a run that nobody has."""
        definition = self._registry.of_run(row.run_id, row.workflow_id)
        if definition is None or row.worker_id is not None:
            return False
        if definition.fingerprint == row.fingerprint and not row.reason.startswith(BLOCKED):
            return False
        with suppress(RunNotFoundError, StoreCorruptError), reading(row.run_id):
            *_, problems, unfit = await self._judged(row, definition)
            return bool(unfit) and not problems
        return False

    async def _judged(
        self, row: RunRow, definition: Definition
    ) -> tuple[Loaded, WorkflowSpec, list[str], list[str]]:
        """Load a run; return it, its tree, what differs but for types, and which don't fit."""
        loaded = await self._runtime.store.load(row.run_id)
        if loaded is None:
            raise RunNotFoundError(row.run_id)
        tree, thorough = tree_of(loaded), row.run_id in self._unreadable
        problems = differences(tree, definition, loaded.events, self._registry.executors)
        unfit = type_differences(tree, definition, loaded.events, thorough=thorough)
        return loaded, tree, problems, unfit

    async def has_work(self, row: RunRow) -> bool:
        """Return whether a run has something to do now, as ``Store.claim`` judges it."""
        if row.due_at is None and row.status is not RunStatus.SUSPENDED:
            return True
        if row.due_at is not None and row.due_at <= self._runtime.clock.now() + AHEAD:
            return True
        return any(message.id > row.seen for message in await self._runtime.store.inbox(row.run_id))

    async def _take_over_all(
        self, claims: list[Claim], *, strict: bool, accept_types: bool
    ) -> list[str]:
        taken: list[str] = []
        open_claims = {claim.row.run_id: claim.row.token for claim in claims}
        try:
            for claim in claims:
                if self._runtime.closing:
                    break
                try:
                    with reading(claim.row.run_id):
                        await self._take_over(claim, accept_types=accept_types)
                    taken.append(claim.row.run_id)
                    del open_claims[claim.row.run_id]
                except Exception as error:  # a run that breaks must not stop the others
                    if await self._put_back(claim, error):
                        del open_claims[claim.row.run_id]
                    if strict:
                        raise
        finally:
            for run_id, token in open_claims.items():
                self.drop(run_id, token)
        return taken

    async def _take_over(self, claim: Claim, *, accept_types: bool) -> None:
        run_id = claim.row.run_id
        row, run = claim.row, await self._runtime.asleep.wake(claim.row)
        if run is None:
            row, run = await self._replayed(claim, accept_types=accept_types)
        mine = self._runs.drivers.get(run_id)
        if mine is not None:
            mine.broken(
                LeaseLostError(run_id, f"the lease on run {run_id!r} ended; it starts over")
            )
        how = "begins on" if claim.row.started_at is None else "is continued by"
        logger.info("run %r %s %s", run_id, how, self._runtime.worker_id)
        driver = Driver(self._runtime, row, run, self._context)
        driver.receive(await self._runtime.store.inbox(run_id, after=driver.mail.seen))
        self._runs.carry(driver)

    async def _replayed(self, claim: Claim, *, accept_types: bool) -> tuple[RunRow, RunState]:
        """Load a run and replay it; return its row from then on, too."""
        run_id = claim.row.run_id
        definition = self._registry.of_run(run_id, claim.row.workflow_id)
        if definition is None:
            raise _blocked.unknown(run_id, claim.row.workflow_id)
        loaded, tree, problems, unfit = await self._judged(claim.row, definition)
        if problems or (unfit and not accept_types):
            raise _blocked.misfit(run_id, problems, unfit)
        self._unreadable.discard(run_id)
        machine = replay(run_id, tree, loaded.events)
        row, history = claim.row, [*loaded.events]
        if unfit:
            row, accepted = await self._accept(claim, machine, definition.fingerprint, unfit)
            history.append(accepted)
        created = history[0]
        assert isinstance(created, RunCreated)  # or the replay had failed
        definition = carried_on(definition, tree, loaded.tree)
        values = Values(run_id, definition)
        values.note(history)
        size = size_of(loaded.events)
        run = RunState(definition, machine, values, created.timeout, created.defined_at, size)
        return row, run

    async def _accept(
        self, claim: Claim, machine: Machine, fingerprint: str, problems: list[str]
    ) -> tuple[RunRow, TypesAccepted]:
        """Record that somebody said that these types fit; return the row from then on, and how."""
        run_id = claim.row.run_id
        now = max(self._runtime.clock.now(), machine.at)
        event = TypesAccepted(run_id, machine.seq + 1, "", now, fingerprint, tuple(problems))
        machine.feed(event)
        row = replace(claim.row, seq=machine.seq)
        if await self._runtime.store.write([Append(row, [event], claim.row.seq)]) != [Written.OK]:
            raise LeaseLostError(run_id, f"run {run_id!r} was taken over meanwhile")
        return row, event

    def unreadable(self, run_id: str) -> None:
        """Have every value of a run read before it is taken over, since one could not be."""
        if len(self._unreadable) > _TOLD:
            self._unreadable.clear()
        self._unreadable.add(run_id)

    async def _put_back(self, claim: Claim, error: Exception) -> bool:
        """Release a run that can't be run here, to be looked at later; return whether it was."""
        if len(self._told) > _TOLD:
            self._told.clear()
        if self._told.get(claim.row.run_id) != str(error):
            self._told[claim.row.run_id] = str(error)  # once: it will be looked at again and again
            logger.error("%s", error)
        transient = isinstance(error, StoreError) and not isinstance(error, StoreCorruptError)
        before = claim.row
        with suppress(StoreCorruptError):  # accepted types may be recorded since it was claimed
            found = await self._runtime.store.get_run(before.run_id)
            before = before if found is None else replace(before, seq=found.seq)
        mail = await self._runtime.store.inbox(before.run_id, after=before.seen)
        due_at = self._runtime.clock.now() + (RETRY if transient else _LOOK_AGAIN)
        seen = max((message.id for message in mail), default=before.seen)  # or it wakes it
        # Where the workflow is not even known here, that says nothing about others.
        known = self._registry.of_run(before.run_id, before.workflow_id) is not None
        blocked = known and isinstance(error, RunBlockedError)
        reason = f"{BLOCKED if blocked else ''}{error}"
        row = replace(_released(before, due_at), reason=reason, seen=seen)
        written = await self._runtime.store.write([Append(row, (), row.seq)])
        self._runtime.changed(row.run_id)  # those who wait for it learn that it is blocked
        return written == [Written.OK]

    async def give_back(self, delay: float) -> None:
        """Let go of the dropped runs, so that they go on: with us again, or with others.

        Args:
            delay: seconds until then.
        """
        store, clock = self._runtime.store, self._runtime.clock
        for run_id, token in list(self._dropped.items()):
            try:
                row = await store.get_run(run_id)
            except StoreCorruptError:
                row = None  # nobody can carry it on
            why = self._blocked.pop(run_id, None)
            if row is not None and row.worker_id == self._runtime.worker_id and row.token == token:
                row = _released(row, clock.now() + (delay if why is None else _LOOK_AGAIN))
                row = row if why is None else replace(row, reason=f"{BLOCKED}{why}")
                await store.write([Append(row, (), row.seq)])
                self._runtime.changed(run_id)
            if self._dropped.get(run_id) == token:
                del self._dropped[run_id]

    async def cancel(self, run_id: str, reason: str) -> None:
        """Cancel a run that this engine does not carry.

        Raises:
            RunNotFoundError: there is no such run.
        """
        runtime = self._runtime
        store, clock = runtime.store, runtime.clock
        await self.give_back(0.0)
        message = Message(id=0, run_id=run_id, kind="cancel", body=reason, at=clock.now())
        if not await store.post(message):
            if await store.get_run(run_id) is None:
                raise RunNotFoundError(run_id)
            return
        # Whoever carries it finds the message; if nobody does, we do what it says.
        for claim in await store.claim(runtime.worker_id, times=clock, run_id=run_id, limit=1):
            self.drop(run_id, claim.row.token)
            await self._cancel_unowned(claim, reason)
            self._dropped.pop(run_id, None)

    async def _cancel_unowned(self, claim: Claim, reason: str) -> None:
        """Cancel a run that nobody carries: for that, its tree is enough.

        To undo what it did takes a worker that knows its workflow: it is left for one to claim.
        """
        store = self._runtime.store
        run_id = claim.row.run_id
        kept = await self._runtime.asleep.wake(claim.row)
        if kept is not None:
            machine = kept.machine
        else:
            loaded = await store.load(run_id)
            if loaded is None:
                return
            with reading(run_id):
                machine = replay(run_id, tree_of(loaded), loaded.events)
        seq = machine.seq
        undoing = machine.undoing is not None  # then it stands how the run ends
        now = max(self._runtime.clock.now(), machine.at)
        event = CancelRequested(run_id, machine.seq + 1, "", now, reason)
        events = [event, *machine.feed(event)]
        row = replace(claim.row, seq=machine.seq, worker_id=None)
        if not undoing:
            ended = machine.status.terminal
            row = replace(
                row,
                status=machine.status,
                reason=reason if ended else f"{UNDOING}{reason}",
                finished_at=now if ended else None,
                due_at=None if ended else now,
            )
        asked = [message.id for message in await store.inbox(run_id) if message.kind == "cancel"]
        await store.write([Append(row, events, seq, asked)])


def _released(row: RunRow, due_at: float) -> RunRow:
    """Return the row of a run that nobody owns until ``due_at``; a delayed start stays delayed."""
    if row.status is RunStatus.PENDING and row.due_at is not None:
        due_at = max(due_at, row.due_at)
    return replace(row, worker_id=None, due_at=due_at)
