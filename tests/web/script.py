"""What the script of the page sends for forms, in a real Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

import gorkflow.web
from gorkflow.web._forms import Field
from gorkflow.web._render import make_environment

_SCRIPT = Path(gorkflow.web.__file__).parent / "static" / "page.js"
_FORM = "{% from 'parts.html' import form %}{{ form(fields, '/', '', 'Send', prefix) }}"


class _Sent(msgspec.Struct):
    input: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


def sent_by_a_browser(forms: Sequence[tuple[Field, ...]], before: str = "") -> list[bytes]:
    """Return the input that each form sends, as JSON, or why it is not valid.

    Args:
        forms: the fields of each.
        before: what a visitor does before, in JavaScript.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium here; install it: apt-get install chromium")
    template = make_environment().from_string(_FORM)
    drawn = [template.render(fields=each, prefix=f"f{at}") for at, each in enumerate(forms)]
    with ThreadPoolExecutor(1) as thread:  # the browser of other tests may hold this one
        sent = thread.submit(_sent, chromium, f"<main data-live=''>{''.join(drawn)}</main>", before)
    return [
        bytes(msgspec.json.decode(each, type=_Sent).input) if each[0] == "{" else each.encode()
        for each in sent.result()
    ]


def _sent(chromium: str, html: str, before: str) -> list[str]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content(html)
        page.add_script_tag(content=_SCRIPT.read_text())
        found: list[str] = page.evaluate(
            f"{{{before}}} [...document.forms].map((form) => form.checkValidity() ? "
            "write(read(form)) : 'not valid: ' + [...form.querySelectorAll(':invalid')]"
            ".map((each) => each.id))"
        )
        browser.close()
    return found
