"""A hundred texts of users, in every place where a page shows one, stay text."""

from __future__ import annotations

import itertools
import json
import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from gorkflow import Signal, StepContext, Workflow, step
from tests.browser.payloads import PAYLOADS

said = Signal("said", str)


@step(name=PAYLOADS[0])
async def tell(ctx: StepContext, text: str) -> str:
    ctx.logger.info("%s", text)
    ctx.state["text"] = text
    return text


@step
async def fail(ctx: StepContext, text: str) -> str:
    raise ValueError(text)


@step
async def report(ctx: StepContext, text: str) -> str:
    ctx.progress(1, 2, text)
    import asyncio

    await asyncio.sleep(3600)
    return text


echo = Workflow("echo", input=str, name=PAYLOADS[1], description=PAYLOADS[2]).then(tell)
mapped = Workflow("mapped", input=list[str]).map(tell, key=lambda text: text)
failing = Workflow("failing", input=list[str]).map(fail, join="settled")
broken = Workflow("broken", input=str).then(fail)
hanging = Workflow("hanging", input=str).then(report)
asking = Workflow("asking", input=str).then(tell).wait_for(said)


@pytest.fixture
def flows():
    return (echo, mapped, failing, broken, hanging, asking)


def start(site, workflow, given, run_id, **options):
    async def begin(engine):
        handle = await engine.start(workflow, given, run_id=run_id, **options)
        if workflow not in (hanging, asking):
            await handle.outcome()

    site.do(begin)


def pages_of(run_id, step):
    run = f"/runs/{run_id}"
    return [
        run,
        *(f"{run}?tab={tab}" for tab in ("flow", "steps", "events", "explain", "data")),
        f"{run}?step={quote(step)}",
        f"{run}/rerun?step={quote(step)}",
    ]


def check(visit):
    page = visit.page
    assert page.evaluate("window.owned") is None
    assert page.url.startswith(visit.site.url)
    # Elements that no template of ours has.
    assert (
        page.locator("iframe, object, embed, video, audio, marquee, math, b > script").count() == 0
    )
    assert page.locator("script:not([src])").count() == 0
    assert page.locator("meta[http-equiv], base").count() == 0
    handlers = page.evaluate(
        "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes])"
        ".filter(a => /^on|^srcdoc$|^style$/.test(a.name) || /href|src|action|^data$/.test(a.name)"
        " && /^\\s*(javascript|data|vbscript):/i.test(a.value) && a.value !== 'data:,')"
        ".map(a => a.name + '=' + a.value)"
    )
    assert handlers == []


def test_all_payloads_at_once(visit):
    """Inputs, outputs, keys of a map, logs, errors and state: all of them on each page."""
    start(visit.site, mapped, list(PAYLOADS), "keys")
    start(visit.site, failing, list(PAYLOADS), "errors")
    for run_id, step_path in (("keys", "tell[0]"), ("errors", "fail[3]")):
        for address in pages_of(run_id, step_path):
            visit.go(address)
            check(visit)
    visit.go("/runs/keys?tab=data")
    shown = visit.page.locator("main").inner_text()
    as_json = [json.dumps(text, ensure_ascii=False) for text in PAYLOADS if text.isprintable()]
    assert len(as_json) > 90
    assert not [text for text in as_json if text[:40] not in shown]  # there, as they were written


@pytest.mark.full
@pytest.mark.parametrize("part", range(3))
def test_each_payload_in_its_own_run(visit, part):
    """Tags, resources and messages, in lists and on pages; and whatever an address may say."""
    for number, text in enumerate(PAYLOADS[part::3]):
        options = {"resource_id": text, "tags": {"text": text}}
        start(visit.site, broken, text, f"broken-{number}", **options)
        start(visit.site, echo, text, f"echo-{number}", **options)
    for address in ("/", "/?status=failed", "/workflows", "/workflows/echo", "/workflows/broken"):
        visit.go(address)
        check(visit)
    visit.seen.allowed.append("400")  # a filter that can't be one
    asked = itertools.cycle(("q", "tag", "resource", "workflow", "waiting_for", "cursor", "status"))
    for number, text in enumerate(PAYLOADS[part::3]):
        run = ("broken", "fail") if number % 2 else ("echo", "tell")
        visit.go(f"/runs/{run[0]}-{number}?step={run[1]}")
        check(visit)
        if number % 3 == 0:
            answer = visit.page.goto(f"{visit.site.url}/?{next(asked)}={quote(text)}")
            assert answer is not None
            assert answer.status < 500
            check(visit)


def test_what_happens_live(visit):
    """Progress, and what a running page fetches, is text as well."""
    start(visit.site, hanging, PAYLOADS[12], "live")
    visit.go("/runs/live?step=report")
    expect(visit.page.locator("main")).to_contain_text(PAYLOADS[12])
    check(visit)
    start(visit.site, asking, PAYLOADS[13], "ask")
    visit.go("/runs/ask")
    form = visit.page.get_by_role("region", name="Signal said")
    form.locator("input, textarea").first.fill(PAYLOADS[14])
    form.get_by_role("button", name="Send said").click()
    expect(visit.page.locator(".pill").first).to_have_text("completed")
    visit.go("/runs/ask?tab=data")
    expect(visit.page.locator("main")).to_contain_text(PAYLOADS[14])
    check(visit)


def test_a_reason_of_a_cancel(visit):
    start(visit.site, asking, "x", "gone")

    async def cancel(engine):
        await engine.cancel("gone", reason=PAYLOADS[15])
        await engine.handle("gone").outcome()

    visit.site.do(cancel)
    for address in ("/", "/runs/gone", "/runs/gone?tab=events"):
        visit.go(address)
        check(visit)
    expect(visit.page.locator("main")).to_contain_text(re.compile(".+"))


def test_odd_addresses(visit):
    """Nothing that is typed after the host is more than text."""
    visit.seen.allowed += ["404", "400"]
    for text in PAYLOADS[:8]:
        for prefix in ("/runs/", "/workflows/", "/"):
            answer = visit.page.goto(visit.site.url + prefix + quote(text, safe=""))
            assert answer is not None
            assert 400 <= answer.status < 500
            check(visit)
