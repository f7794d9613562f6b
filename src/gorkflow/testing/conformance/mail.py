"""Messages: posted, delivered, consumed by what a run records."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from gorkflow.clock import Moment
from gorkflow.store import Store
from gorkflow.testing.conformance.base import (
    FENCED,
    OK,
    PAYLOADS,
    T0,
    Conformance,
    finish,
    message,
    new_run,
    register,
    run_row,
    signal,
    step_forward,
    worker,
)


class Mail(Conformance):
    async def test_a_heartbeat_brings_the_messages_of_own_runs(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run("a"), new_run("b"), new_run("free")])
        await store.claim("w1", times=Moment(T0), run_id="a")
        await store.claim("w2", times=Moment(T0), run_id="b")
        for run_id, body in (("a", "1"), ("b", "2"), ("free", "3"), ("a", "4")):
            await store.post(message(run_id, body))
        first = await store.heartbeat("w1", Moment(T0))
        assert [each.body for each in first.messages] == ["1", "4"]
        assert (await store.heartbeat("w1", Moment(T0))).messages == first.messages
        use = step_forward(run_row("a", worker_id="w1", token=1))
        assert await store.write([replace(use, consumed=[first.messages[0].id])]) == [OK]
        assert [each.body for each in (await store.heartbeat("w1", Moment(T0))).messages] == ["4"]
        assert [each.body for each in (await store.heartbeat("w2", Moment(T0))).messages] == ["2"]

    async def test_a_message_waits_in_the_inbox(self, store: Store) -> None:
        await store.write([new_run(), new_run("other")])
        assert await store.post(message(body="one \u00e9"))
        assert await store.post(message(body="two"))
        first, second = await store.inbox("r")
        assert 0 < first.id < second.id
        assert first == message(body="one \u00e9")._replace(id=first.id)
        assert second == message(body="two")._replace(id=second.id)
        assert await store.inbox("other") == []
        assert await store.inbox("nobody") == []

    async def test_the_inbox_is_read_above_an_id(self, store: Store) -> None:
        await store.write([new_run(), new_run("other")])
        for number in range(6):
            assert await store.post(message("r" if number % 2 else "other", str(number)))
        every = await store.inbox("r")
        for number in range(4):
            after = every[number - 1].id if number else 0
            assert await store.inbox("r", after=after) == every[number:]
        assert await store.inbox("nobody", after=1) == []

    async def test_no_message_for_no_run_or_an_ended_one(self, store: Store) -> None:
        await store.write([new_run()])
        await store.write([finish(run_row())])
        assert not await store.post(message())
        assert not await store.post(message("nobody"))
        assert await store.inbox("r") == []

    async def test_message_ids_are_never_given_again(self, store: Store) -> None:
        await store.write([new_run()])
        await store.post(message())
        [first] = await store.inbox("r")
        await store.write([replace(step_forward(run_row()), consumed=[first.id])])
        await store.post(message())
        [second] = await store.inbox("r")
        assert second.id > first.id

    async def test_ids_rise_within_each_run(self, store: Store) -> None:
        await store.write([new_run("a"), new_run("b")])
        for number in range(6):
            await store.post(message("ab"[number % 2], str(number)))
        for run_id, sent in (("a", list("024")), ("b", list("135"))):
            inbox = await store.inbox(run_id)
            assert [each.body for each in inbox] == sent
            assert [each.id for each in inbox] == sorted({each.id for each in inbox})

    async def test_payloads_of_signals_come_back_byte_for_byte(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(worker_id="w1", token=1)])
        for payload in PAYLOADS:
            assert await store.post(signal(payload))
        assert await store.post(message())
        kept = [each.payload for each in await store.inbox("r")]
        assert kept == [*PAYLOADS, None]
        beat = await store.heartbeat("w1", Moment(T0))
        assert list(beat.messages) == await store.inbox("r")
        assert {(each.kind, each.body) for each in beat.messages[:-1]} == {("signal", "approved")}

    async def test_a_heartbeat_brings_what_came_after(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run("a", worker_id="w1", token=1), new_run("free")])
        for run_id, body in (("a", "1"), ("free", "2"), ("a", "3"), ("a", "4")):
            await store.post(message(run_id, body))
        first = await store.heartbeat("w1", Moment(T0))
        assert [each.body for each in first.messages] == ["1", "3", "4"]
        for run_id, body in (("free", "5"), ("a", "6")):
            await store.post(message(run_id, body))
        later = await store.heartbeat("w1", Moment(T0), after=first.cursor)
        assert [each.body for each in later.messages if each not in first.messages] == ["6"]
        last = await store.heartbeat("w1", Moment(T0), after=later.cursor)
        assert {*last.messages} <= {*first.messages, *later.messages}  # some may come again

    async def test_a_cursor_stays_good_when_its_messages_are_consumed(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run("a", worker_id="w1", token=1)])
        await store.post(message("a", "1"))
        first = await store.heartbeat("w1", Moment(T0))
        use = step_forward(run_row("a", worker_id="w1", token=1))
        assert await store.write([replace(use, consumed=[first.messages[0].id])]) == [OK]
        second = await store.heartbeat("w1", Moment(T0), after=first.cursor)
        assert second.messages == ()
        await store.post(message("a", "2"))
        third = await store.heartbeat("w1", Moment(T0), after=second.cursor)
        assert [each.body for each in third.messages] == ["2"]

    async def test_a_heartbeat_refuses_a_foreign_cursor(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run("a")])
        for cursor in ("nonsense", "7", await store.end_of_feed()):
            with pytest.raises(ValueError, match="cursor"):
                await store.heartbeat("w1", Moment(T0), after=cursor)

    async def test_an_append_consumes_messages(self, store: Store) -> None:
        await store.write([new_run()])
        for body in "123":
            await store.post(message(body=body))
        one, two, three = await store.inbox("r")
        first = replace(step_forward(run_row()), consumed=(one.id, three.id))
        assert await store.write([first]) == [OK]
        assert await store.inbox("r") == [two]
        ended = replace(finish(first.row), consumed=[one.id, two.id, 999])
        assert await store.write([ended]) == [OK]
        assert await store.inbox("r") == []

    async def test_a_fenced_append_consumes_nothing(self, store: Store) -> None:
        await store.write([new_run()])
        await store.post(message())
        [kept] = await store.inbox("r")
        for row in (run_row(seq=7), run_row(token=3)):
            late = replace(step_forward(row), consumed=(kept.id,))
            assert await store.write([late]) == [FENCED]
        assert await store.inbox("r") == [kept]

    async def test_an_append_consumes_no_mail_of_others(self, store: Store) -> None:
        await store.write([new_run(), new_run("other")])
        await store.post(message("other"))
        [kept] = await store.inbox("other")
        assert await store.write([replace(step_forward(run_row()), consumed=(kept.id,))]) == [OK]
        assert await store.inbox("other") == [kept]

    async def test_of_several_that_consume_a_message_one_wins(self, stores: list[Store]) -> None:
        await stores[0].write([new_run()])
        await stores[0].post(signal())
        [sent] = await stores[0].inbox("r")
        use = replace(step_forward(run_row()), consumed=(sent.id,))
        results = await asyncio.gather(*(store.write([use]) for store in stores))
        assert sorted(results) == [[FENCED]] * 7 + [[OK]]

    async def test_no_message_is_missed_while_several_post(self, stores: list[Store]) -> None:
        """Its owner looks again and again meanwhile, always from the latest cursor."""
        owner, *others = stores
        await owner.register(worker())
        await owner.write([new_run(run_id, worker_id="w1", token=1) for run_id in "ab"])
        seen: dict[str, list[int]] = {"a": [], "b": []}
        cursor = ""
        posting = asyncio.gather(
            *(
                store.post(message("ab"[turn % 2], f"{number}-{turn}"))
                for number, store in enumerate(others)
                for turn in range(6)
            )
        )
        done = False
        while not done:
            done = posting.done()  # and one look more
            beat = await owner.heartbeat("w1", Moment(T0), after=cursor)
            cursor = beat.cursor
            for each in beat.messages:
                latest = seen[each.run_id][-1:]
                if [each.id] > latest:  # others came before
                    seen[each.run_id].append(each.id)
            await asyncio.sleep(0)  # it may never wait
        assert await posting == [True] * 42
        for run_id, ids in seen.items():
            assert ids == [each.id for each in await owner.inbox(run_id)]
            assert len(ids) == 21

    async def test_mail_of_an_ended_run_stays_until_it_is_deleted(self, store: Store) -> None:
        await store.write([new_run()])
        await store.post(signal())
        await store.write([finish(run_row())])
        assert len(await store.inbox("r")) == 1
        await store.delete_runs(["r"])
        assert await store.inbox("r") == []
