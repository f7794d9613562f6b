"""The traffic of the demo: who starts which run, and what people do to it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from random import Random
from typing import Any, NamedTuple

from gorkflow import Client, Failed, RunEndedError, Schedule, Workflow
from gorkflow.demo.flows import (
    Album,
    Approval,
    Country,
    Delivery,
    Order,
    Question,
    Report,
    answer,
    approved,
    checkout,
    imports,
    nightly_report,
    research,
    thumbnails,
)

_COUNTRIES: tuple[Country, ...] = ("CH", "DE", "FR", "SE", "AQ")
_ITEMS = ("teapot", "lamp", "kettle", "globe", "piano", "chess set", "telescope")
_CUSTOMERS = 240
_QUESTIONS = (
    "Why is the sky dark at night?",
    "Which bridges fell last year?",
    "How do newts grow legs?",
    "What does a tonne of steel cost?",
    "Who reads printed maps?",
    "When did tea reach Sweden?",
)
_PEOPLE = ("Ann", "Bo", "Chidi", "Dana")


class Signalled(NamedTuple):
    """A signal that a person sends to a run."""

    name: str
    payload: Any
    after: float
    """Seconds after the start."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One start of a run, and what people do to it afterwards."""

    workflow: Workflow[Any, Any]
    input: Any
    run_id: str
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    resource: str | None = None
    signal: Signalled | None = None
    cancel: tuple[float, str] | None = None
    """Seconds after the start, and the reason."""
    rerun: float | None = None
    """Seconds after it has failed; ``None``: it is left as it is."""

    async def make(self, engine: Client) -> None:
        """Start the run, and do the rest when its time has come."""
        handle = await engine.start(
            self.workflow,
            self.input,
            run_id=self.run_id,
            if_exists="return",
            tags=self.tags,
            resource_id=self.resource,
        )
        with suppress(RunEndedError):  # it was quicker than they
            if self.signal is not None:
                await asyncio.sleep(self.signal.after)
                await handle.send(self.signal.name, self.signal.payload)
            if self.cancel is not None:
                after, reason = self.cancel
                await asyncio.sleep(after)
                await handle.cancel(reason)
        if self.rerun is not None and isinstance(await handle.outcome(), Failed):
            await asyncio.sleep(self.rerun)
            await engine.rerun(self.run_id, run_id=f"{self.run_id}-again", if_exists="return")


def visit(number: int, seed: int) -> Visit:
    """Return the visit of a number: the same one each time."""
    chance = Random(f"{seed} {number}")
    (kind,) = chance.choices((_order, _album, _question, _delivery), weights=(72, 12, 8, 8))
    return kind(number, chance)


def large_order(number: int) -> Visit:
    """Return the start of a run that waits for an approval, which is yet to come."""
    given = Order(10_000 + number, "piano", 480_000, "DE")
    tags = {"country": "DE", "channel": "phone"}
    return Visit(checkout, given, f"order-{10_000 + number}", tags, "customer-88")


def at_work() -> list[tuple[float, Visit]]:
    """Return starts of runs that are under way, and how many seconds ago they were."""
    question, delivery = Question(_QUESTIONS[0], 3), Delivery("acme", 5_000)
    return [
        (20.5, Visit(imports, delivery, "import-acme-9000", {"supplier": "acme"})),
        (14.0, Visit(research, question, "question-9001", {"model": "large"})),
        (3.6, Visit(thumbnails, Album(9_002, 24), "album-9002", {"plan": "paid"})),
        (2.5, Visit(checkout, Order(19_003), "order-19003", {"channel": "web"})),
    ]


