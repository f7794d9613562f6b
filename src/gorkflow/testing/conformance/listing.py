"""Lists of runs, and counts: filters, pages, cursors."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from gorkflow.listing import RunCount, RunFilter
from gorkflow.model import RunStatus, instant
from gorkflow.store import RunRow, Store
from gorkflow.testing.conformance.base import (
    OK,
    T0,
    Conformance,
    finish,
    ids,
    new_run,
    row_of,
    run_row,
    step_forward,
)

_RUNS = 60
_ENDED = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED]
_LIVE = [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED]


class Listing(Conformance):
    async def test_an_empty_store_lists_nothing(self, store: Store) -> None:
        page = await store.list_runs(RunFilter())
        assert list(page) == []
        assert page.next_cursor is None

    async def test_runs_are_listed_newest_first(self, store: Store) -> None:
        for run_id, age in (("a", 1), ("z", 0), ("b", 1), ("c", 2)):
            await store.write([new_run(run_id, created_at=T0 + age)])
        assert await ids(store.list_runs(RunFilter())) == ["c", "b", "a", "z"]

    async def test_a_listed_row_is_the_summary(self, store: Store) -> None:
        await store.write([new_run(tags=(("a", "b"),), resource_id="cart", due_at=T0 + 1)])
        assert list(await store.list_runs(RunFilter())) == [await store.get_run("r")]

    async def test_pages_follow_each_other(self, store: Store) -> None:
        await store.write(
            [new_run(f"r{number}", created_at=T0 + number // 3) for number in range(10)]
        )
        seen: list[str] = []
        query = RunFilter(limit=4)
        for size in (4, 4, 2):
            page = await store.list_runs(query)
            assert len(page) == size
            seen += [row.run_id for row in page]
            query = replace(query, cursor=page.next_cursor)
        assert query.cursor is None
        assert seen == [f"r{number}" for number in range(9, -1, -1)]

    async def test_a_full_last_page_has_no_next(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b")])
        assert (await store.list_runs(RunFilter(limit=2))).next_cursor is None

    async def test_pages_hold_under_inserts(self, store: Store) -> None:
        await store.write([new_run(f"r{number}", created_at=T0 + number) for number in range(4)])
        first = await store.list_runs(RunFilter(limit=2))
        await store.write([new_run("newer", created_at=T0 + 99)])
        rest = RunFilter(limit=9, cursor=first.next_cursor)
        assert [row.run_id for row in first] + await ids(store.list_runs(rest)) == [
            "r3",
            "r2",
            "r1",
            "r0",
        ]

    async def test_pages_hold_under_status_changes(self, store: Store) -> None:
        await store.write([new_run(f"r{number}", created_at=T0 + number) for number in range(4)])
        first = await store.list_runs(RunFilter(limit=2))
        await store.write([finish(run_row("r0")), finish(run_row("r3"))])
        rest = RunFilter(limit=9, cursor=first.next_cursor)
        assert await ids(store.list_runs(rest)) == ["r1", "r0"]

    async def test_a_foreign_cursor_is_refused(self, store: Store) -> None:
        await store.write([new_run()])
        _, feed = await store.read_all_events()
        for cursor in ("nonsense", "", "0", "W10=", "\u00e9", "A" * 5, feed):
            with pytest.raises(ValueError, match="cursor"):
                await store.list_runs(RunFilter(cursor=cursor))

    async def test_random_filters_find_what_they_say(self, store: Store) -> None:
        rng = random.Random(5)
        rows = await a_history(store, rng)
        for _ in range(200):
            asked = a_filter(rng)
            wanted = [row for row in rows if meets(row, asked)]
            found = await _all_pages(store, RunFilter(**asked))
            assert found == sorted(wanted, key=lambda row: (row.created_at, row.run_id))[::-1]
            most = rng.choice([1, 5, _RUNS, 10_000])
            count = await store.count_runs(RunFilter(**asked), most=most)
            assert count.runs <= min(len(wanted), most)
            assert count.more or count.runs == len(wanted)

    async def test_a_status_may_be_a_text(self, store: Store) -> None:
        rows = await a_history(store, random.Random(6))
        for status in RunStatus:
            wanted = {row.run_id for row in rows if row.status is status}
            text = status.value
            for form in (status, text, [text], (text, text), {text}, iter([status])):
                page = await store.list_runs(RunFilter(status=form, limit=_RUNS))
                assert {row.run_id for row in page} == wanted

    async def test_what_is_none_restricts_nothing(self, store: Store) -> None:
        await a_history(store, random.Random(7))
        names = (
            "workflow_id",
            "status",
            "resource_id",
            "queue",
            "tags",
            "created_after",
            "limit",
            "cursor",
        )
        unset: dict[str, Any] = dict.fromkeys(names)
        assert list(await store.list_runs(RunFilter(**unset))) == list(
            await store.list_runs(RunFilter())
        )

    async def test_a_limit_may_be_larger_than_any_store(self, store: Store) -> None:
        rows = await a_history(store, random.Random(8))
        page = await store.list_runs(RunFilter(limit=10**30))
        assert len(page) == len(rows)

    async def test_runs_are_found_by_the_signal_that_they_wait_for(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b", waits_for=("paid",)), new_run("c")])
        paid = RunFilter(waiting_for="paid")
        assert await ids(store.list_runs(paid)) == ["b"]
        row = run_row("a", waits_for=("paid", "shipped"))
        assert await store.write([step_forward(row)]) == [OK]
        assert await ids(store.list_runs(paid)) == ["b", "a"]
        assert (await row_of(store, "a")).waits_for == ("paid", "shipped")
        row = run_row("a", waits_for=("shipped",), seq=2)
        await store.write([step_forward(row)])
        assert await ids(store.list_runs(paid)) == ["b"]
        assert await ids(store.list_runs(RunFilter(waiting_for="shipped"))) == ["a"]
        await store.write([finish(run_row("a", seq=3)), finish(run_row("b"))])
        await store.delete_runs(["b"])
        for name in ("paid", "shipped"):
            assert await ids(store.list_runs(RunFilter(waiting_for=name))) == []

    async def test_an_append_that_is_fenced_changes_no_wait(self, store: Store) -> None:
        await store.write([new_run(waits_for=("paid",))])
        await store.write([step_forward(run_row(seq=7))])
        await store.write([new_run(waits_for=("other",))])
        assert await ids(store.list_runs(RunFilter(waiting_for="paid"))) == ["r"]
        assert await ids(store.list_runs(RunFilter(waiting_for="other"))) == []

    async def test_ids_are_found_by_their_first_letters(self, store: Store) -> None:
        names = ["a", "ab", "ab%", "ab_c", "abc", "b", "\u00fc"]
        await store.write([new_run(name, created_at=T0 - n) for n, name in enumerate(names)])
        for prefix in ("", "a", "ab", "ab%", "ab_", "abcd", "\u00fc", "\x00", "A"):
            wanted = [name for name in names if name.startswith(prefix)]
            found = await _all_pages(store, RunFilter(id_prefix=prefix))
            assert [row.run_id for row in found] == wanted

    async def test_a_count_goes_no_further_than_it_is_told(self, store: Store) -> None:
        await store.write([new_run(f"r{n}", workflow_id="xy"[n % 2]) for n in range(10)])
        assert await store.count_runs(RunFilter()) == RunCount(10)
        assert await store.count_runs(RunFilter(limit=1), most=11) == RunCount(10)
        assert await store.count_runs(RunFilter(), most=4) == RunCount(4, more=True)
        query = RunFilter(workflow_id="x", status=["pending", "failed"])
        assert await store.count_runs(query) == RunCount(5)
        assert await store.count_runs(query, most=3) == RunCount(3, more=True)
        assert await store.count_runs(RunFilter(status=[])) == RunCount(0)

    async def test_the_latest_run_of_each_workflow(self, store: Store) -> None:
        assert await store.latest_runs() == []
        for n in range(9):
            await store.write([new_run(f"r{n}", workflow_id="xzy"[n % 3], created_at=T0 + n % 5)])
        await store.write([finish(run_row("r4", workflow_id="z", created_at=T0 + 4))])
        found = await store.latest_runs()
        assert [(row.workflow_id, row.run_id) for row in found] == [
            ("x", "r3"), ("y", "r8"), ("z", "r4")
        ]  # fmt: skip
        assert await store.latest_runs(after="x", limit=1) == found[1:2]
        assert await store.latest_runs(after="z") == []


async def a_history(store: Store, rng: random.Random) -> list[RunRow]:
    """Record runs of all kinds, some with the same age; return their summaries."""
    for number in range(_RUNS):
        tags = {"all": "x"} | ({"t": rng.choice("12")} if rng.random() < 0.4 else {})
        fields: dict[str, Any] = {
            "created_at": T0 + number // 3,
            "workflow_id": rng.choice("xxy"),
            "resource_id": rng.choice([None, "cart", "desk"]),
            "queue": rng.choice(["default", "gpu"]),
            "tags": tuple(sorted(tags.items())),
            "status": rng.choice(_LIVE),
            "waits_for": tuple(sorted(rng.sample(["paid", "shipped"], rng.choice([0, 0, 1, 2])))),
        }
        await store.write([new_run(f"r{number}", **fields)])
        if rng.random() < 0.3:
            fields["waits_for"] = ("shipped",)
            row = run_row(f"r{number}", **fields)
            await store.write([step_forward(structs.replace(row, seq=1), 0)])
        if rng.random() < 0.6:
            ended = finish(run_row(f"r{number}", **fields), rng.choice(_ENDED))
            at = fields["created_at"] + rng.randint(0, 30)
            row = structs.replace(ended.row, finished_at=at, waits_for=())
            await store.write([structs.replace(ended, row=row)])
    rows = [await store.get_run(f"r{number}") for number in range(_RUNS)]
    return [row for row in rows if row is not None]


def a_filter(rng: random.Random) -> dict[str, Any]:
    several = rng.sample(list(RunStatus), rng.randint(0, 3))
    forms: list[Any] = [
        several,
        [each.value for each in several],
        rng.choice(list(RunStatus)).value,
    ]
    fields = {
        "workflow_id": rng.choice(["x", "y", "z"]),
        "status": rng.choice(forms),
        "resource_id": rng.choice(["cart", "desk", "none"]),
        "queue": rng.choice(["default", "gpu", "none"]),
        "tags": rng.choice([{"all": "x"}, {"t": "1"}, {"all": "x", "t": "2"}, {"no": "no"}]),
        "created_after": instant(T0 + rng.randint(-2, 20)),
        "created_before": instant(T0 + rng.randint(0, 22)),
        "finished_after": instant(T0 + rng.randint(0, 40)),
        "finished_before": instant(T0 + rng.randint(0, 40)),
        "waiting_for": rng.choice(["paid", "shipped", "never"]),
        "id_prefix": rng.choice(["", "r", "r1", "r42", "x"]),
    }
    chosen = rng.sample(list(fields), rng.randint(0, 4))
    return {name: fields[name] for name in chosen} | {"limit": rng.choice([1, 7, _RUNS])}


def meets(row: RunRow, asked: dict[str, Any]) -> bool:
    statuses = asked.get("status")
    end = row.finished_at
    return all(
        [
            asked.get("workflow_id") in {None, row.workflow_id},
            statuses is None
            or row.status in ([statuses] if isinstance(statuses, str) else statuses),
            asked.get("resource_id") in {None, row.resource_id},
            asked.get("queue") in {None, row.queue},
            asked.get("tags", {}).items() <= dict(row.tags).items(),
            "created_after" not in asked or instant(row.created_at) >= asked["created_after"],
            "created_before" not in asked or instant(row.created_at) < asked["created_before"],
            "finished_after" not in asked
            or (end is not None and instant(end) >= asked["finished_after"]),
            "finished_before" not in asked
            or (end is not None and instant(end) < asked["finished_before"]),
            "waiting_for" not in asked or asked["waiting_for"] in row.waits_for,
            row.run_id.startswith(asked.get("id_prefix", "")),
        ]
    )


async def _all_pages(store: Store, query: RunFilter) -> list[RunRow]:
    found: list[RunRow] = []
    while True:
        page = await store.list_runs(query)
        assert len(page) <= query.limit
        found += page
        early = page.searched_to
        assert early is None or all(instant(row.created_at) >= early for row in page)
        if page.next_cursor is None:
            assert early is None
            return found
        query = replace(query, cursor=page.next_cursor)
