"""``gorkflow web`` as a process: its link, its port, slow clients, and how it stops."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.cli.tools import COMMAND, environment, gorkflow_in
from tests.web.tools import TOKEN

SHOP = """
import asyncio
from gorkflow import Workflow, step

@step
async def double(number: int) -> int:
    return 2 * number

@step
async def hold(number: int) -> int:
    await asyncio.sleep(60)
    return number

doubling = Workflow("doubling", input=int).then(double)
holding = Workflow("holding", input=int).then(hold)
"""
LINK = re.compile(r"^http://\S+$", re.MULTILINE)


class Served(NamedTuple):
    process: subprocess.Popen[str]
    link: str
    said: str
    """Up to the link."""

    @property
    def address(self) -> tuple[str, int]:
        found = httpx.URL(self.link)
        return found.host, found.port or 80


@contextmanager
def serving(place: Path, *args: str, **env: str) -> Iterator[Served]:
    """Serve a page; it has to stop soon after Ctrl-C."""
    process = subprocess.Popen(
        [*COMMAND, "web", *args],
        cwd=place,
        env=environment(**env),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = ""
        assert process.stderr is not None
        while not LINK.search(said):
            line = process.stderr.readline()
            assert line, said
            said += line
        yield Served(process, LINK.findall(said)[-1], said)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - began < 8
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def test_a_newcomer_starts_a_run_with_the_link_and_sees_it_run(place: Path):
    with serving(place, "shop.py", "--port", "0") as page:
        assert re.search(r"/\?token=[\w-]{20,}$", page.link)
        with httpx.Client(base_url=page.link.partition("?")[0]) as browser:
            opened = browser.get(page.link)
            assert opened.status_code == 303
            made = browser.post(
                "/api/runs",
                json={"workflow_id": "doubling", "input": 21},
                headers={"X-Gorkflow": "1"},
            )
            run_id = made.json()["run_id"]
            with browser.stream("GET", f"/api/runs/{run_id}/events") as stream:
                assert "event: end" in "".join(stream.iter_text())
            assert browser.get(f"/api/runs/{run_id}").json()["output"] == 42


def test_it_stops_though_streams_are_open_and_a_step_runs(place: Path):
    with (
        serving(place, "shop.py", "--port", "0", "--grace", "0", GORKFLOW_TOKEN=TOKEN) as page,
        httpx.Client(base_url=page.link, headers={"Authorization": f"Bearer {TOKEN}"}) as browser,
    ):
        assert "token" not in page.link
        made = browser.post(
            "/api/runs",
            json={"workflow_id": "holding", "input": 1},
            headers={"X-Gorkflow": "1"},
        )
        with browser.stream("GET", f"/api/runs/{made.json()['run_id']}/events") as stream:
            texts = stream.iter_text()
            assert any("run_created" in text for text in texts)
            page.process.send_signal(signal.SIGINT)
            assert "event: end" not in "".join(texts)  # the stream ends, and the run does not


def test_without_target_it_looks_and_makes_no_store(place: Path):
    missing = gorkflow_in(place, "web")
    assert (missing.returncode, "there is no store" in missing.stderr) == (3, True)
    empty = gorkflow_in(place, "web", "--store", "memory:")
    assert (empty.returncode, "nothing to show" in empty.stderr) == (2, True)
    gorkflow_in(place, "run", "shop.py:doubling", "--input", "21")
    with serving(place, "--port", "0") as page:
        host, port = page.address
        runs = httpx.get(f"http://{host}:{port}/api/runs").json()["runs"]
        assert [run["status"] for run in runs] == ["completed"]


def test_read_only_needs_no_token_and_changes_nothing(place: Path):
    with serving(place, "shop.py", "--port", "0", "--read-only") as page:
        assert "token" not in page.link
        found = httpx.post(f"{page.link}api/runs", headers={"X-Gorkflow": "1"})
        assert (found.status_code, "read-only" in found.text) == (403, True)


def test_a_taken_port(place: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        found = gorkflow_in(place, "web", "shop.py", "--port", port)
        assert (found.returncode, f"port {port}" in found.stderr) == (5, True)


def test_the_next_free_port_is_taken_and_said(place: Path):
    with serving(place, "shop.py") as first, serving(place, "shop.py") as second:
        assert first.address[1] != second.address[1]
        assert f"this is port {second.address[1]}" in second.said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_need_a_token(place: Path, host: str):
    found = gorkflow_in(place, "web", "shop.py", "--host", host)
    assert (found.returncode, "set GORKFLOW_TOKEN" in found.stderr) == (2, True)


def test_a_bad_token_or_name_is_explained(place: Path):
    found = gorkflow_in(place, "web", "shop.py", GORKFLOW_TOKEN="short")
    assert (found.returncode, "16 or more" in found.stderr) == (2, True)
    named = gorkflow_in(place, "web", "shop.py", "--allow-host", "a b", GORKFLOW_TOKEN=TOKEN)
    assert (named.returncode, "not the name" in named.stderr) == (2, True)


def test_everywhere_answers_under_known_names_with_the_token(place: Path):
    args = ("shop.py", "--host", "0.0.0.0", "--port", "0", "--allow-host", "runs.example.com")
    with serving(place, *args, GORKFLOW_TOKEN=TOKEN) as page:
        api = f"http://127.0.0.1:{page.address[1]}/api/runs"
        token = {"Authorization": f"Bearer {TOKEN}"}
        named = {"Host": "runs.example.com"}
        for asked in ({}, named, {"Host": f"127.0.0.1:{page.address[1]}"}):  # a proxy may ask
            assert httpx.get(api, headers=asked).status_code == 401
        assert httpx.get(api, headers={**named, **token}).status_code == 200
        assert httpx.get(api, headers={"Host": "evil.example", **token}).status_code == 421


def test_without_the_extra_it_says_how_to_get_it(place: Path):
    code = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "starlette":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import gorkflow.cli
gorkflow.cli.main()
"""
    found = subprocess.run(
        [sys.executable, "-c", code, "web", "shop.py"],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (found.returncode, "pip install '.[web]'" in found.stderr) == (2, True)


# ---- slow clients -------------------------------------------------------------------------------

IMPATIENT = """
import sys
from gorkflow.web import _gate, _server
_gate._BODY_TIME = _server._HEAD_TIME = 0.3
import gorkflow.cli
sys.argv[0] = "gorkflow"
gorkflow.cli.main()
"""


@pytest.fixture
def impatient(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr("tests.web.test_serving.COMMAND", [sys.executable, "-c", IMPATIENT])
    with serving(place, "shop.py", "--port", "0", GORKFLOW_TOKEN=TOKEN) as page:
        yield page


BEGUN = f"POST /api/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("", b""),
        ("GET / HT", b""),
        (BEGUN, b""),
        (f"{BEGUN}X-Gorkflow: 1\r\nContent-Length: 9\r\n\r\n{{", b"HTTP/1.1 408"),
        ("GET /api/workers HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /api", b"HTTP/1.1 200"),
        (f"{BEGUN}X-Gorkflow: 1\r\nContent-Length: 99999999\r\n\r\n", b"HTTP/1.1 413"),
        ("no http at all\r\n\r\n", b"HTTP/1.1 400"),
    ],
)
def test_slow_and_broken_clients_are_left(impatient: Served, sent: str, answer: bytes):
    with socket.create_connection(impatient.address, timeout=10) as connection:
        connection.sendall(sent.encode())
        received = b""
        while part := connection.recv(65536):  # until it is closed
            received += part
        assert received.startswith(answer)
        assert answer or not received
