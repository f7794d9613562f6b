"""A forecast agrees with what really happens under the changed rules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gorkflow import Limit, Workflow, step, testing
from gorkflow.engine._recorded import Recorded, load
from gorkflow.insight.explain import Explanation, explain
from gorkflow.insight.whatif import Changes, Forecast, whatif


def recorded(workflow: Workflow[int, Any], items: int = 12, **options: Any) -> Recorded:
    async def run() -> Recorded:
        async with testing.VirtualEngine(**options) as engine:
            handle = await engine.start(workflow, items)
            await handle.result()
            return await load(engine.store, handle.run_id)

    return testing.in_virtual_time(run())


def explained(run: Recorded) -> Explanation:
    return explain(run.row.run_id, run.tree, run.events, now=0.0)


def forecast(run: Recorded, **changes: Any) -> Explanation:
    return whatif(run.row.run_id, run.tree, run.events, Changes(**changes))


@step
async def listed(number: int) -> list[int]:
    await asyncio.sleep(1)
    return list(range(number))


def fetching(factor: float = 1.0, fails: int = 0, **options: Any) -> Any:
    failed: set[int] = set()

    @step(id="fetch", retries=2, **options)
    async def fetch(number: int) -> int:
        await asyncio.sleep(factor * (1 + number * 7 % 5))
        if number < fails and number not in failed:
            failed.add(number)
            raise ConnectionError(number)
        return number

    return fetch


@step
async def total(numbers: list[int]) -> int:
    await asyncio.sleep(2)
    return sum(numbers)


def crawl(fetch: Any, most: int | None = None) -> Workflow[int, Any]:
    return Workflow("crawl", input=int).then(listed).map(fetch, max_concurrency=most).then(total)


@pytest.mark.parametrize("was", [1, 2, 5, None])
@pytest.mark.parametrize("will_be", [1, 2, 3, 5])
def test_another_concurrency(was: int | None, will_be: int) -> None:
    run = recorded(crawl(fetching(), was))
    wanted = explained(recorded(crawl(fetching(), will_be)))
    found = forecast(run, max_concurrency=will_be)
    assert found.seconds == pytest.approx(wanted.seconds, rel=1e-6)
    assert found.time == pytest.approx(wanted.time, rel=1e-6)


@pytest.mark.parametrize("slots", [1, 3, 7])
def test_fewer_slots_of_the_engine(slots: int) -> None:
    wanted = explained(recorded(crawl(fetching()), max_concurrent_steps=slots))
    found = forecast(recorded(crawl(fetching())), slots=slots)
    assert found.seconds == pytest.approx(wanted.seconds, rel=1e-6)


def test_without_retries() -> None:
    wanted = explained(recorded(crawl(fetching(), 3)))
    found = forecast(recorded(crawl(fetching(fails=6), 3)), without_retries=True)
    assert found.seconds == pytest.approx(wanted.seconds, rel=1e-6)


def test_faster_steps() -> None:
    wanted = explained(recorded(crawl(fetching(0.5), 3)))
    found = forecast(recorded(crawl(fetching(), 3)), scale={"fetch": 0.5})
    assert found.seconds == pytest.approx(wanted.seconds, rel=1e-6)


@pytest.mark.parametrize("limit", [Limit("api", concurrency=2), Limit("api", rate=2, per=3)])
def test_named_limits_bind_as_they_do(limit: Limit) -> None:
    run = recorded(crawl(fetching(limits=(limit,))))
    found = forecast(run)
    assert found.seconds == pytest.approx(explained(run).seconds, rel=0.1)


@pytest.mark.parametrize("limits", [(), (Limit("api", concurrency=2),)])
def test_a_forecast_costs_no_more_per_item_of_a_longer_list(
    limits: tuple[Limit, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    room_at = Forecast._room_at

    def counted(self: Forecast, limits: Sequence[Limit]) -> float:
        nonlocal looks
        looks += 1
        return room_at(self, limits)

    monkeypatch.setattr(Forecast, "_room_at", counted)
    per_item: list[float] = []
    for items in (50, 200):
        run = recorded(crawl(fetching(limits=limits)), items)
        looks = 0
        forecast(run, slots=2)
        per_item.append(looks / items)
    assert per_item[1] <= 1.1 * per_item[0]


def test_a_run_that_has_not_ended_is_rejected() -> None:
    run = recorded(crawl(fetching()))
    with pytest.raises(ValueError, match="has not ended; a forecast needs its whole history"):
        whatif("r", run.tree, run.events[:-3], Changes())


def test_a_step_that_is_not_there_is_rejected() -> None:
    with pytest.raises(ValueError, match="has no step 'fetsh'; did you mean 'fetch'"):
        forecast(recorded(crawl(fetching())), scale={"fetsh": 0.5})
