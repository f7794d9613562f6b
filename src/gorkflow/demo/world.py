"""The world of the demo: services that its steps call. They take their time, and sometimes fail.

Chance follows from the run, the step and the attempt. So the same run always goes the same way.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, NamedTuple

from gorkflow import StepContext


class Service(NamedTuple):
    """A service that steps call."""

    seconds: float
    """The usual time of a call."""
    spread: float
    """How much that varies: 0 never, 1 a lot."""
    fails: float
    """The part of the calls that fail, from 0 to 1."""
    error: type[Exception]
    """The kind of error."""
    message: str


SERVICES = {
    "stock-db": Service(0.6, 0.4, 0.01, ConnectionError, "stock-db: connection reset by peer"),
    "carriers": Service(3.2, 0.5, 0.09, ConnectionError, "carriers.example: timed out"),
    "fraud": Service(1.4, 0.4, 0.0, RuntimeError, "never"),
    "bank": Service(1.1, 0.3, 0.04, TimeoutError, "bank.example: no answer in 5 s"),
    "labels": Service(0.9, 0.3, 0.02, OSError, "label printer 3 is out of paper"),
    "warehouse": Service(9.0, 0.6, 0.0, RuntimeError, "never"),
    "ledger": Service(7.0, 0.5, 0.05, ConnectionError, "ledger: too many connections"),
    "mail": Service(0.4, 0.3, 0.02, ConnectionError, "smtp: 421 try again later"),
    "images": Service(0.8, 0.8, 0.01, OSError, "images: 503 slow down"),
    "llm": Service(6.5, 0.6, 0.05, ConnectionError, "llm: 529 overloaded"),
    "search": Service(1.8, 0.7, 0.12, ConnectionError, "search: 502 bad gateway"),
    "source": Service(5.0, 0.5, 0.03, ConnectionError, "ftp: 426 connection closed"),
    "database": Service(2.2, 0.5, 0.03, OSError, "database: deadlock detected"),
}


async def call(ctx: StepContext[Any], service: str, size: float = 1.0) -> Random:
    """Wait as long as a call of a service takes.

    Args:
        ctx: The context of the step.
        service: The service.
        size: How much is asked of it; 2 takes twice the usual time.

    Returns:
        The chance by which the answer may be made up.

    Raises:
        Exception: If the call fails.
    """
    usual = SERVICES[service]
    chance = Random(f"{ctx.run_id} {ctx.path} {ctx.attempt} {service}")
    seconds = usual.seconds * size * chance.lognormvariate(0.0, usual.spread)
    failed = chance.random() < usual.fails
    await asyncio.sleep(seconds / 2 if failed else seconds)
    if failed:
        ctx.logger.warning("%s", usual.message)
        raise usual.error(usual.message)
    return chance
