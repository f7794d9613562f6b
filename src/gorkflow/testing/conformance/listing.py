"""Lists of random histories, asked for by random filters, beside what a plain loop would find."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from msgspec import structs

from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus, instant
from gorkflow.store import RunRow, Store
from gorkflow.testing.conformance.base import T0, Conformance, finish, new_run, run_row, with_store

_RUNS = 60
_ENDED = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED]
_LIVE = [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED]


class Listing(Conformance):
    """Every filter finds the right runs, in any form of its values."""

    @with_store
    async def test_random_filters_find_what_they_say(self, store: Store) -> None:
        rng = random.Random(5)
        rows = await _history(store, rng)
        for _ in range(150):
            asked = _filter(rng)
            wanted = [row for row in rows if _meets(row, asked)]
            found = await _all_pages(store, RunFilter(**asked))
            assert found == sorted(wanted, key=lambda row: (row.created_at, row.run_id))[::-1]

    @with_store
    async def test_a_status_may_be_a_text(self, store: Store) -> None:
        rows = await _history(store, random.Random(6))
        for status in RunStatus:
            wanted = {row.run_id for row in rows if row.status is status}
            text = status.value
            for form in (status, text, [text], (text, text), {text}, iter([status])):
                page = await store.list_runs(RunFilter(status=form, limit=_RUNS))
                assert {row.run_id for row in page} == wanted

    @with_store
    async def test_what_is_none_restricts_nothing(self, store: Store) -> None:
        await _history(store, random.Random(7))
        names = ("workflow_id", "status", "resource_id", "tags", "created_after", "limit", "cursor")
        unset: dict[str, Any] = dict.fromkeys(names)
        assert list(await store.list_runs(RunFilter(**unset))) == list(
            await store.list_runs(RunFilter())
        )

    @with_store
    async def test_a_limit_may_be_larger_than_any_store(self, store: Store) -> None:
        rows = await _history(store, random.Random(8))
        page = await store.list_runs(RunFilter(limit=10**30))
        assert len(page) == len(rows)


async def _history(store: Store, rng: random.Random) -> list[RunRow]:
    """Record runs of all kinds, some with the same age; return their summaries."""
    for number in range(_RUNS):
        tags = {"all": "x"} | ({"t": rng.choice("12")} if rng.random() < 0.4 else {})
        fields: dict[str, Any] = {
            "created_at": T0 + number // 3,
            "workflow_id": rng.choice("xxy"),
            "resource_id": rng.choice([None, "cart", "desk"]),
            "tags": tuple(sorted(tags.items())),
            "status": rng.choice(_LIVE),
        }
        await store.write([new_run(f"r{number}", **fields)])
        if rng.random() < 0.6:
            ended = finish(run_row(f"r{number}", **fields), rng.choice(_ENDED))
            at = fields["created_at"] + rng.randint(0, 30)
            row = structs.replace(ended.row, finished_at=at)
            await store.write([structs.replace(ended, row=row)])
    rows = [await store.get_run(f"r{number}") for number in range(_RUNS)]
    return [row for row in rows if row is not None]


def _filter(rng: random.Random) -> dict[str, Any]:
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
        "tags": rng.choice([{"all": "x"}, {"t": "1"}, {"all": "x", "t": "2"}, {"no": "no"}]),
        "created_after": instant(T0 + rng.randint(-2, 20)),
        "created_before": instant(T0 + rng.randint(0, 22)),
        "finished_before": instant(T0 + rng.randint(0, 40)),
    }
    chosen = rng.sample(list(fields), rng.randint(0, 4))
    return {name: fields[name] for name in chosen} | {"limit": rng.choice([1, 7, _RUNS])}


def _meets(row: RunRow, asked: dict[str, Any]) -> bool:
    statuses = asked.get("status")
    end = row.finished_at
    return all(
        [
            asked.get("workflow_id") in {None, row.workflow_id},
            statuses is None
            or row.status in ([statuses] if isinstance(statuses, str) else statuses),
            asked.get("resource_id") in {None, row.resource_id},
            asked.get("tags", {}).items() <= dict(row.tags).items(),
            "created_after" not in asked or instant(row.created_at) >= asked["created_after"],
            "created_before" not in asked or instant(row.created_at) < asked["created_before"],
            "finished_before" not in asked
            or (end is not None and instant(end) < asked["finished_before"]),
        ]
    )


async def _all_pages(store: Store, query: RunFilter) -> list[RunRow]:
    found: list[RunRow] = []
    while True:
        page = await store.list_runs(query)
        assert len(page) <= query.limit
        found += page
        if page.next_cursor is None:
            return found
        query = replace(query, cursor=page.next_cursor)
