"""Pictures of all pages: light, dark and as wide as a phone, of a store that the demo makes.

python scripts/screenshots.py     writes docs/images/page-*.png; takes about two minutes

The store's history ends while runs are at work, and there the clock stands still. So a picture
changes only if its page does. It needs Debian's chromium, or another one on the PATH.
"""

from __future__ import annotations

import asyncio
import io
import logging
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from PIL import Image, ImageChops
from playwright.async_api import async_playwright

from gorkflow import Client, RunFilter
from gorkflow.clock import SystemClock
from gorkflow.demo.flows import WORKFLOWS
from gorkflow.demo.history import make_history
from gorkflow.store import Worker
from gorkflow.web import app

if TYPE_CHECKING:
    from playwright.async_api import Browser

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "images"
NOW = 1_796_115_600.0  # 1 December 2026, 09:00 UTC
WORKERS = (
    Worker("shop-1-4121-9c0e", NOW - 259_200, NOW - 1, 1e9, "shop-1", 4121),
    Worker("shop-2-873-1b7d", NOW - 7_260, NOW - 2, 1e9, "shop-2", 873),
)
_HIDE_FOLDER = """folder => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        texts.currentNode.data = texts.currentNode.data.replaceAll(folder, "shop");
    }
}"""
"""A traceback names the folder of this clone, which no picture should."""
_TOKEN = "only-for-the-pictures"
_LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 820}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 820}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
_SEEN, _FEW = 40, 30
"""A picture is new if so many pixels have changed by more than so many of 256 shades."""
_COLOURS = 200
"""Colours of a picture: the pages have few, and the letters need some shades."""


class Standing(SystemClock):
    """A clock that stands still."""

    def now(self) -> float:
        """Return the end of the history."""
        return NOW

    def monotonic(self) -> float:
        """Return the same."""
        return NOW


async def main() -> None:
    """Make the store, serve it, and take the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no chromium; install it: apt-get install chromium")
    FOLDER.mkdir(exist_ok=True)
    logging.getLogger("gorkflow").addHandler(logging.NullHandler())  # runs fail on purpose
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:{folder}/demo.db"
        await asyncio.to_thread(make_history, url, now=NOW, quiet=0)
        async with (
            Client(url, workflows=WORKFLOWS, clock=Standing()) as client,
            async_playwright() as playwright,
        ):
            for worker in WORKERS:
                await client.store.register(worker)
            with socket.create_server(("127.0.0.1", 0)) as listening:
                config = uvicorn.Config(app(client, token=_TOKEN), log_level="warning")
                server = uvicorn.Server(config)
                serving = asyncio.create_task(server.serve(sockets=[listening]))
                browser = await playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                site = f"http://127.0.0.1:{listening.getsockname()[1]}"
                await _take_all(browser, client, site)
                await browser.close()
                server.should_exit = True
                await serving


async def _take_all(browser: Browser, client: Client, site: str) -> None:
    running = await _latest(client, "import", "running")
    failed = await _latest(client, "checkout", "failed")
    waits = await _latest(client, "checkout", "suspended")
    done = await _latest(client, "checkout", "completed")
    pages = {
        "run": f"/runs/{running}?step=load%5B0%5D",
        "runs": "/",
        "failed": f"/runs/{failed}?step=shipping%2Fpack",
        "waits": f"/runs/{waits}",
        "explain": f"/runs/{done}?tab=explain&scale_step=carriers&scale_factor=0.5",
        "flow": f"/runs/{done}?tab=flow",
        "workflow": "/workflows/checkout",
        "workflows": "/workflows",
        "start": "/workflows/checkout/start",
        "schedules": "/schedules",
        "limits": "/limits",
        "workers": "/workers",
    }
    for look, options in _LOOKS.items():
        context = await browser.new_context(**options, timezone_id="UTC", locale="en-GB")
        page = await context.new_page()
        await page.goto(f"{site}/?token={_TOKEN}")
        for name, path in pages.items():
            await page.goto(site + path)
            await page.evaluate(_HIDE_FOLDER, str(ROOT))
            _keep(FOLDER / f"page-{name}-{look}.png", await page.screenshot(animations="disabled"))
        await context.close()


async def _latest(client: Client, workflow_id: str, status: str) -> str:
    """Return the id of the newest run of a workflow with this status."""
    [run] = await client.list_runs(RunFilter(workflow_id=workflow_id, status=status, limit=1))
    return run.run_id


def _keep(path: Path, taken: bytes) -> None:
    """Write a picture, unless the one that is there shows the same.

    Letters are drawn a little differently now and then.
    """
    with Image.open(io.BytesIO(taken)) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    if path.exists():
        with Image.open(path) as old:
            change = ImageChops.difference(old.convert("RGB"), few.convert("RGB")).convert("L")
            if old.size == few.size and sum(change.histogram()[_SEEN:]) < _FEW:
                return
    few.save(path, optimize=True)


if __name__ == "__main__":
    asyncio.run(main())
