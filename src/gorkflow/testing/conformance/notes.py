"""Notes: the reports and log lines of attempts, kept beside the events."""

from __future__ import annotations

import asyncio

from gorkflow.store import AttemptId, LineRow, ReportRow, Store
from gorkflow.testing.conformance.base import (
    T0,
    Conformance,
    finish,
    new_run,
    run_row,
    step_forward,
    whole,
)


def report(path: str = "a", done: float = 1.0, **changes: object) -> ReportRow:
    """Return a report of the first attempt of a step."""
    row = ReportRow("r", T0, path, 1, done, 10.0, "pages", T0)
    return row._replace(**changes)  # type: ignore[arg-type]


def line(number: int = 1, path: str = "a", **changes: object) -> LineRow:
    """Return a line in the log of the first attempt of a step."""
    row = LineRow("r", T0, path, 1, number, T0 + number, 20, f"line {number}")
    return row._replace(**changes)  # type: ignore[arg-type]


def texts(lines: list[LineRow]) -> list[str]:
    """Return what lines say."""
    return [each.text for each in lines]


class Noting(Conformance):
    # Reports

    async def test_a_run_has_no_report_until_one_is_kept(self, store: Store) -> None:
        await store.write([new_run()])
        assert await store.reports("r") == []
        assert await store.reports("nobody") == []
        await store.note()
        assert await store.reports("r") == []

    async def test_the_latest_report_of_each_path_is_kept(self, store: Store) -> None:
        await store.write([new_run(), new_run("other")])
        first = (
            report("b"),
            report("a[\u00fc]", 2.5, total=None, message=""),
            report(run_id="other"),
        )
        await store.note(reports=first)
        latest = report("b", 7.0, at=T0 + 1)
        await store.note(reports=[report("b", 6.0), latest])
        assert await store.reports("r") == [first[1], latest]
        assert await store.reports("other") == [first[2]]

    async def test_a_report_of_an_earlier_attempt_comes_too_late(self, store: Store) -> None:
        await store.write([new_run()])
        second = report(attempt=2)
        await store.note(reports=[second])
        await store.note(reports=[report(done=9.0)], ended=[AttemptId("r", T0, "a", 1)])
        assert await store.reports("r") == [second]

    async def test_the_report_of_an_attempt_that_ended_is_dropped(self, store: Store) -> None:
        await store.write([new_run(), new_run("other")])
        kept = report("b"), report(run_id="other")
        await store.note(reports=[report(), *kept], ended=[AttemptId("r", T0, "c", 1)])
        await store.note(ended=[AttemptId("r", T0, "a", 1), AttemptId("nobody", T0, "b", 1)])
        assert await store.reports("r") == [kept[0]]
        assert await store.reports("other") == [kept[1]]
        await store.note(reports=[report("b", 3.0)], ended=[AttemptId("r", T0, "b", 1)])
        assert await store.reports("r") == []

    # Log lines

    async def test_lines_are_read_in_the_order_in_which_they_were_kept(self, store: Store) -> None:
        await store.write([new_run(), new_run("other")])
        await store.note(lines=[line(1), line(1, "b"), line(1, run_id="other")])
        await store.note(lines=[line(2, level=30, text="two\nlines \u00e9 \x00 \x1b[2J"), line(3)])
        lines = await store.logs("r")
        assert [each._replace(id=0) for each in lines] == [
            line(1),
            line(1, "b"),
            line(2, level=30, text="two\nlines \u00e9 \x00 \x1b[2J"),
            line(3),
        ]
        ids = [each.id for each in lines]
        assert ids == sorted(set(ids))
        assert ids[0] > 0
        assert texts(await store.logs("other")) == ["line 1"]
        assert await store.logs("nobody") == []

    async def test_lines_are_read_by_pages(self, store: Store) -> None:
        await store.write([new_run()])
        await store.note(lines=[line(number, "ab"[number % 2]) for number in range(1, 10)])
        every = await store.logs("r")
        assert await store.logs("r", limit=4) == every[:4]
        assert await store.logs("r", after=every[3].id, limit=4) == every[4:8]
        assert await store.logs("r", after=every[-1].id) == []
        assert await store.logs("r", limit=0) == []
        of_b = [each for each in every if each.path == "b"]
        assert await store.logs("r", path="b") == of_b
        assert await store.logs("r", path="b", after=every[3].id, limit=2) == of_b[2:4]
        assert await store.logs("r", path="c") == []

    async def test_a_line_that_comes_again_replaces_the_first(self, store: Store) -> None:
        """Its writer did not know whether it was kept, or has more to say."""
        await store.write([new_run()])
        await store.note(lines=[line(1), line(2)])
        before = await store.logs("r")
        again = line(1, text="changed", level=40, at=T0 + 9)
        await store.note(lines=[again, line(2), line(3)])
        first, second, third = await store.logs("r")
        assert first == again._replace(id=before[0].id)
        assert second == before[1]
        assert third.id > second.id

    async def test_attempts_have_lines_of_their_own(self, store: Store) -> None:
        await store.write([new_run()])
        await store.note(lines=[line(1), line(1, attempt=2, text="again")])
        await store.note(lines=[line(2, text="late")])  # of a thread that outlived its attempt
        assert texts(await store.logs("r", path="a")) == ["line 1", "again", "late"]

    async def test_lines_kept_at_the_same_time_are_all_there(self, store: Store) -> None:
        await store.write([new_run()])
        await asyncio.gather(*(store.note(lines=[line(1, f"p{n}"), line(2, f"p{n}")])
                               for n in range(8)))  # fmt: skip
        lines = await store.logs("r")
        assert len({each.id for each in lines}) == len(lines) == 16

    # Beside the events

    async def test_notes_are_not_events(self, store: Store) -> None:
        await store.write([new_run()])
        before = await whole(store), await store.read_all_events()
        await store.note(reports=[report()], lines=[line()])
        assert (await whole(store), await store.read_all_events()) == before
        assert await store.write([step_forward(run_row())])

    async def test_the_last_lines_come_after_the_end_of_a_run(self, store: Store) -> None:
        await store.write([new_run()])
        await store.note(reports=[report()], lines=[line(1)])
        await store.write([finish(run_row())])
        await store.note(lines=[line(2)], ended=[AttemptId("r", T0, "a", 1)])
        assert texts(await store.logs("r")) == ["line 1", "line 2"]
        assert await store.reports("r") == []

    async def test_they_are_deleted_with_their_run(self, store: Store) -> None:
        await store.write([new_run(), new_run("other")])
        await store.note(
            reports=[report(), report(run_id="other")],
            lines=[*(line(number) for number in range(1, 50)), line(1, run_id="other")],
        )
        await store.write([finish(run_row())])
        assert await store.delete_runs(["r", "other"]) == 1  # the other one is live
        assert (await store.reports("r"), await store.logs("r")) == ([], [])
        assert await store.reports("other") == [report(run_id="other")]
        assert texts(await store.logs("other")) == ["line 1"]
        await store.write([new_run()])
        assert (await store.reports("r"), await store.logs("r")) == ([], [])

    async def test_notes_of_a_run_that_is_not_there_are_dropped(self, store: Store) -> None:
        await store.write([new_run()])
        await store.write([finish(run_row())])
        await store.delete_runs(["r"])
        await store.write([new_run("kept")])
        await store.note(
            reports=[report(), report(run_id="kept")], lines=[line(), line(run_id="kept")]
        )
        assert (await store.reports("r"), await store.logs("r")) == ([], [])
        assert len(await store.reports("kept")) == len(await store.logs("kept")) == 1

    async def test_late_notes_of_a_run_are_not_of_a_later_run_with_its_id(
        self, store: Store
    ) -> None:
        await store.write([new_run()])
        await store.note(reports=[report()])
        await store.write([finish(run_row())])
        await store.delete_runs(["r"])
        await store.write([new_run(created_at=T0 + 1)])
        await store.note(reports=[report()], lines=[line()])
        assert (await store.reports("r"), await store.logs("r")) == ([], [])
        kept = report(created_at=T0 + 1)
        await store.note(reports=[kept], lines=[line(2, created_at=T0 + 1)])
        await store.note(ended=[AttemptId("r", T0, "a", 1)])
        assert await store.reports("r") == [kept]
        assert texts(await store.logs("r")) == ["line 2"]
        await store.note(ended=[AttemptId("r", T0 + 1, "a", 1)])
        assert await store.reports("r") == []

    def test_they_survive_the_store(self) -> None:
        async def keep() -> None:
            store = self.make_store()
            await store.open()
            await store.write([new_run()])
            await store.note(reports=[report()], lines=[line()])
            await store.close()

        async def read() -> None:
            store = self.make_store()
            await store.open()
            kept = await store.reports("r"), texts(await store.logs("r"))
            await store.close()
            assert kept == (([report()], ["line 1"]) if self.durable else ([], []))

        asyncio.run(keep())
        asyncio.run(read())
