"""A service on this machine that is done when it was asked for the fourth time."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from examples import polling as job
from gorkflow import Engine, RunFailedError, Workflow
from tests.engine.support import in_loop

seen: list[str] = []


class Service(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        seen.append("POST")
        host, port = self.server.server_address[:2]
        self.reply({"url": f"http://{host!s}:{port}/jobs/1"})

    def do_GET(self) -> None:
        seen.append("GET")
        done = seen.count("GET") == 4
        self.reply({"done": done, "result": "a cake"} if done else {"done": False})

    def reply(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/jobs"
        server.shutdown()
        thread.join()


@in_loop
async def test_it_asks_until_it_is_there(url: str) -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(job.polling, job.Order(url=url))
        state = await handle.result()
        paths = [s.path for s in await engine.steps(handle.run_id)]
    assert (state.result, state.asked) == ("a cake", 4)
    assert seen == ["POST", *["GET"] * 4]
    assert paths == [
        "place",
        *(f"poll#{n}/{name}" for n in range(1, 5) for name in ("sleep", "ask")),
    ]


@in_loop
async def test_it_does_not_ask_for_ever(url: str) -> None:
    impatient = (
        Workflow("impatient", input=job.Order)
        .then(job.place)
        .loop(job.poll, until=job.is_ready, max_iterations=2)
    )
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="loop_limit"):
            await engine.run(impatient, job.Order(url=url))
