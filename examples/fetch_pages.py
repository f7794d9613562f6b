"""Fetch 500 pages from a server that allows 8 requests at a time and 100 in a second.

    python examples/fetch_pages.py [--pages 500]

One map has an item for every page. All items are ready at once. The limit, which all runs and
workers would share, admits as many as the server allows. The server runs in this program: it
rejects a request beyond its limits, and prints its load at the end.
"""

import argparse
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pydantic import BaseModel

from gorkflow import Limit, RetryAfterError, Workflow, run, step

AT_A_TIME = 8
A_SECOND = 100
server_limit = Limit("pages", concurrency=AT_A_TIME, rate=A_SECOND, per=1.0)


class Site(BaseModel):
    """A server, and its number of pages."""

    address: str
    pages: int


class Page(BaseModel):
    """A page that was fetched."""

    address: str
    size: int


class Summary(BaseModel):
    """The total of all pages."""

    pages: int
    bytes: int


@step
def find(site: Site) -> list[str]:
    """List the addresses of all pages. The run keeps this list."""
    return [f"{site.address}/pages/{number}" for number in range(site.pages)]


@step(limits=(server_limit,), retries=3, timeout=30)
def fetch(address: str) -> Page:
    """Fetch one page. If the server rejects it, wait as long as the server says."""
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return Page(address=address, size=len(answer.read()))
    except urllib.error.HTTPError as error:
        with error:  # it is the answer, too
            if error.code != 429:
                raise
            raise RetryAfterError(float(error.headers["Retry-After"]), "too busy") from error


@step
def add_up(pages: list[Page]) -> Summary:
    """Add up the sizes."""
    return Summary(pages=len(pages), bytes=sum(page.size for page in pages))


fetch_pages = Workflow("fetch-pages", input=Site).then(find).map(fetch).then(add_up)


class Server(ThreadingHTTPServer):
    """Serves pages, and counts."""

    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.seconds = 0.005  # that a page takes
        self.inside = self.most = self.served = self.refused = 0
        self.latest: deque[float] = deque()

    def enter(self) -> bool:
        """Count a request; return whether it is too much."""
        with self.lock:
            now = time.monotonic()
            # Requests that start evenly may arrive in lumps: the server allows some more.
            while self.latest and self.latest[0] < now - 0.8:
                self.latest.popleft()
            if len(self.latest) >= A_SECOND or self.inside >= AT_A_TIME:
                self.refused += 1
                return True
            self.latest.append(now)
            self.inside += 1
            self.most = max(self.most, self.inside)
            return False

    def leave(self) -> None:
        """Count the end of a request."""
        with self.lock:
            self.inside -= 1
            self.served += 1


class Handler(BaseHTTPRequestHandler):
    """Answers with a page, or with 429."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        """Answer."""
        if self.server.enter():
            self.send_response(429)
            self.send_header("Retry-After", "0.2")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        time.sleep(self.server.seconds)
        body = f"This is {self.path}.\n".encode() * 40
        self.server.leave()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        """Log nothing."""


@contextmanager
def serving() -> Generator[tuple[Server, str]]:
    """Run the server; yield it and its address."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main(arguments: list[str] | None = None) -> int:
    """Fetch the pages and print the result."""
    parser = argparse.ArgumentParser(description="Fetch pages under a limit.")
    parser.add_argument("--pages", type=int, default=500)
    pages = parser.parse_args(arguments).pages
    with serving() as (server, address):
        began = time.monotonic()
        summary = run(fetch_pages, Site(address=address, pages=pages), store="memory:")
        took = time.monotonic() - began
    print(f"{summary.pages} pages, {summary.bytes:,} bytes, in {took:.1f} s")
    print(f"at most {server.most} requests at a time; {server.refused} were too much")
    return 0


if __name__ == "__main__":
    sys.exit(main())
