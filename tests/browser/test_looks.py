"""Every page for everybody: light and dark, wide and narrow, by axe-core's rules."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

import gorkflow.web
from gorkflow.demo.flows import WORKFLOWS
from gorkflow.demo.history import make_history
from gorkflow.listing import RunFilter
from tests.browser import axe
from tests.browser.conftest import visitor
from tests.browser.site import serving

FULL = os.environ.get("GORKFLOW_TEST_SIZE") == "full"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    url = f"sqlite:{tmp_path_factory.mktemp('demo')}/demo.db"
    make_history(url, now=time.time(), runs=120)  # the engine here goes on from there
    with serving(url, WORKFLOWS) as site:
        yield site


@pytest.fixture(scope="module")
def latest(demo):
    """The latest runs by workflow and status."""

    async def find(engine):
        return await engine.list_runs(RunFilter(limit=500))

    found = {}
    for run in demo.do(find):
        found.setdefault((run.workflow_id, run.status.value), run.run_id)
    return found


@pytest.fixture
def visit(browser, demo):
    yield from visitor(browser, demo)


PAGES = {
    "runs": "/",
    "failed runs": "/?status=failed",
    "no run": "/?q=nothing-of-this-name",
    "completed": "/runs/{checkout completed}",
    "failed, with a step": "/runs/{checkout failed}?step=carriers",
    "steps": "/runs/{thumbnails completed}?tab=steps",
    "flow": "/runs/{research completed}?tab=flow",
    "events": "/runs/{import completed}?tab=events",
    "explain": "/runs/{checkout completed}?tab=explain",
    "data": "/runs/{research completed}?tab=data",
    "rerun": "/runs/{checkout completed}/rerun",
    "waits": "/runs/{checkout suspended}",
    "workflows": "/workflows",
    "workflow": "/workflows/checkout",
    "form": "/workflows/checkout/start",
    "schedules": "/schedules",
    "limits": "/limits",
    "workers": "/workers",
}


def address(page, latest):
    for (workflow, status), run_id in latest.items():
        page = page.replace(f"{{{workflow} {status}}}", run_id)
    assert "{" not in page
    return page


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_nothing_serious(visit, latest, page):
    visit.go(address(page, latest))
    axe.check(visit.page)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_phone_shows_it_without_scrolling_sideways(visit, latest, page):
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.go(address(page, latest))
    width = visit.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    if FULL:
        assert axe.violations(visit.page) == []


def test_the_pages_need_nothing_of_others():
    """What is served has no address of another host in it."""
    for file in Path(gorkflow.web.__file__).parent.rglob("*"):
        if file.suffix in {".html", ".css", ".js", ".svg"}:
            found = set(re.findall(r"https?://[^\s\"'<>)]+", file.read_text()))
            assert found <= {"http://www.w3.org/2000/svg"}, file


def test_without_motion_nothing_moves(visit, latest):
    visit.page.emulate_media(reduced_motion="reduce")
    visit.go(address(PAGES["waits"], latest))
    moving = visit.page.evaluate(
        "document.getAnimations().filter(a => a.playState === 'running').length"
    )
    assert moving == 0
