"""The claims of an engine: runs without an owner are taken over, and released if they can't run."""

from __future__ import annotations

import contextvars
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from gorkflow.engine import _compatibility as compatibility
from gorkflow.engine._asleep import RunState
from gorkflow.engine._driver import Driver
from gorkflow.engine._recorded import LIVE, Recorded, load, reading, recorded
from gorkflow.engine._row import hooks_of, portions
from gorkflow.engine._values import Values
from gorkflow.errors import (
    LeaseLostError,
    RunBlockedError,
    RunNotFoundError,
    StoreCorruptError,
    StoreError,
)
from gorkflow.events import CancelRequested, TypesAccepted
from gorkflow.hooks import Hook
from gorkflow.listing import RunFilter
from gorkflow.machine import replay
from gorkflow.model import BLOCKED, UNDOING, RunStatus
from gorkflow.store import Append, Message, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gorkflow.definition import Definition
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runs import Runs
    from gorkflow.engine._runtime import Runtime
    from gorkflow.machine import Machine
    from gorkflow.store import Loaded, RunRow

logger = logging.getLogger("gorkflow.engine")

_LOOK_AGAIN = 5.0  # seconds until a run that can't continue is looked at again, by others too
AHEAD = 2.0
"""Seconds before it is due that a run is claimed, so that it wakes in time, however many do."""
_BATCH = 100  # runs claimed, loaded or released in one go
_EVENTS = 5_000  # that are loaded in one go, unless one run has more
_LOGGED = 1000  # messages about blocked runs that are not repeated
RETRY = 1.0  # seconds until a run that the store failed is taken up again


class _Dropped(NamedTuple):
    token: int
    why: RunBlockedError | None


class _Unfit(NamedTuple):
    """A run that was claimed and can't be run here."""

    claim: RunRow
    error: Exception
    loaded: Loaded | None


