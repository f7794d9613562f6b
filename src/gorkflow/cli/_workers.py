"""`gorkflow workers`: lists the workers of a store, and queues that none of them serves."""

from __future__ import annotations

import asyncio

import click

from gorkflow._text import listed, span_of
from gorkflow.cli._app import CONTEXT, Command, json_option, store_option
from gorkflow.cli._output import json_text, put, say, table
from gorkflow.cli._target import opened, same_store
from gorkflow.clock import time_of
from gorkflow.engine import _json
from gorkflow.engine._lease import shown
from gorkflow.model import LiveWorker

_QUEUES = 10


@click.command(
    "workers",
    cls=Command,
    context_settings=CONTEXT,
    example=("gorkflow workers", "gorkflow workers --store sqlite:runs.db --json"),
)
@store_option
@json_option
def workers_command(*, store: str | None, as_json: bool) -> None:
    """List the workers that are alive: host, runs, queues, and when each was last heard of.

    It also names the queues whose runs wait although no worker serves them.
    """
    workers, unserved, now = asyncio.run(_found(store))
    if as_json:
        found = [_json.to_json(worker) for worker in workers]
        put(json_text({"workers": found, "unserved_queues": unserved}, short=None))
        return
    if workers:
        head = ("WORKER", "HOST", "PROCESS", "RUNS", "QUEUES", "SEEN")
        put("\n".join(table(head, (_row(worker, now) for worker in workers))))
    else:
        say("no worker is alive")
    for queue in unserved:
        say(
            f"queue {queue!r} has runs that wait, and no worker serves it: "
            f"gorkflow worker TARGET --queue {queue}{same_store(store)}"
        )


async def _found(store: str | None) -> tuple[list[LiveWorker], list[str], float]:
    async with opened(store) as reader:
        now = await time_of(reader)
        owned = await reader.owned()
        workers = [
            shown(worker, owned.get(worker.worker_id, 0))
            for worker in await reader.workers(now=now)
        ]
        served = {queue for worker in workers for queue in worker.queues}
        waiting = await reader.waiting_queues()
        return workers, [queue for queue in waiting if queue not in served], now


def _row(worker: LiveWorker, now: float) -> tuple[str, ...]:
    most = "" if worker.concurrency is None else f" of {worker.concurrency:,}"
    return (
        worker.worker_id,
        worker.host,
        str(worker.pid),
        f"{worker.runs:,}{most}",
        listed(worker.queues, _QUEUES) if worker.queues else "only its own runs",
        f"{span_of(max(0.0, now - worker.seen_at.timestamp()))} ago",
    )
