"""Work that commits with its result: a transaction returns what its work returns."""

import sqlite3
from collections.abc import Coroutine
from typing import Any, assert_type

from models import Order, Stock
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from gorkflow import StepContext, step, testing

db = create_async_engine("sqlite+aiosqlite:///shop.db")


def take(connection: sqlite3.Connection, order: Order) -> Stock:
    raise NotImplementedError


async def take_async(connection: AsyncConnection, order: Order, count: int) -> Stock:
    raise NotImplementedError


def take_some(connection: sqlite3.Connection, order: Order, count: int = 1) -> Stock:
    raise NotImplementedError


@step
def takes(ctx: StepContext, order: Order) -> Stock:
    assert_type(ctx.transaction("shop.db", take, order), Stock)
    assert_type(ctx.transaction("shop.db", take, order, name="again"), Stock)
    assert_type(ctx.transaction("shop.db", take_some, order, 2), Stock)
    assert_type(ctx.transaction("shop.db", take_some, order), Stock)
    ctx.transaction("shop.db", take)  # error
    ctx.transaction("shop.db", take, 7)  # error
    ctx.transaction("shop.db", take, order, 7)  # error
    ctx.transaction("shop.db", take, order, name=7)  # error
    ctx.transaction("shop.db")  # error
    return ctx.transaction("shop.db", take, order)


@step
async def takes_async(ctx: StepContext, order: Order) -> Stock:
    taking: Coroutine[Any, Any, Stock] = ctx.transaction(db, take_async, order, 1)
    assert_type(await taking, Stock)
    assert_type(await ctx.transaction(db, take_async, order, 1), Stock)
    await ctx.transaction(db, take_async, order)  # error
    await ctx.transaction(db, take_async, order, "1")  # error
    return await ctx.transaction(db, take_async, order, 1, name="again")


@step
async def forgets_to_await(ctx: StepContext, order: Order) -> Stock:
    return ctx.transaction(db, take_async, order, 1)  # error


def tests() -> None:
    assert_type(testing.context().transaction("shop.db", take, Order(id=1)), Stock)
