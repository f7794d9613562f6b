"""A site in a thread of its own: an engine on a file, and uvicorn on a free port here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

import uvicorn

from gorkflow import Engine
from gorkflow.web import app

T = TypeVar("T")
TOKEN = "browser-token-0123456789"


class Site:
    """One address, and the engine behind it."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.engine = engine
        self._loop = loop
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def link(self) -> str:
        """The link that lets a browser change things."""
        return f"{self.url}/?token={TOKEN}"

    def do(self, work: Callable[[Engine], Coroutine[Any, Any, T]], timeout: float = 20) -> T:
        """Do something with the engine, in its loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work(self.engine), self._loop).result(timeout)


@contextmanager
def serving(store: str, workflows: Any, **options: Any) -> Iterator[Site]:
    """Serve the page over a store, by an engine that runs what is started."""
    ready: Future[Site] = Future()
    ending: Future[Callable[[], None]] = Future()
    # Listening before the server starts, so that no request comes too early.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def main() -> None:
            loop, over = asyncio.get_running_loop(), asyncio.Event()
            async with Engine(store, workflows=workflows) as engine:
                config = uvicorn.Config(
                    app(engine, token=TOKEN, **options), log_config=None, lifespan="off",
                    timeout_graceful_shutdown=1,
                )  # fmt: skip
                server = _Server(config)
                serving = asyncio.create_task(server.serve([listener]))
                ready.set_result(Site(engine, loop, port))
                ending.set_result(lambda: loop.call_soon_threadsafe(over.set))
                await over.wait()
                server.should_exit = True
                await serving
                await engine.aclose(grace=0)

        def run() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:
                if not ready.done():
                    ready.set_exception(error)
                raise

        thread = Thread(target=run, name="site")
        thread.start()
        try:
            yield ready.result(20)
        finally:
            if ending.done():
                ending.result()()
            thread.join(30)
    assert not thread.is_alive()


class _Server(uvicorn.Server):
    """A server beside others of the process: signals are not its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
