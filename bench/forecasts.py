"""Forecasts of the examples, against real runs of them under the changed rules.

usage: python bench/forecasts.py [NAME]    prints the table of docs/explain.md

An example runs as it is, and `whatif` forecasts it under other rules. Then it really runs under
these. It runs three times each; the middle one counts. Its steps wait, as for a server: steps that
compute share the processors, and a forecast knows nothing of those.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from examples import crawl, fetch_pages, polling
from examples.parallel import balance, basic, chained_blocks, complete, fan_out_fan_in
from gorkflow import Engine, Workflow
from gorkflow.insight import Changes, Explanation

TIMES = 3
SECOND = 0.2
"""The seconds that a step of the examples in examples/parallel waits, of 1 to 30 on their page."""


# ---- an example with other options ------------------------------------------------------------


def bounded(node: Any, most: int) -> Any:
    """Return a workflow whose blocks run at most so many branches at a time."""

    def bound(inner: Any) -> Any:
        if isinstance(inner, Workflow):
            return bounded(inner, most)
        changed = inner.with_inside(bound) if hasattr(inner, "with_inside") else inner
        if hasattr(changed, "options") and hasattr(changed.options, "max_concurrency"):
            options = msgspec.structs.replace(changed.options, max_concurrency=most)
            return msgspec.structs.replace(changed, options=options)
        return changed

    return node.rebuilt(tuple(map(bound, node.elements)))


# ---- servers ----------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Takes a while; pages link to the next ones; a job is done when asked for the fourth time."""

    server: Server

    def do_GET(self) -> None:
        server = self.server
        time.sleep(server.seconds)
        if server.flaky and self.path not in server.seen:
            server.seen.add(self.path)
            self.answer(503, b"try again")
        elif self.path == "/job":
            server.asked += 1
            self.answer(200, b'{"done": %s}' % (b"true" if server.asked == 4 else b"false"))
        else:
            number = int(self.path.strip("/") or 0)
            links = "".join(f'<a href="/{4 * number + n}">' for n in range(1, 5))
            self.answer(200, links.encode())

    def do_POST(self) -> None:
        time.sleep(self.server.seconds)
        port = self.server.server_port
        self.answer(200, b'{"url": "http://127.0.0.1:%d/job"}' % port)

    def answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    seconds = 0.05
    flaky = False
    """Whether each page answers 503 the first time."""
    asked = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(seconds: float, *, flaky: bool = False) -> Generator[str]:
    with Server() as server:
        server.seconds, server.flaky = seconds, flaky
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def pages(seconds: float) -> Generator[str]:
    """Run the server of examples/fetch_pages.py."""
    with fetch_pages.serving() as (server, address):
        server.seconds = seconds
        yield address


# ---- cases ------------------------------------------------------------------------------------


@dataclass
class Play:
    """An example as it runs once."""

    workflow: Workflow[Any, Any]
    make_input: Callable[[str], Any]
    """Given the address of the server."""
    server: Callable[[], AbstractContextManager[str]] = lambda: nullcontext("")
    options: dict[str, Any] = field(default_factory=dict)
    """Of the engine."""

    async def run(self, changes: Changes | None = None) -> tuple[Explanation, Explanation | None]:
        """Run it; return its explanation, and its forecast."""
        with self.server() as address:
            async with Engine("memory:", **self.options) as engine:
                handle = await engine.start(self.workflow, self.make_input(address))
                await handle.result()
                forecast = changes and await engine.explain(handle.run_id, changes)
                return await engine.explain(handle.run_id), forecast


@dataclass
class Case:
    name: str
    option: str
    """Of `gorkflow whatif`."""
    changes: Changes
    was: Play
    then: Play


