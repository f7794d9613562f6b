"""A promise has many who wait, and none of them can spoil it for the others."""

from __future__ import annotations

import asyncio

import pytest

from gorkflow.engine._sync import Promise
from tests.engine.support import in_loop


@in_loop
async def test_all_who_wait_get_the_value_and_so_do_those_who_come_late():
    promise = Promise()
    waiters = [asyncio.create_task(promise.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not promise.is_set
    promise.set_result("value")
    assert promise.is_set
    assert promise.result() == "value"
    assert await asyncio.gather(*waiters) == ["value"] * 3
    assert await promise.wait() == "value"


@in_loop
async def test_a_waiter_that_is_cancelled_is_forgotten_and_hurts_nobody():
    promise = Promise()
    other = asyncio.create_task(promise.wait())
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(promise.wait(), 0.001)
    assert len(promise._waiting) == 1
    promise.set_result(None)
    assert await other is None


@in_loop
async def test_a_waiter_that_is_cancelled_once_the_value_is_there_is_cancelled():
    promise = Promise()
    waiter = asyncio.create_task(promise.wait())
    await asyncio.sleep(0)
    promise.set_result(1)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
