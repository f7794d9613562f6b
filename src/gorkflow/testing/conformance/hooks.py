"""Hook calls: due with the end of their run, changed by one worker at a time, gone with it."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from gorkflow.hooks import Hook, HookCall
from gorkflow.model import RunStatus
from gorkflow.store import Append, Store
from gorkflow.testing.conformance.base import (
    DUPLICATE,
    FENCED,
    OK,
    T0,
    Conformance,
    finish,
    new_run,
    row_of,
    run_row,
    step_forward,
)

_BOTH = int(Hook.WORKFLOW | Hook.ENGINE)


def _call(run_id: str = "r", hook: Hook = Hook.WORKFLOW, **changes: object) -> HookCall:
    call = HookCall(run_id=run_id, workflow_id="shop", hook=hook, ended_at=T0 + 2, due_at=T0 + 2)
    return replace(call, **changes)


def _end(run_id: str = "r", at: float = T0 + 2, **changes: object) -> Append:
    """Return the end of a run, at an instant."""
    ended = finish(run_row(run_id, **changes))
    return replace(ended, row=replace(ended.row, finished_at=at, hooks=ended.row.hooks or 1))


async def _ended(store: Store, *run_ids: str, hooks: int = 1) -> None:
    await store.write([new_run(run_id, hooks=hooks) for run_id in run_ids])
    await store.write([_end(run_id, hooks=hooks) for run_id in run_ids])


class Hooks(Conformance):
    async def test_the_hooks_of_a_run_are_kept_with_it(self, store: Store) -> None:
        await store.write([new_run("none"), new_run("both", hooks=_BOTH)])
        assert (await row_of(store, "none")).hooks == 0
        assert (await row_of(store, "both")).hooks == _BOTH
        await store.write([step_forward(run_row("none", hooks=2))])
        assert (await row_of(store, "none")).hooks == 2

    async def test_calls_are_due_with_the_end_of_their_run(self, store: Store) -> None:
        await store.write([new_run(hooks=_BOTH), new_run("none")])
        assert await store.write([step_forward(run_row(hooks=_BOTH))]) == [OK]
        assert await store.hook_calls() == []
        ends = [_end(seq=2, hooks=_BOTH), finish(run_row("none"))]
        assert await store.write(ends) == [OK, OK]
        assert await store.hook_calls() == [_call(), _call(hook=Hook.ENGINE)]

    async def test_a_run_that_is_over_at_once_has_its_calls(self, store: Store) -> None:
        ended = new_run(status=RunStatus.COMPLETED, finished_at=T0 + 2, hooks=1)
        assert await store.write([ended]) == [OK]
        assert await store.hook_calls() == [_call()]
        assert await store.write([ended]) == [DUPLICATE]
        assert await store.hook_calls() == [_call()]

    async def test_what_is_not_written_makes_no_call(self, store: Store) -> None:
        await store.write([new_run(hooks=1)])
        for late in (_end(seq=7, hooks=1), _end(token=3, hooks=1)):
            assert await store.write([late]) == [FENCED]
        assert await store.hook_calls() == []

    async def test_calls_are_found_when_they_are_due(self, store: Store) -> None:
        await store.write([new_run(name, hooks=1) for name in ("b", "a", "c")])
        await store.write([_end("b", T0 + 1), _end("a", T0 + 3), _end("c", T0 + 2)])

        async def due(at: float | None, limit: int = 100) -> str:
            return "".join(each.run_id for each in await store.hook_calls(due_by=at, limit=limit))

        assert await due(T0 + 2) == "bc"
        assert await due(T0 + 0.5) == ""
        assert await due(None) == "bca"
        assert await due(None, 2) == "bc"
        assert await due(None, 0) == ""

    async def test_calls_are_found_by_hook_and_workflow(self, store: Store) -> None:
        for name, workflow_id in (("a", "shop"), ("b", "bank"), ("c", "mill")):
            await store.write([new_run(name, workflow_id=workflow_id, hooks=_BOTH)])
            await store.write([_end(name, workflow_id=workflow_id, hooks=_BOTH)])

        async def found(*of: tuple[Hook, str], limit: int = 100) -> list[tuple[str, Hook]]:
            calls = await store.hook_calls(of=of, due_by=T0 + 2, limit=limit)
            return [call.key for call in calls]

        own, any_engine = Hook.WORKFLOW, Hook.ENGINE
        assert await found() == []
        assert await found((own, "nobody")) == []
        assert await found((any_engine, "bank")) == [("b", any_engine)]
        both = ((own, "mill"), (any_engine, "mill"), (own, "shop"))
        assert await found(*both) == [("a", own), ("c", own), ("c", any_engine)]
        assert await found(*both, limit=2) == [("a", own), ("c", own)]

    async def test_calls_are_found_by_run(self, store: Store) -> None:
        await _ended(store, "a", "b")
        assert await store.hook_calls(run_id="b") == [_call("b")]
        assert await store.hook_calls(run_id="b", due_by=T0) == []
        assert await store.hook_calls(run_id="nobody") == []

    async def test_a_call_is_written_only_on_top_of_the_revision_before(self, store: Store) -> None:
        assert await store.put_hook_call(_call(revision=1)) is False
        await _ended(store, "r")
        for wrong in (_call(), _call(revision=2), _call(revision=1, hook=Hook.ENGINE)):
            assert await store.put_hook_call(wrong) is False
        assert await store.hook_calls() == [_call()]
        changed = _call(revision=1, tries=1, due_at=T0 + 60, error="no \u00e9 \U0001f600")
        assert await store.put_hook_call(changed) is True
        assert await store.put_hook_call(changed) is False
        assert await store.hook_calls() == [changed]
        assert await store.hook_calls(due_by=T0 + 59) == []

    async def test_of_several_who_take_a_call_one_succeeds(self, stores: list[Store]) -> None:
        await _ended(stores[0], "r")
        tries = [
            store.put_hook_call(_call(revision=1, error=f"{n}")) for n, store in enumerate(stores)
        ]
        written = await asyncio.gather(*tries)
        assert sorted(written) == [False] * 7 + [True]
        (kept,) = await stores[0].hook_calls()
        assert kept.error == str(written.index(True))

    async def test_an_error_may_hold_a_lone_surrogate(self, store: Store) -> None:
        await _ended(store, "r")
        assert await store.put_hook_call(_call(revision=1, error="bad \udc80"))
        (kept,) = await store.hook_calls()
        assert kept.error.startswith("bad ")

    async def test_a_dropped_call_is_gone(self, store: Store) -> None:
        await _ended(store, "r", hooks=_BOTH)
        taken = _call(revision=1, tries=1)
        await store.put_hook_call(taken)
        assert await store.drop_hook_call(replace(taken, ended_at=T0 + 9)) is False
        assert await store.drop_hook_call(_call()) is True  # in whatever revision
        assert await store.drop_hook_call(taken) is False
        assert await store.put_hook_call(replace(taken, revision=2)) is False
        assert await store.hook_calls() == [_call(hook=Hook.ENGINE)]

    async def test_a_deleted_run_takes_its_calls_along(self, store: Store) -> None:
        await _ended(store, "r", "other")
        assert await store.delete_runs(["r"]) == 1
        assert await store.hook_calls() == [_call("other")]
        assert await store.put_hook_call(_call(revision=1)) is False
        assert await store.drop_hook_call(_call()) is False
        await store.write([new_run(hooks=1)])
        assert await store.hook_calls(run_id="r") == []
        await store.write([_end(at=T0 + 5)])
        assert await store.drop_hook_call(_call()) is False  # of the run that was deleted
        later = _call(ended_at=T0 + 5, due_at=T0 + 5)
        assert await store.hook_calls(run_id="r") == [later]
