"""Pictures of all pages: light, dark and as wide as a phone, of a store that the demo makes.

python scripts/screenshots.py     writes docs/images/page-*.png; takes about two minutes

One import really runs while its page is taken. It needs Debian's chromium, or another one on the
PATH.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from PIL import Image
from playwright.async_api import async_playwright

from gorkflow import Engine, RunFilter
from gorkflow.demo.flows import WORKFLOWS, Delivery
from gorkflow.demo.history import make_history
from gorkflow.web import app

if TYPE_CHECKING:
    from playwright.async_api import Browser

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "images"
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
_COLOURS = 96
"""Colours of a picture: the pages have few, and the letters need some shades."""


async def main() -> None:
    """Make the store, serve it, and take the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no chromium; install it: apt-get install chromium")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:{folder}/demo.db"
        await asyncio.to_thread(make_history, url, now=time.time())
        async with Engine(url, workflows=WORKFLOWS) as engine, async_playwright() as playwright:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                config = uvicorn.Config(app(engine, token=_TOKEN), log_level="warning")
                server = uvicorn.Server(config)
                serving = asyncio.create_task(server.serve(sockets=[listening]))
                browser = await playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                site = f"http://127.0.0.1:{listening.getsockname()[1]}"
                await _take_all(browser, engine, site)
                await browser.close()
                server.should_exit = True
                await serving


async def _take_all(browser: Browser, engine: Engine, site: str) -> None:
    failed = await _latest(engine, "checkout", "failed")
    waits = await _latest(engine, "checkout", "suspended")
    done = await _latest(engine, "checkout", "completed")
    pages = {
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
    handle = await engine.start(_workflow("import"), Delivery(supplier="acme", rows=5000))
    await _until_loading(engine, handle.run_id)
    for look, options in _LOOKS.items():
        context = await browser.new_context(**options)
        page = await context.new_page()
        await page.goto(f"{site}/?token={_TOKEN}")
        live = {"run": f"/runs/{handle.run_id}?step=extract"} if look != "phone" else {}
        for name, path in {**live, **pages}.items():
            await page.goto(site + path)
            await page.evaluate(_HIDE_FOLDER, str(ROOT))
            target = FOLDER / f"page-{name}-{look}.png"
            await page.screenshot(path=target)
            _make_small(target)
        await context.close()


async def _latest(engine: Engine, workflow_id: str, status: str) -> str:
    """Return the id of the newest run of a workflow with this status."""
    [run] = await engine.list_runs(RunFilter(workflow_id=workflow_id, status=status, limit=1))
    return run.run_id


def _workflow(workflow_id: str) -> Any:
    return next(each for each in WORKFLOWS if each.id == workflow_id)


async def _until_loading(engine: Engine, run_id: str) -> None:
    """Wait until some chunks are loaded, and others are on their way."""
    loaded = 0
    async for event in engine.events(run_id):
        loaded += event.kind == "step_completed" and event.path.startswith("load[")
        if loaded == 2:
            return


def _make_small(path: Path) -> None:
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    asyncio.run(main())