def cases() -> Generator[Case]:
    for module in (balance, basic, chained_blocks, complete, fan_out_fan_in):
        module.SECOND = SECOND
    balance.SECOND = SECOND / 8

    long = balance.work.bind("long", seconds=15)
    was = Play(balance.unbalanced, lambda _: 100)
    then = Play(balance.unbalanced.replace("long", long), lambda _: 100)
    yield Case("balance (unbalanced)", "--scale long=0.5", Changes(scale={"long": 0.5}), was, then)
    for most in (1, 2):
        then = Play(bounded(balance.balanced, most), was.make_input)
        yield Case(
            "balance (balanced)", f"--max-concurrency {most}", Changes(max_concurrency=most),
            Play(balance.balanced, was.make_input), then,
        )  # fmt: skip

    for name, workflow, given in (
        ("basic", basic.basic, basic.Text(text="the quick brown fox")),
        ("chained_blocks", chained_blocks.chained, "tea 7"),
        ("complete", complete.complete, complete.DataInput(id=7)),
        ("fan_out_fan_in", fan_out_fan_in.fan_out_in, fan_out_fan_in.SALES),
    ):
        was = Play(workflow, lambda _, given=given: given)
        then = Play(workflow, was.make_input, options={"max_concurrent_steps": 1})
        yield Case(name, "--slots 1", Changes(slots=1), was, then)

    start = lambda url: crawl.Crawl(start=f"{url}/0", pages=40)  # noqa: E731
    was = Play(crawl.crawl_site, start, lambda: serving(0.3))
    then = Play(bounded(crawl.crawl_site, 2), start, lambda: serving(0.3))
    yield Case("crawl", "--max-concurrency 2", Changes(max_concurrency=2), was, then)
    then = Play(bounded(crawl.crawl_site, 40), start, lambda: serving(0.3))
    yield Case("crawl", "--max-concurrency 40", Changes(max_concurrency=40), was, then)
    then = Play(crawl.crawl_site, start, lambda: serving(0.6))
    yield Case("crawl", "--scale fetch=2", Changes(scale={"fetch": 2}), was, then)
    was = Play(crawl.crawl_site, start, lambda: serving(0.3, flaky=True))
    then = Play(crawl.crawl_site, start, lambda: serving(0.3))
    yield Case("crawl, failing", "--without-retries", Changes(without_retries=True), was, then)

    site = lambda url: fetch_pages.Site(address=url, pages=120)  # noqa: E731
    was = Play(fetch_pages.fetch_pages, site, lambda: pages(0.1))
    then = Play(fetch_pages.fetch_pages, site, lambda: pages(0.2))
    yield Case("fetch_pages", "--scale fetch=2", Changes(scale={"fetch": 2}), was, then)
    then = Play(fetch_pages.fetch_pages, site, lambda: pages(0.1), {"max_concurrent_steps": 4})
    yield Case("fetch_pages", "--slots 4", Changes(slots=4), was, then)

    order = lambda url: polling.Order(url=f"{url}/jobs")  # noqa: E731
    was = Play(polling.polling, order, lambda: serving(0.2))
    then = Play(polling.polling, order, lambda: serving(0.1))
    half = Changes(scale={"place": 0.5, "ask": 0.5})
    yield Case("polling", "--scale place=0.5 --scale ask=0.5", half, was, then)


# ---- the table --------------------------------------------------------------------------------


@dataclass
class Row:
    """One forecast, and what really happened. Times are in seconds."""

    name: str
    option: str
    was: float
    forecast: float
    real: float

    @property
    def off(self) -> float:
        """The part of the real time by which the forecast is wrong."""
        return self.forecast / self.real - 1

    def __str__(self) -> str:
        times = " | ".join(f"{each:.2f} s" for each in (self.was, self.forecast, self.real))
        return f"| {self.name} | `{self.option}` | {times} | {self.off:+.1%} |"


async def measured(case: Case) -> Row:
    runs = [await case.was.run(case.changes) for _ in range(TIMES)]
    was, forecast = sorted(runs, key=lambda run: run[0].seconds)[TIMES // 2]
    assert forecast is not None  # it was asked for
    real = [(await case.then.run())[0].seconds for _ in range(TIMES)]
    return Row(case.name, case.option, was.seconds, forecast.seconds, median(real))


def main() -> None:
    logging.getLogger("gorkflow").addHandler(logging.NullHandler())  # a server fails on purpose
    print("| example | `gorkflow whatif` | was | forecast | real | off by |")
    print("| --- | --- | --- | --- | --- | --- |")
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for case in cases():
        if wanted in case.name:
            print(asyncio.run(measured(case)), flush=True)


if __name__ == "__main__":
    main()
