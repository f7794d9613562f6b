"""The writes of a store: opening, creating and appending."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from gorkflow import events as ev
from gorkflow.clock import Moment
from gorkflow.errors import StoreError
from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus
from gorkflow.store import Append, NewRun, RunReader, Store, Transition, Written
from gorkflow.testing.conformance.base import (
    DUPLICATE,
    EVENTS,
    FENCED,
    MANY,
    OK,
    PAYLOADS,
    T0,
    Conformance,
    completed,
    decided,
    finish,
    ids,
    new_run,
    register,
    row_of,
    run_row,
    step_forward,
    whole,
    worker,
)


class Writing(Conformance):
    # Opening and closing

    async def test_follows_the_protocol(self, store: Store) -> None:
        assert isinstance(store, Store)
        assert isinstance(store, RunReader)

    async def test_closes_twice(self, store: Store) -> None:
        await store.close()
        await store.close()

    async def test_opens_twice(self, store: Store) -> None:
        await store.write([new_run()])
        await store.open()
        assert await store.get_run("r") is not None

    async def test_refuses_work_after_close(self, store: Store) -> None:
        await store.close()
        with pytest.raises(StoreError):
            await store.write([new_run()])
        with pytest.raises(StoreError):
            await store.write([])
        with pytest.raises(StoreError):
            await store.get_run("r")
        with pytest.raises(StoreError):
            await store.claim("w1", times=Moment(T0))

    # Creating

    async def test_created_run_is_there_whole(self, store: Store) -> None:
        row = run_row(
            reason="why",
            resource_id="cart",
            tags=(("env", "prod"), ("team", "a\u00e9")),
            due_at=T0 + 1,
            status=RunStatus.SUSPENDED,
            token=3,
        )
        new = NewRun(row, '{"tree":"\u00e9"}', EVENTS[:1])
        assert await store.write([new]) == [OK]
        loaded = await whole(store, "r")
        assert (loaded.row, loaded.tree, loaded.events) == (
            row,
            '{"tree":"\u00e9"}',
            EVENTS[:1],
        )
        assert await store.get_run("r") == row

    async def test_a_caller_may_let_it_block(self, store: Store) -> None:
        assert await store.write([new_run()], block=True) == [OK]
        assert await store.write([step_forward(run_row())], block=True) == [OK]

    async def test_new_runs_and_appends_share_a_batch(self, store: Store) -> None:
        await store.write([new_run("a")])
        batch: list[Transition] = [
            new_run("b"),
            step_forward(run_row("a")),
            new_run("a"),
            step_forward(run_row("b")),
        ]
        assert await store.write(batch) == [OK, OK, DUPLICATE, OK]
        assert [len(await store.read_events(run_id)) for run_id in "ab"] == [2, 2]

    async def test_create_of_nothing_does_nothing(self, store: Store) -> None:
        assert await store.write([]) == []

    async def test_create_takes_several_first_events(self, store: Store) -> None:
        assert await store.write([NewRun(run_row(seq=4), "{}", EVENTS[:4])]) == [OK]
        assert await store.read_events("r") == list(EVENTS[:4])

    async def test_create_claimed(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run(worker_id="w1", token=1)])
        assert await store.claim("w2", times=Moment(T0)) == []
        row = await row_of(store, "r")
        assert await store.write([step_forward(row)]) == [OK]

    async def test_second_create_is_a_duplicate(self, store: Store) -> None:
        await store.write([new_run()])
        assert await store.write([new_run(workflow_id="other", created_at=T0 + 1)]) == [DUPLICATE]
        row = await store.get_run("r")
        assert row == run_row()
        assert len(await store.read_events("r")) == 1

    async def test_duplicate_within_a_batch_is_the_second(self, store: Store) -> None:
        batch = [new_run("a"), new_run("b"), new_run("a", workflow_id="other"), new_run("c")]
        assert await store.write(batch) == [OK, OK, DUPLICATE, OK]
        row = await row_of(store, "a")
        assert row.workflow_id == "shop"

    async def test_duplicate_of_an_ended_run(self, store: Store) -> None:
        await store.write([new_run()])
        await store.write([finish(run_row())])
        assert await store.write([new_run()]) == [DUPLICATE]

    async def test_a_duplicate_adds_no_tags(self, store: Store) -> None:
        await store.write([new_run()])
        await store.write([new_run(tags=(("env", "prod"),))])
        assert await ids(store.list_runs(RunFilter(tags={"env": "prod"}))) == []

    async def test_concurrent_creates_make_one_run(self, stores: list[Store]) -> None:
        for turn in range(5):
            new = new_run(f"r{turn}")
            results = await asyncio.gather(*(decided(store, new) for store in stores))
            assert sorted(results) == [DUPLICATE] * 7 + [OK]
            assert len(await stores[0].read_events(f"r{turn}")) == 1

    async def test_batches_of_creates_in_any_order_keep_none_waiting(
        self, stores: list[Store]
    ) -> None:
        """Each has the same runs, and each begins with another one."""
        new = [new_run(f"r{number}") for number in range(MANY)]

        async def create(store: Store, turn: int) -> int:
            items = [*new[turn:], *new[:turn]]
            answers = await store.write(items)
            again = [
                await decided(store, item)
                for item, answer in zip(items, answers, strict=True)
                if answer is Written.UNDECIDED
            ]
            return [*answers, *again].count(OK)

        made = await asyncio.gather(*(create(store, n) for n, store in enumerate(stores)))
        assert sum(made) == MANY

    async def test_ids_may_be_any_text(self, store: Store) -> None:
        for run_id in ("a b", "%41", "x'y\"z", "\u00fc\U0001f600", "a" * 500, "a/b?c#d"):
            assert await store.write([new_run(run_id)]) == [OK]
            loaded = await whole(store, run_id)
            assert loaded.row.run_id == run_id
            assert loaded.events[0].run_id == run_id

    # Appending

    async def test_append_records_events_and_summary(self, store: Store) -> None:
        await store.write([new_run()])
        row = run_row(
            status=RunStatus.SUSPENDED,
            reason="sleeps \udc80?",
            started_at=T0 + 1,
            due_at=T0 + 9,
            seq=4,
        )
        assert await store.write([Append(row, EVENTS[1:4], 1)]) == [OK]
        loaded = await whole(store, "r")
        assert replace(loaded.row, reason="") == replace(row, reason="")
        assert loaded.row.reason.startswith("sleeps ")
        assert loaded.events[1:] == EVENTS[1:4]

    async def test_every_kind_of_event_comes_back_equal(self, store: Store) -> None:
        assert {type(event) for event in EVENTS} == set(ev.EVENT_TYPES.values())
        await store.write([NewRun(run_row(), "{}", EVENTS[:1])])
        done = run_row(seq=len(EVENTS), status=RunStatus.FAILED)
        assert await store.write([Append(done, EVENTS[1:], 1)]) == [OK]
        loaded = await whole(store, "r")
        assert loaded.events == EVENTS
        assert [type(event) for event in loaded.events] == [type(event) for event in EVENTS]

    async def test_payloads_come_back_byte_for_byte(self, store: Store) -> None:
        for number, payload in enumerate(PAYLOADS):
            run_id = f"r{number}"
            created = ev.RunCreated(run_id, 1, "", T0, "f1", payload)
            await store.write([NewRun(run_row(run_id), "{}", (created,))])
            done = completed(run_id, 2, payload)
            await store.write([Append(run_row(run_id, seq=2), (done,), 1)])
            assert await store.read_events(run_id) == [created, done]

    async def test_no_input_is_not_an_empty_input(self, store: Store) -> None:
        for run_id, given in (("none", None), ("empty", b"")):
            created = ev.RunCreated(run_id, 1, "", T0, "f1", given)
            await store.write([NewRun(run_row(run_id), "{}", (created,))])
            assert await store.read_events(run_id) == [created]

    async def test_instants_come_back_exact(self, store: Store) -> None:
        at = T0 + 0.1 + 2**-20
        await store.write([new_run(created_at=at, due_at=at, started_at=at)])
        row = await row_of(store, "r")
        assert (row.created_at, row.due_at, row.started_at) == (at, at, at)

    async def test_append_of_no_events_changes_the_summary(self, store: Store) -> None:
        await store.write([new_run()])
        row = run_row(due_at=T0 + 5, status=RunStatus.SUSPENDED)
        assert await store.write([Append(row, (), 1)]) == [OK]
        assert await store.get_run("r") == row

    async def test_append_leaves_what_creation_fixed(self, store: Store) -> None:
        await store.write([new_run(tags=(("a", "b"),), resource_id="cart")])
        changed = run_row(
            seq=2, workflow_id="x", workflow_version="9", fingerprint="zz", created_at=T0 + 1
        )
        assert await store.write([Append(changed, (completed("r", 2),), 1)]) == [OK]
        assert await store.get_run("r") == run_row(seq=2, tags=(("a", "b"),), resource_id="cart")

    async def test_append_to_no_run_is_fenced(self, store: Store) -> None:
        assert await store.write([step_forward(run_row())]) == [FENCED]
        assert await store.read_events("r") == []

    async def test_append_at_another_seq_is_fenced(self, store: Store) -> None:
        await store.write([new_run()])
        assert await store.write([step_forward(run_row())]) == [OK]
        assert await store.write([step_forward(run_row())]) == [FENCED]
        assert await store.write([step_forward(run_row(seq=7))]) == [FENCED]
        row = await row_of(store, "r")
        assert row.seq == len(await store.read_events("r")) == 2

    async def test_append_with_an_older_token_is_fenced(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run()])
        [claim] = await store.claim("w1", times=Moment(T0))
        assert await store.write([step_forward(run_row())]) == [FENCED]
        assert await store.write([step_forward(claim)]) == [OK]

    async def test_append_with_a_token_of_the_future_is_fenced(self, store: Store) -> None:
        await store.write([new_run()])
        assert await store.write([step_forward(run_row(token=1))]) == [FENCED]

    async def test_a_terminal_status_never_changes(self, store: Store) -> None:
        ended = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
        for status in ended:
            await store.write([new_run(status.value)])
            item = finish(run_row(status.value), status)
            assert await store.write([item]) == [OK]
            for other in (*ended, RunStatus.RUNNING):
                again = step_forward(item.row, status=other)
                assert await store.write([again]) == [FENCED]
                assert await store.write([Append(replace(item.row, status=other), (), 2)]) == [
                    FENCED
                ]
            assert await store.get_run(status.value) == item.row

    async def test_a_fenced_item_does_not_fail_the_others(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b"), new_run("c")])
        batch = [
            step_forward(run_row("a")),
            step_forward(run_row("b", seq=5)),
            step_forward(run_row("nobody")),
            step_forward(run_row("c", token=4)),
            step_forward(run_row("c")),
        ]
        assert await store.write(batch) == [OK, FENCED, FENCED, FENCED, OK]
        counts = [len(await store.read_events(run_id)) for run_id in ("a", "b", "nobody", "c")]
        assert counts == [2, 1, 0, 2]

    async def test_two_appends_of_one_run_in_a_batch(self, store: Store) -> None:
        await store.write([new_run()])
        first = step_forward(run_row())
        assert await store.write([first, step_forward(first.row), first]) == [OK, OK, FENCED]
        third, fourth = (replace(step_forward(run_row(seq=seq)), changed=False) for seq in (3, 4))
        assert await store.write([third, fourth, fourth]) == [OK, OK, FENCED]
        assert [event.seq for event in await store.read_events("r")] == [1, 2, 3, 4, 5]

    async def test_a_wide_append_is_whole_and_in_order(self, store: Store) -> None:
        await store.write([new_run()])
        assert await store.write([step_forward(run_row(), 2500)]) == [OK]
        loaded = await whole(store, "r")
        assert [event.seq for event in loaded.events] == list(range(1, 2502))

    async def test_an_append_may_give_the_run_back(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run()])
        [claim] = await store.claim("w1", times=Moment(T0))
        await store.write([step_forward(claim, worker_id=None)])
        [again] = await store.claim("w2", times=Moment(T0))
        assert (again.worker_id, again.token, again.seq) == ("w2", 2, 2)

    async def test_what_is_sent_again_shows_that_it_was_recorded(self, store: Store) -> None:
        """If the answer was lost, the run says whether it was recorded."""
        await register(store, "w1")
        new = new_run("new", created_at=T0 + 0.125, worker_id="w1", token=1)
        await store.write([new_run("a"), new_run("b")])
        claims = await store.claim("w1", times=Moment(T0))
        steps = [step_forward(claims[0]), finish(claims[1])]
        assert await store.write([*steps, new]) == [OK, OK, OK]
        assert await store.write([*steps, new]) == [FENCED, FENCED, DUPLICATE]
        rows = await store.get_runs(["a", "b", "new"])
        stands = [(rows[each].token, rows[each].seq) for each in ("a", "b")]
        assert stands == [(item.row.token, item.seq) for item in steps]
        found = rows["new"]
        assert (found.created_at, found.worker_id, found.token) == (T0 + 0.125, "w1", 1)

    async def test_of_concurrent_appends_one_wins(self, stores: list[Store]) -> None:
        await stores[0].write([new_run()])
        row = run_row()
        for seq in range(1, 6):
            item = step_forward(replace(row, seq=seq))
            results = await asyncio.gather(*(store.write([item]) for store in stores))
            assert sorted(results) == [[FENCED]] * 7 + [[OK]]
            assert len(await stores[-1].read_events("r")) == seq + 1

    async def test_batches_of_appends_in_any_order_keep_none_waiting(
        self, stores: list[Store]
    ) -> None:
        await stores[0].write([new_run(f"r{number}") for number in range(MANY)])
        items = [step_forward(run_row(f"r{number}")) for number in range(MANY)]
        answers = await asyncio.gather(
            *(store.write([*items[n:], *items[:n]]) for n, store in enumerate(stores))
        )
        assert sum(each.count(OK) for each in answers) == MANY
        events, _ = await stores[0].read_all_events()
        assert len(events) == 2 * MANY
