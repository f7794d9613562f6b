"""A Chromium that watches itself: no request to another host, no error, no breach of the policy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.browser.site import Site, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

CHROMIUM = os.environ.get("GORKFLOW_CHROMIUM") or shutil.which("chromium")
PATIENCE = 20_000  # milliseconds: the machine may be busy


# Of a module, not of the session: while it is open, its event loop runs in this thread, and tests
# of other modules could not run theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium; install it, or set GORKFLOW_CHROMIUM to its path")
    flags = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@dataclass
class Seen:
    """The things that a page must not do."""

    foreign: list[str] = field(default_factory=list)
    """Requests to other hosts."""
    errors: list[str] = field(default_factory=list)
    """Of the console and of scripts; breaches of the policy are among them."""
    dialogs: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    """Parts of errors that a test provokes."""

    def check(self) -> None:
        assert not self.foreign
        assert not self.dialogs
        left = [
            each for each in self.errors if not any(allowed in each for allowed in self.allowed)
        ]
        assert not left


class Visitor:
    """A page in a browser, at a site."""

    def __init__(self, page: Page, site: Site, seen: Seen) -> None:
        self.page = page
        self.site = site
        self.seen = seen

    def go(self, path: str) -> None:
        """Go to a page of the site."""
        answer = self.page.goto(self.site.url + path)
        assert answer is not None
        assert answer.status == 200, (path, answer.status)


def visitor(browser: Browser, site: Site, **options: Any) -> Iterator[Visitor]:
    """Yield a browser at a site, with the right to change things; afterwards check what it saw."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(PATIENCE)
    context.set_default_navigation_timeout(PATIENCE)
    page, seen = context.new_page(), Seen()
    host = urlsplit(site.url).netloc

    def on_request(request: Request) -> None:
        if urlsplit(request.url).netloc != host and not request.url.startswith("data:"):
            seen.foreign.append(request.url)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            seen.errors.append(message.text)

    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(site.link)
    yield Visitor(page, site, seen)
    context.close()
    seen.check()


@pytest.fixture
def flows() -> tuple[Any, ...]:
    """The workflows of the site; a test module has its own."""
    from tests.browser.flows import WORKFLOWS

    return WORKFLOWS


@pytest.fixture
def site(tmp_path, flows) -> Iterator[Site]:
    with serving(f"sqlite:{tmp_path}/runs.db", flows) as found:
        yield found


@pytest.fixture
def visit(browser, site) -> Iterator[Visitor]:
    yield from visitor(browser, site)


@pytest.fixture(autouse=True)
def _closed_gates() -> None:
    from tests.browser.flows import gates

    gates.clear()
