"""Schedules: kept whole, changed one at a time, found when they are due."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from gorkflow.schedule import ScheduleRow
from gorkflow.store import Store
from gorkflow.testing.conformance.base import PAYLOADS, T0, Conformance

_FULL = ScheduleRow(
    schedule_id="nightly",
    workflow_id="shop",
    cron="0 3 * * *",
    timezone="Europe/Berlin",
    input=b'{"b":1,"a":1.10}',
    catch_up="all",
    overlap="skip",
    tags=(("a", "1"), ("b", "\U0001f600")),
    priority=-7,
    queue="gpu",
    created_at=T0,
    paused=True,
    next_due=T0 + 100,
)


def _row(schedule_id: str = "s", **changes: object) -> ScheduleRow:
    row = ScheduleRow(
        schedule_id=schedule_id, workflow_id="shop", every=60, created_at=T0, next_due=T0 + 60
    )
    return replace(row, **changes)


class Schedules(Conformance):
    async def test_schedules_are_kept_whole_and_in_order(self, store: Store) -> None:
        assert await store.schedules() == []
        for row in (_FULL, _row("b"), _row("B"), _row("a")):
            assert await store.put_schedule(row) is True
        assert await store.schedules() == [_row("B"), _row("a"), _row("b"), _FULL]

    async def test_the_input_of_a_schedule_is_kept_byte_for_byte(self, store: Store) -> None:
        for index, payload in enumerate(PAYLOADS):
            await store.put_schedule(_row(f"s{index:02}", input=payload))
        assert [row.input for row in await store.schedules()] == list(PAYLOADS)

    async def test_a_schedule_is_written_only_on_top_of_the_revision_before(
        self, store: Store
    ) -> None:
        assert await store.put_schedule(_row(revision=2)) is False
        assert await store.schedules() == []
        assert await store.put_schedule(_row()) is True
        assert await store.put_schedule(_row(priority=1)) is False
        assert await store.put_schedule(_row(priority=1, revision=3)) is False
        assert await store.schedules() == [_row()]
        changed = replace(_FULL, schedule_id="s", revision=2)
        assert await store.put_schedule(changed) is True
        assert await store.schedules() == [changed]

    async def test_of_several_who_change_a_schedule_one_succeeds(self, stores: list[Store]) -> None:
        await stores[0].put_schedule(_row())
        tries = [store.put_schedule(_row(priority=n, revision=2)) for n, store in enumerate(stores)]
        written = await asyncio.gather(*tries)
        assert sorted(written) == [False] * 7 + [True]
        (row,) = await stores[-1].schedules()
        assert row == _row(priority=written.index(True), revision=2)

    async def test_schedules_are_found_from_when_they_are_due(self, store: Store) -> None:
        for row in (
            _row("now", next_due=T0),
            _row("before", next_due=T0 - 1000),
            _row("after", next_due=T0 + 0.5),
            _row("paused", next_due=T0, paused=True),
        ):
            await store.put_schedule(row)

        async def due(at: float) -> list[str]:
            return [row.schedule_id for row in await store.schedules(due_by=at)]

        assert await due(T0) == ["before", "now"]
        assert await due(T0 - 0.5) == ["before"]
        assert await due(T0 + 0.5) == ["after", "before", "now"]
        await store.put_schedule(_row("now", next_due=T0 + 60, revision=2))
        await store.put_schedule(_row("paused", next_due=T0, revision=2))
        assert await due(T0) == ["before", "paused"]

    async def test_a_dropped_schedule_is_gone_and_may_come_again(self, store: Store) -> None:
        assert await store.drop_schedule("s") is False
        await store.put_schedule(_row())
        await store.put_schedule(_row("other"))
        assert await store.drop_schedule("s") is True
        assert await store.schedules() == [_row("other")]
        assert await store.put_schedule(_row(revision=2)) is False
        assert await store.put_schedule(_row(priority=3)) is True
        assert await store.schedules() == [_row("other"), _row(priority=3)]