def _order(number: int, chance: Random) -> Visit:
    (country,) = chance.choices(_COUNTRIES, weights=(40, 30, 20, 14, 1))
    cents = int(chance.lognormvariate(8.9, 0.9)) + 500
    signal = None
    if chance.random() < 0.85:
        by, ok = chance.choice(_PEOPLE), chance.random() < 0.9
        note = "" if ok else "the address does not exist"
        after = chance.lognormvariate(9.6, 1.2)
        signal = Signalled(approved.name, Approval(by, ok=ok, note=note), after)
    return Visit(
        checkout,
        Order(10_000 + number, chance.choice(_ITEMS), cents, country),
        f"order-{10_000 + number}",
        {"country": country, "channel": chance.choice(("web", "web", "app", "phone"))},
        f"customer-{chance.randrange(_CUSTOMERS)}",
        signal,
        (chance.uniform(2, 9), "wrong size") if chance.random() < 0.02 else None,
        chance.uniform(60, 3_600) if chance.random() < 0.4 else None,
    )


def _album(number: int, chance: Random) -> Visit:
    pictures = min(60, 4 + int(chance.lognormvariate(1.8, 0.7)))
    return Visit(
        thumbnails,
        Album(number, pictures, chance.choice((160, 320, 640))),
        f"album-{number}",
        {"plan": chance.choice(("free", "free", "paid"))},
        f"customer-{chance.randrange(_CUSTOMERS)}",
        cancel=(chance.uniform(1, 4), "uploaded twice") if chance.random() < 0.03 else None,
    )


def _question(number: int, chance: Random) -> Visit:
    signal = None
    if chance.random() < 0.9:
        text = f"ask {chance.choice(_PEOPLE)}"
        signal = Signalled(answer.name, text, chance.lognormvariate(8.5, 1))
    return Visit(
        research,
        Question(chance.choice(_QUESTIONS), chance.randint(1, 4)),
        f"question-{number}",
        {"model": chance.choice(("small", "large"))},
        f"customer-{chance.randrange(_CUSTOMERS)}",
        signal,
    )


def _delivery(number: int, chance: Random) -> Visit:
    supplier = chance.choice(("acme", "blau", "corvo", "dalem"))
    return Visit(
        imports,
        Delivery(supplier, chance.choice((1_000, 2_500, 4_000, 8_000))),
        f"import-{supplier}-{number}",
        {"supplier": supplier},
        f"supplier-{supplier}",
        cancel=(chance.uniform(5, 40), "wrong file") if chance.random() < 0.05 else None,
    )


async def make_schedules(client: Client) -> list[Schedule]:
    """Make the schedules of the demo; return them."""
    for schedule_id, (workflow, given, cron, every) in _RULES.items():
        has_cron = find_spec("cronsim") is not None  # an extra
        await client.schedule(
            workflow,
            given,
            id=schedule_id,
            cron=cron if has_cron else None,
            every=None if has_cron else every,
            timezone="Europe/Berlin" if has_cron else "UTC",
        )
    return await client.schedules()


_RULES: dict[str, tuple[Workflow[Any, Any], Any, str, float]] = {
    "acme-hourly": (imports, Delivery("acme", 2_000), "30 * * * *", 3_600),
    "north": (nightly_report, Report("north", 6), "0 3 * * *", 86_400),
    "south": (nightly_report, Report("south", 9), "15 3 * * *", 86_400),
}


@dataclass(frozen=True, slots=True)
class Due:
    """One start of a run by a schedule."""

    schedule_id: str

    async def make(self, engine: Client) -> None:
        """Start the run."""
        await engine.run_schedule(self.schedule_id)


async def keep_busy(engine: Client, *, first: int, seed: int = 0, every: float = 6.0) -> None:
    """Start runs for ever, as they come in a shop.

    Args:
        engine: Starts them.
        first: The number of the first visit: those before it have been.
        seed: The seed of the traffic.
        every: Seconds between two starts, on average.
    """
    async with asyncio.TaskGroup() as visits:
        number = first
        while True:
            visits.create_task(visit(number, seed).make(engine))
            await asyncio.sleep(every * Random(f"pause {seed} {number}").uniform(0.5, 1.5))
            number += 1