class Claims:
    """Takes over runs that have no owner.

    Every claim ends in one of three ways: the run is owned here, it was released, or it was dropped
    and will be released. So the store names this worker for no run that it does not run.
    """

    def __init__(self, runtime: Runtime, registry: Registry, runs: Runs) -> None:
        self._runtime = runtime
        self._registry = registry
        self._runs = runs
        self._context = contextvars.copy_context()
        self._dropped: dict[str, _Dropped] = {}
        self._logged: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self.left_some = False
        """``True``: the latest look left runs, for lack of room. With a bounded queue, it may
        have."""

    def drop(self, run_id: str, token: int, why: BaseException | None = None) -> None:
        """Have a run released that is ours in the store, but has no driver."""
        before = self._dropped.get(run_id, _Dropped(token, None))
        error = why if isinstance(why, RunBlockedError) else before.why
        self._dropped[run_id] = _Dropped(max(token, before.token), error)

    async def recover(
        self,
        workflow_ids: list[str] | None,
        run_id: str | None = None,
        *,
        queues: Mapping[str, int | None] | None = None,
        room: Callable[[], int] | None = None,
        accept_types: bool = False,
    ) -> list[str]:
        """Take over runs that have no owner; return their ids.

        The caller has made sure that the lease holds. If it ends meanwhile, these runs start no
        step until it is renewed. The store rejects writes to runs that others have taken.

        Args:
            workflow_ids: runs of these workflows; ``None``: of any.
            run_id: only this run, and raise if it can't be continued.
            queues: runs of these queues, as of ``Store.claim``; ``None``: of any.
            room: how many may be taken now; ``None``: all.
            accept_types: whether to continue runs whose types don't fit.
        """
        taken: list[str] = []
        seen: set[str] = set()
        while True:
            limit = _BATCH if room is None else min(_BATCH, room())
            is_bounded = any(bound is not None for bound in (queues or {}).values())
            self.left_some = limit < 1 or is_bounded
            if limit < 1 or self._runtime.closing:
                return taken
            claims = await self._runtime.store.claim(
                self._runtime.worker_id,
                times=self._runtime.clock,
                ahead=AHEAD,
                workflow_ids=workflow_ids,
                queues=queues,
                run_id=run_id,
                limit=limit,
            )
            fresh = [claim for claim in claims if claim.run_id not in seen]
            for claim in claims:
                if claim.run_id in seen:  # put back just now, and due again so soon
                    self.drop(claim.run_id, claim.token)
            seen.update(claim.run_id for claim in claims)
            taken += await self._take_over_all(
                fresh, strict=run_id is not None, accept_types=accept_types
            )
            if not fresh or run_id is not None:
                return taken

    async def accept_types(self, workflow_ids: list[str]) -> list[str]:
        """Take over runs that only types keep from continuing, due or not; return their ids.

        ``recover`` does not see them: they were looked at just now, or are due much later.
        """
        store, taken = self._runtime.store, list[str]()
        for workflow_id in workflow_ids:
            query: RunFilter | None = RunFilter(workflow_id=workflow_id, status=LIVE)
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
        """Check that the code here could continue a run without an owner, due or not.

        Raises:
            RunBlockedError: If it could not; says why.
        """
        row = await self._runtime.store.get_run(run_id)
        if row is None or row.status.terminal or row.worker_id is not None:
            return
        if not self._runtime.serves(row.queue):
            return
        definition = self._registry.of_run(run_id, row.workflow_id)
        if definition is None or definition.fingerprint == row.fingerprint:
            return
        with suppress(RunNotFoundError, StoreCorruptError), reading(run_id):
            misfit = self._misfit(await load(self._runtime.store, run_id), definition)
            if misfit.problems or misfit.types:
                raise compatibility.blocked(run_id, misfit)

    async def _types_differ(self, row: RunRow) -> bool:
        """Return whether types that don't fit, and only they, block a run without an owner."""
        definition = self._registry.of_run(row.run_id, row.workflow_id)
        if definition is None or row.worker_id is not None or not self._runtime.serves(row.queue):
            return False
        if definition.fingerprint == row.fingerprint and not row.reason.startswith(BLOCKED):
            return False
        with suppress(RunNotFoundError, StoreCorruptError), reading(row.run_id):
            misfit = self._misfit(await load(self._runtime.store, row.run_id), definition)
            return bool(misfit.types) and not misfit.problems
        return False

    def _misfit(self, run: Recorded, definition: Definition) -> compatibility.Misfit:
        """Compare a run with the code."""
        return compatibility.misfit_of(
            run.tree,
            definition,
            run.events,
            self._registry.executors,
            thorough=run.row.run_id in self._unreadable,
        )

    async def has_work(self, row: RunRow) -> bool:
        """Return whether a run has something to do now, as ``Store.claim`` judges it."""
        if row.due_at is None and row.status is not RunStatus.SUSPENDED:
            return True
        if row.due_at is not None and row.due_at <= self._runtime.clock.now() + AHEAD:
            return True
        return any(message.id > row.seen for message in await self._runtime.store.inbox(row.run_id))

    async def _take_over_all(
        self, claims: list[RunRow], *, strict: bool, accept_types: bool
    ) -> list[str]:
        taken: list[str] = []
        claims = self._in_turn(claims)
        open_claims = {claim.run_id: claim.token for claim in claims}
        self._runs.coming |= open_claims.keys()
        try:
            for portion in portions(claims, _EVENTS):
                if self._runtime.closing:
                    break
                unfit: list[_Unfit] = []
                for claim, woken, loaded in await self._found(portion, unfit):
                    if self._runtime.closing:
                        break
                    try:
                        with reading(claim.run_id):
                            await self._take_over(claim, woken, loaded, accept_types=accept_types)
                        taken.append(claim.run_id)
                        del open_claims[claim.run_id]
                    except Exception as error:  # noqa: BLE001 - one must not stop the others
                        unfit.append(_Unfit(claim, error, loaded))
                for run_id in await self._put_back(unfit):
                    del open_claims[run_id]
                if strict and unfit:
                    raise unfit[0].error
        finally:
            self._runs.coming -= {claim.run_id for claim in claims}
            for run_id, token in open_claims.items():
                self.drop(run_id, token)
        return taken

    def _in_turn(self, claims: list[RunRow]) -> list[RunRow]:
        """Return the claimed runs that may run; one that waits in line was claimed by its id."""
        for claim in claims:
            if claim.is_in_line:
                self.drop(claim.run_id, claim.token)
        return [claim for claim in claims if not claim.is_in_line]

    async def _found(
        self, claims: Sequence[RunRow], unfit: list[_Unfit]
    ) -> list[tuple[RunRow, RunState | None, Loaded | None]]:
        """Return claimed runs with their state, if it is kept here, or with what is recorded.

        Args:
            claims: the runs.
            unfit: takes those that the store failed.
        """
        woken: dict[str, RunState] = {}
        loaded: dict[str, Loaded] = {}
        try:
            for claim in claims:
                run = await self._runtime.asleep.wake(claim)
                if run is not None:
                    woken[claim.run_id] = run
            unknown = [claim.run_id for claim in claims if claim.run_id not in woken]
            if unknown:
                loaded = await self._runtime.store.load_many(unknown)
        except StoreError as error:
            unfit += [_Unfit(claim, error, None) for claim in claims]
            return []
        return [(claim, woken.get(claim.run_id), loaded.get(claim.run_id)) for claim in claims]

    async def _take_over(
        self, claim: RunRow, run: RunState | None, loaded: Loaded | None, *, accept_types: bool
    ) -> None:
        run_id, row = claim.run_id, claim
        if run is None:
            row, run = await self._replayed(claim, loaded, accept_types=accept_types)
        mine = self._runs.drivers.get(run_id)
        if mine is not None:
            mine.broken(
                LeaseLostError(run_id, f"the lease on run {run_id!r} ended; it starts over")
            )
        known = hooks_of(run.definition, self._runtime.on_end)
        if row.hooks != (hooks := known | row.hooks & Hook.ENGINE):
            row = structs.replace(row, hooks=hooks)  # recorded with the next change of the row
        how = "begins on" if claim.started_at is None else "is continued by"
        logger.info("run %r %s %s", run_id, how, self._runtime.worker_id)
        driver = Driver(self._runtime, row, run, self._context.copy())
        if loaded is None:
            driver.receive(await self._runtime.store.inbox(run_id, after=driver.mail.seen))
        else:
            driver.receive(loaded.messages)
        self._runs.resume(driver)

    async def _replayed(
        self, claim: RunRow, loaded: Loaded | None, *, accept_types: bool
    ) -> tuple[RunRow, RunState]:
        """Replay a run; return its row from then on, too."""
        run_id = claim.run_id
        definition = self._registry.of_run(run_id, claim.workflow_id)
        if definition is None:
            raise compatibility.unknown(run_id, claim.workflow_id)
        # A run that could not be loaded with the others says why when it is loaded alone.
        run = await load(self._runtime.store, run_id) if loaded is None else recorded(loaded)
        misfit = self._misfit(run, definition)
        if misfit.problems or (misfit.types and not accept_types):
            raise compatibility.blocked(run_id, misfit)
        self._unreadable.discard(run_id)
        machine = replay(run_id, run.tree, run.events)
        row, history = claim, [*run.events]
        if misfit.types:
            row, accepted = await self._accept(claim, machine, definition.fingerprint, misfit.types)
            history.append(accepted)
        definition = compatibility.continued_by(definition, run.tree, run.text)
        values = Values(run_id, definition)
        values.note(history)
        created = run.created
        state = RunState(
            definition,
            machine,
            values,
            created.timeout,
            created.defined_at,
            created.scheduled_for,
            row.tags,
        )
        return row, state

    async def _accept(
        self, claim: RunRow, machine: Machine, fingerprint: str, problems: list[str]
    ) -> tuple[RunRow, TypesAccepted]:
        """Record that these types were accepted; return the row from then on, and the event."""
        run_id = claim.run_id
        now = max(self._runtime.clock.now(), machine.at)
        event = TypesAccepted(run_id, machine.seq + 1, "", now, fingerprint, tuple(problems))
        machine.feed(event)
        row = structs.replace(claim, seq=machine.seq)
        if await self._runtime.store.write([Append(row, [event], claim.seq)]) != [Written.OK]:
            raise LeaseLostError(run_id, f"run {run_id!r} was taken over meanwhile")
        return row, event

    def unreadable(self, run_id: str) -> None:
        """Have every value of a run read before it is taken over, since one could not be."""
        if len(self._unreadable) > _LOGGED:
            self._unreadable.clear()
        self._unreadable.add(run_id)

    async def _put_back(self, unfit: Sequence[_Unfit]) -> list[str]:
        """Release runs that can't be run here, to be looked at later; return those that were."""
        if not unfit:
            return []
        for run_id, error in [(each.claim.run_id, each.error) for each in unfit]:
            if len(self._logged) > _LOGGED:
                self._logged.clear()
            if self._logged.get(run_id) != str(error):
                self._logged[run_id] = str(error)  # once: the next look finds it again
                logger.error("%s", error)
        # Accepted types may be recorded since they were claimed.
        found = await self._runtime.store.get_runs([each.claim.run_id for each in unfit])
        batch = [await self._as_put_back(each, found.get(each.claim.run_id)) for each in unfit]
        written = await self._runtime.store.write(batch)
        for each in unfit:
            self._runtime.changed(each.claim.run_id)  # those who wait learn that it is blocked
        return [
            item.row.run_id
            for item, answer in zip(batch, written, strict=True)
            if answer is Written.OK
        ]

    async def _as_put_back(self, unfit: _Unfit, found: RunRow | None) -> Append:
        """Return what releases a run, so that it is looked at later."""
        before, error, loaded = unfit
        before = before if found is None else structs.replace(before, seq=found.seq)
        transient = isinstance(error, StoreError) and not isinstance(error, StoreCorruptError)
        if loaded is None:
            mail = await self._runtime.store.inbox(before.run_id, after=before.seen)
        else:
            mail = [*loaded.messages]
        due_at = self._runtime.clock.now() + (RETRY if transient else _LOOK_AGAIN)
        seen = max((message.id for message in mail), default=before.seen)  # or it wakes it
        # An unknown workflow says nothing about other workers.
        known = self._registry.of_run(before.run_id, before.workflow_id) is not None
        blocked = known and isinstance(error, RunBlockedError)
        reason = f"{BLOCKED if blocked else ''}{error}"
        row = structs.replace(_released(before, due_at), reason=reason, seen=seen)
        return Append(row, (), row.seq)

    async def release(self, delay: float) -> None:
        """Release the dropped runs, so that this worker or another one continues them.

        Args:
            delay: seconds until then.
        """
        every = list(self._dropped.items())
        for start in range(0, len(every), _BATCH):
            await self._release(every[start : start + _BATCH], delay)

    async def _release(self, some: Sequence[tuple[str, _Dropped]], delay: float) -> None:
        store, now = self._runtime.store, self._runtime.clock.now()
        rows = await store.get_runs([run_id for run_id, _ in some])  # what is damaged stays ours
        batch: list[Append] = []
        for run_id, (token, why) in some:
            row = rows.get(run_id)
            if row is None or (row.worker_id, row.token) != (self._runtime.worker_id, token):
                continue
            row = _released(row, now + (delay if why is None else _LOOK_AGAIN))
            row = row if why is None else structs.replace(row, reason=f"{BLOCKED}{why}")
            batch.append(Append(row, (), row.seq))
        if batch:
            await store.write(batch)
        for item in batch:
            self._runtime.changed(item.row.run_id)
        for run_id, dropped in some:
            if self._dropped.get(run_id) == dropped:
                del self._dropped[run_id]

    async def cancel(self, run_id: str, reason: str) -> None:
        """Cancel a run that this engine does not own.

        Raises:
            RunNotFoundError: If the run does not exist.
        """
        runtime = self._runtime
        store, clock = runtime.asked, runtime.clock
        await runtime.patience.call(self.release, 0.0)
        message = Message(id=0, run_id=run_id, kind="cancel", body=reason, at=clock.now())
        if not await store.post(message):
            if await store.get_run(run_id) is None:
                raise RunNotFoundError(run_id)
            return
        # Its owner finds the message. If it has none, this worker cancels it.
        for claim in await store.claim(runtime.worker_id, times=clock, run_id=run_id, limit=1):
            self.drop(run_id, claim.token)
            await self._cancel_unowned(claim, reason)
            self._dropped.pop(run_id, None)

    async def _cancel_unowned(self, claim: RunRow, reason: str) -> None:
        """Cancel a run without an owner: for that, its tree is enough.

        To undo its steps takes a worker that knows its workflow: the run is left for one to claim.
        """
        store = self._runtime.store
        run_id = claim.run_id
        kept = await self._runtime.asleep.wake(claim)
        if kept is not None:
            machine, shown = kept.machine, kept.values.hidden(reason)
        else:
            run = await load(store, run_id)
            with reading(run_id):
                machine = replay(run_id, run.tree, run.events)
            shown = run.redaction().text(reason)  # lists of runs show it, and read no events
        seq = machine.seq
        undoing = machine.undoing is not None  # then it stands how the run ends
        now = max(self._runtime.clock.now(), machine.at)
        event = CancelRequested(run_id, machine.seq + 1, "", now, reason)
        events = [event, *machine.feed(event)]
        row = structs.replace(claim, seq=machine.seq, worker_id=None)
        if not undoing:
            ended = machine.status.terminal
            row = structs.replace(
                row,
                status=machine.status,
                reason=shown if ended else f"{UNDOING}{shown}",
                finished_at=now if ended else None,
                due_at=None if ended else now,
                waits_for=machine.waits_for,
            )
        asked = [message.id for message in await store.inbox(run_id) if message.kind == "cancel"]
        written = await store.write([Append(row, events, seq, asked)])
        if written != [Written.OK]:
            return
        self._runs.over(row)
        observers = self._runtime.observers
        if observers is not None and row.status.terminal:
            observers.cancelled(row)


def _released(row: RunRow, due_at: float) -> RunRow:
    """Return the row of a run without an owner until ``due_at``; a delayed start stays delayed."""
    if row.status is RunStatus.PENDING and row.due_at is not None:
        due_at = max(due_at, row.due_at)
    return structs.replace(row, worker_id=None, due_at=due_at)
