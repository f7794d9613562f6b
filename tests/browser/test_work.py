"""The work that people do on the page, in a real Chromium."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from gorkflow.model import RunStatus
from tests.browser.flows import Order, approved, gates, review, shipping, watched
from tests.browser.site import TOKEN

expect.set_options(timeout=20_000)


def started(site, workflow, order, run_id):
    async def start(engine):
        return await engine.start(workflow, order, run_id=run_id)

    return site.do(start)


def ended(site, run_id):
    """Wait for the end of a run, and return the run."""

    async def wait(engine):
        await engine.handle(run_id).outcome()
        return await engine.get_run(run_id)

    return site.do(wait)


def test_start_a_run_from_its_form(visit):
    page = visit.page
    page.get_by_role("link", name="Workflows").click()
    page.get_by_role("link", name=re.compile("shipping")).first.click()
    page.get_by_role("link", name="Start a run…").click()
    page.get_by_label("id", exact=True).fill("7")
    page.get_by_label("country").select_option("DE")
    page.get_by_text("Options").click()
    page.get_by_label("Run id").fill("r7")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/runs/r7")
    expect(page.get_by_role("heading", level=1)).to_have_text("shipping")
    expect(page.locator(".pill").first).to_have_text("completed")
    run = ended(visit.site, "r7")
    assert run.input == Order(7, "DE")
    assert run.output == "7: DE"


def test_a_form_says_what_is_wrong_at_the_field(visit):
    page = visit.page
    visit.seen.allowed.append("422")  # the browser notes the answer
    visit.seen.allowed.append("400")
    visit.go("/workflows/shipping/start")
    page.get_by_label("id", exact=True).fill("seven")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".problem:not(:empty)").first).to_be_visible()
    assert page.url.endswith("/start")
    assert page.get_by_label("id", exact=True).input_value() == "seven"  # nothing is lost


def test_watch_a_slow_branch_live(visit):
    started(visit.site, watched, Order(1), "r1")
    visit.go("/runs/r1?step=slow")
    page = visit.page
    step = page.get_by_role("complementary", name="Step slow")
    expect(page.locator(".pill").first).to_have_text("running")
    expect(step).to_contain_text("running")
    page.evaluate("window.loaded = 'once'")
    for done in (1, 2, 3):
        expect(step).to_contain_text(f"carrier {done}")
        visit.site.do(lambda _, at=done: gates.open(f"r1 {at}"))
    expect(step).to_contain_text("completed")
    expect(page.locator(".pill").first).to_have_text("completed")
    assert page.evaluate("window.loaded") == "once"  # nobody had to reload it


def test_the_list_follows_what_happens(visit):
    visit.go("/")
    page = visit.page
    expect(page.get_by_text("There are no runs yet")).to_be_visible()
    started(visit.site, watched, Order(1), "r1")
    row = page.get_by_role("row", name=re.compile("r1"))
    expect(row).to_contain_text("running")
    for done in (1, 2, 3):
        visit.site.do(lambda _, at=done: gates.open(f"r1 {at}"))
    expect(row).to_contain_text("completed")


def test_the_traceback_and_the_log_of_a_failed_branch(visit):
    started(visit.site, shipping, Order(2, "AQ"), "r2")
    ended(visit.site, "r2")
    visit.go("/")
    page = visit.page
    row = page.get_by_role("row", name=re.compile("r2"))
    expect(row).to_contain_text("no carrier goes to AQ")  # where people look first
    row.get_by_role("link").first.click()
    page.get_by_role("link", name=re.compile("carriers")).first.click()
    step = page.get_by_role("complementary", name="Step carriers")
    expect(step).to_contain_text("LookupError: no carrier goes to AQ")
    expect(step).to_contain_text("tests/browser/flows.py")
    expect(step).to_contain_text("raise LookupError(")
    assert "gorkflow/engine" not in step.inner_text()
    expect(step).to_contain_text("asking the carriers of AQ")


def test_answer_a_signal(visit):
    started(visit.site, review, Order(3), "r3")
    visit.go("/runs/r3")
    page = visit.page
    form = page.get_by_role("region", name="Signal approved")
    form.get_by_label("by").fill("Ann")
    form.get_by_role("button", name="Send approved").click()
    expect(page.locator(".pill").first).to_have_text("completed")
    expect(form).to_have_count(0)
    assert ended(visit.site, "r3").output == "3 approved by Ann: True"


def test_cancel(visit):
    started(visit.site, review, Order(4), "r4")
    visit.go("/runs/r4")
    visit.page.get_by_role("button", name="Cancel").click()
    expect(visit.page.locator(".pill").first).to_have_text("cancelled")
    assert ended(visit.site, "r4").status is RunStatus.CANCELLED


def test_rerun_from_a_step(visit):
    started(visit.site, shipping, Order(5), "r5")
    ended(visit.site, "r5")
    visit.go("/runs/r5?step=join")
    page = visit.page
    page.get_by_role("button", name="Rerun from here").click()
    page.wait_for_url(re.compile(r"/runs/(?!r5)[^?]+"))
    run_id = page.url.rpartition("/")[2]
    run = ended(visit.site, run_id)
    assert (run.origin, run.from_step, run.output) == ("r5", "join", "5: CH")


def test_rerun_with_another_input(visit):
    started(visit.site, shipping, Order(6, "AQ"), "r6")
    ended(visit.site, "r6")
    visit.go("/runs/r6")
    page = visit.page
    page.get_by_text("Rerun…").click()
    page.get_by_label("country").select_option("CH")
    page.get_by_role("button", name="Run anew").click()
    page.wait_for_url(re.compile(r"/runs/(?!r6)[^?]+"))
    run = ended(visit.site, page.url.rpartition("/")[2])
    assert run.input == Order(6, "CH")
    assert run.status is RunStatus.COMPLETED


def test_answers_survive_what_happens_meanwhile(visit):
    """What somebody types is not lost when the page gets news."""
    started(visit.site, review, Order(7), "r7")
    visit.go("/runs/r7")
    field = visit.page.get_by_role("region", name="Signal approved").get_by_label("by")
    field.fill("An")

    async def send_other(engine):
        await engine.start(review, Order(8), run_id="r8")
        await engine.send("r8", approved, {"by": "Bo"})

    visit.site.do(send_other)
    visit.page.wait_for_timeout(2_500)  # longer than the page waits before it asks anew
    assert field.input_value() == "An"


@pytest.mark.parametrize("step", ["quick", "carriers"])
def test_all_of_it_by_keyboard(visit, step):
    started(visit.site, shipping, Order(9), "r9")
    ended(visit.site, "r9")
    visit.go("/")
    page = visit.page
    tab_to(page, lambda: "/runs/r9" in (focused(page, "href") or ""))
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/r9")
    tab_to(page, lambda: f"step={step}" in (focused(page, "href") or ""))
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name=f"Step {step}")).to_be_visible()


def focused(page, attribute):
    return page.evaluate("name => document.activeElement?.getAttribute(name)", attribute)


def tab_to(page, is_there):
    for _ in range(60):
        page.keyboard.press("Tab")
        if is_there():
            return
    raise AssertionError("no such link on the way")


def test_the_page_comes_back_where_its_stream_was_rejected(visit):
    """A browser never asks again for a stream that was answered with an error."""
    page = visit.page
    visit.seen.allowed.append("503")
    asked = []

    def answer(route):
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=503, body="busy")
        else:
            route.continue_()

    page.route("**/api/events*", answer)
    visit.go("/")
    if len(asked) < 2:
        page.wait_for_event("request", lambda request: "/api/events" in request.url)
    started(visit.site, shipping, Order(10), "r10")
    expect(page.get_by_role("row", name=re.compile("r10"))).to_contain_text("completed")


def test_a_start_that_may_be_done_already_is_sent_again_as_the_same_run(visit):
    page = visit.page
    visit.seen.allowed.append("503")
    repeat = {"run_id": "r11", "if_exists": "return"}
    bodies = []

    def answer(route):
        bodies.append(route.request.post_data_json)
        if len(bodies) == 1:
            answered = {"status": 503, "error": "come again", "problems": [], "repeat": repeat}
            route.fulfill(status=503, json=answered)
        else:
            route.continue_()

    page.route("**/api/runs", answer)
    visit.go("/workflows/shipping/start")
    page.get_by_label("id", exact=True).fill("11")
    page.get_by_label("country").select_option("DE")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("come again")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/runs/r11")
    assert bodies[1] == {**bodies[0], **repeat}


def test_log_out_and_in_again(visit):
    page = visit.page
    expect(page.get_by_text("read only")).to_have_count(0)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("read only")).to_be_visible()
    assert page.get_by_role("button", name="Log out").count() == 0
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    expect(page.get_by_text("read only")).to_have_count(0)
