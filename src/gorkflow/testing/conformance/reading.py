"""Reading, deleting, and what outlives the store."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from gorkflow import events as ev
from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus
from gorkflow.store import Store
from gorkflow.testing.conformance.base import (
    OK,
    Conformance,
    decided,
    finish,
    ids,
    message,
    new_run,
    row_of,
    run_row,
    step_forward,
    whole,
)

_RUNS = 60
_ENDED = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED]
_LIVE = [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED]


class Reading(Conformance):
    # Reading

    async def test_there_is_nothing_of_an_unknown_run(self, store: Store) -> None:
        assert await store.get_run("r") is None
        assert await store.load("r") is None
        assert await store.read_events("r") == []

    async def test_read_events_pages_by_seq(self, store: Store) -> None:
        await store.write([new_run()])
        await store.write([step_forward(run_row(), 9)])
        assert [event.seq for event in await store.read_events("r", limit=3)] == [1, 2, 3]
        assert [event.seq for event in await store.read_events("r", after=3, limit=3)] == [
            4,
            5,
            6,
        ]
        assert [event.seq for event in await store.read_events("r", after=8)] == [9, 10]
        assert await store.read_events("r", after=10) == []
        assert await store.read_events("r", limit=0) == []

    async def test_load_is_of_one_moment(self, store: Store) -> None:
        await store.write([new_run()])

        async def write() -> None:
            row = run_row()
            for _ in range(30):
                item = step_forward(row, 3)
                assert await store.write([item]) == [OK]
                row = item.row
                await asyncio.sleep(0)

        async def read() -> None:
            for _ in range(30):
                loaded = await whole(store, "r")
                assert [event.seq for event in loaded.events] == list(range(1, loaded.row.seq + 1))
                await asyncio.sleep(0)

        await asyncio.gather(write(), read())

    async def test_several_summaries_are_read_at_once(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b", tags=(("x", "1"),)), new_run("c")])
        await store.write([step_forward(run_row("c"), 3, status=RunStatus.RUNNING)])
        found = await store.get_runs(["c", "nobody", "b", "c"])
        assert found == {"b": await row_of(store, "b"), "c": await row_of(store, "c")}
        assert await store.get_runs([]) == {}

    async def test_several_runs_are_loaded_at_once(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b", fingerprint="f2"), new_run("c")])
        await store.write([step_forward(run_row("c"), 3)])
        for run_id, body in (("c", "1"), ("a", "2"), ("c", "3")):
            await store.post(message(run_id, body))
        found = await store.load_many(["c", "nobody", "b", "c"])
        assert found == {"b": await whole(store, "b"), "c": await whole(store, "c")}
        assert [event.seq for event in found["c"].events] == [1, 2, 3, 4]
        assert found["b"].row.fingerprint == "f2"
        assert await store.load_many([]) == {}

    async def test_a_loaded_run_has_its_messages(self, store: Store) -> None:
        await store.write([new_run(), new_run("other")])
        for run_id, body in (("r", "1"), ("other", "2"), ("r", "3")):
            await store.post(message(run_id, body))
        loaded = await whole(store, "r")
        assert [*loaded.messages] == await store.inbox("r")
        use = replace(step_forward(run_row()), consumed=[loaded.messages[0].id])
        assert await store.write([use]) == [OK]
        many = await store.load_many(["r", "other"])
        assert [each.body for each in many["r"].messages] == ["3"]
        assert [each.body for each in many["other"].messages] == ["2"]

    async def test_a_tree_is_kept_for_each_fingerprint(self, store: Store) -> None:
        for run_id, mark in (("a", "1"), ("b", "2"), ("c", "1")):
            new = new_run(run_id, fingerprint=mark)
            await store.write([replace(new, tree=f"tree {mark}")])
        trees = [loaded.tree for run_id in "abc" if (loaded := await store.load(run_id))]
        assert trees == ["tree 1", "tree 2", "tree 1"]
        for run_id, tree in zip("abc", trees, strict=True):
            row = await row_of(store, run_id)
            assert await store.get_tree(row.fingerprint) == tree
        assert await store.get_tree("unknown") is None

    async def test_all_events_come_in_an_order_that_never_changes(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b")])
        await store.write([step_forward(run_row("b"), 2)])
        await store.write([step_forward(run_row("a"))])
        first, cursor = await store.read_all_events()
        for run_id in "ab":
            own = [event for event in first if event.run_id == run_id]
            assert own == await store.read_events(run_id)
        assert len(first) == 5
        assert await store.read_all_events(after=cursor) == ([], cursor)
        await store.write([step_forward(run_row("a", seq=2)), step_forward(run_row("b", seq=3))])
        again, _ = await store.read_all_events()
        assert again[:5] == first

    async def test_the_feed_misses_nothing_while_several_write(self, stores: list[Store]) -> None:
        reader, *others = stores

        async def write(store: Store, run_id: str) -> None:
            assert await decided(store, new_run(run_id)) is OK
            for seq in range(1, 8):
                assert await decided(store, step_forward(run_row(run_id, seq=seq))) is OK

        writing = asyncio.gather(*(write(store, f"r{n}") for n, store in enumerate(others)))
        read: list[ev.Event] = []
        cursor = ""
        async with asyncio.timeout(20):
            while len(read) < 8 * len(others):
                events, cursor = await reader.read_all_events(after=cursor, limit=5)
                read += events
                await asyncio.sleep(0)  # it may never wait
        await writing
        assert len(read) == 8 * len(others)
        assert (await reader.read_all_events())[0] == read
        for number in range(len(others)):
            assert [event.seq for event in read if event.run_id == f"r{number}"] == [*range(1, 9)]

    async def test_all_events_can_be_read_in_parts(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b")])
        await store.write([step_forward(run_row("b"), 5), step_forward(run_row("a"), 3)])
        whole, end = await store.read_all_events()
        parts: list[ev.Event] = []
        cursor = ""
        while True:
            part, cursor = await store.read_all_events(after=cursor, limit=3)
            assert len(part) <= 3
            if not part:
                break
            parts += part
        assert parts == whole
        assert cursor == end

    async def test_the_feed_goes_on_from_its_cursor(self, store: Store) -> None:
        await store.write([new_run("a")])
        _, cursor = await store.read_all_events()
        await store.write([new_run("b")])
        await store.write([step_forward(run_row("a"))])
        events, _ = await store.read_all_events(after=cursor)
        assert {(event.run_id, event.seq) for event in events} == {("b", 1), ("a", 2)}

    async def test_after_the_end_of_the_feed_come_only_later_events(self, store: Store) -> None:
        nothing = await store.end_of_feed()
        await store.write([new_run("a")])
        end = await store.end_of_feed()
        assert await store.read_all_events(after=end) == ([], end)
        await store.write([step_forward(run_row("a"))])
        events, _ = await store.read_all_events(after=end)
        assert [(event.run_id, event.seq) for event in events] == [("a", 2)]
        events, _ = await store.read_all_events(after=nothing)
        assert [event.seq for event in events] == [1, 2]

    async def test_an_empty_feed_keeps_its_cursor(self, store: Store) -> None:
        assert await store.read_all_events() == ([], "")

    async def test_fenced_events_are_not_in_the_feed(self, store: Store) -> None:
        await store.write([new_run()])
        await store.write([step_forward(run_row(seq=4))])
        events, _ = await store.read_all_events()
        assert len(events) == 1

    async def test_the_feed_refuses_a_foreign_cursor(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b")])
        page = await store.list_runs(RunFilter(limit=1))
        assert page.next_cursor
        for cursor in ("nonsense", "7", page.next_cursor):
            with pytest.raises(ValueError, match="cursor"):
                await store.read_all_events(after=cursor)

    # Deleting

    async def test_delete_takes_ended_runs_only(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b"), new_run("c")])
        await store.write([finish(run_row("a")), finish(run_row("b"))])
        assert await store.delete_runs(["a", "c", "nobody", "a"]) == 1
        assert await store.get_run("a") is None
        assert await store.get_run("b") is not None
        assert await store.get_run("c") is not None
        assert await store.delete_runs([]) == 0

    async def test_delete_takes_all_that_belongs_to_the_run(self, store: Store) -> None:
        await store.write([new_run("a", tags=(("x", "1"),)), new_run("b", tags=(("x", "1"),))])
        await store.post(message("a"))
        await store.write([finish(run_row("a"))])
        await store.delete_runs(["a"])
        assert await store.load("a") is None
        assert await store.read_events("a") == []
        assert await store.inbox("a") == []
        assert await ids(store.list_runs(RunFilter(tags={"x": "1"}))) == ["b"]
        events, _ = await store.read_all_events()
        assert {event.run_id for event in events} == {"b"}

    async def test_a_deleted_id_can_be_used_again(self, store: Store) -> None:
        await store.write([new_run(tags=(("x", "1"),))])
        await store.write([finish(run_row())])
        await store.delete_runs(["r"])
        assert await store.write([new_run(tags=(("x", "1"),))]) == [OK]
        assert await store.get_run("r") == run_row(tags=(("x", "1"),))
        assert len(await store.read_events("r")) == 1

    async def test_the_feed_misses_nothing_after_a_deletion(self, store: Store) -> None:
        await store.write([new_run("a")])
        await store.write([finish(run_row("a"))])
        _, cursor = await store.read_all_events()
        await store.delete_runs(["a"])
        await store.write([new_run("b")])
        events, _ = await store.read_all_events(after=cursor)
        assert [event.run_id for event in events] == ["b"]

    # Again

    def test_what_was_recorded_is_there_again(self) -> None:
        async def first(store: Store) -> None:
            await store.write([new_run(tags=(("x", "1"),)), new_run("free")])
            await store.write([step_forward(run_row(), 3, status=RunStatus.RUNNING)])
            await store.post(message())

        async def second(store: Store) -> None:
            row = run_row(seq=4, status=RunStatus.RUNNING, tags=(("x", "1"),))
            loaded = await store.load("r")
            if not self.durable:
                assert loaded is None
                return
            assert loaded is not None
            assert loaded.row == row
            assert [event.seq for event in loaded.events] == [1, 2, 3, 4]
            assert len(await store.inbox("r")) == 1
            assert await store.write([step_forward(row)]) == [OK]

        self.check(first)
        self.check(second)

    def test_a_cursor_outlives_its_store(self) -> None:
        cursors: list[str] = []

        async def first(store: Store) -> None:
            await store.write([new_run()])
            cursors.append((await store.read_all_events())[1])

        async def second(store: Store) -> None:
            await store.write([new_run("later")])
            events, _ = await store.read_all_events(after=cursors[0])
            assert [event.run_id for event in events] == ["later"]

        if self.durable:
            self.check(first)
            self.check(second)

    async def test_a_closed_store_opens_again(self, store: Store) -> None:
        await store.write([new_run()])
        await store.close()
        await store.open()
        assert (await store.get_run("r") is not None) is self.durable
