"""Events, of one run and of all."""

from typing import assert_type

from gorkflow import Engine, EventFeed
from gorkflow.events import Event


async def watch(engine: Engine) -> None:
    async for event in engine.events("r1", after=3):
        assert_type(event, Event)
    feed = engine.events(after="cursor")
    assert_type(feed, EventFeed)
    assert_type(feed.cursor, str)
    async for event in feed:
        assert_type(event, Event)
    engine.events(after=3)  # error
    engine.events("r1", after="cursor")  # error
