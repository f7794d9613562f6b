"""The pages: each shows what it should, and a text of users stays text."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from gorkflow import (
    Client,
    Engine,
    Limit,
    RunFailedError,
    RunFilter,
    Signal,
    StepContext,
    Workflow,
    step,
)
from gorkflow.model import instant
from gorkflow.stores.memory import MemoryStore
from gorkflow.web import _view, app
from gorkflow.web._access import rules
from gorkflow.web._render import ago
from gorkflow.web.site import Site

from .tools import (
    CHANGES,
    LOCAL,
    TOKEN,
    Place,
    approved,
    client,
    double,
    doubling,
    failing,
    review,
    site,
)

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'\x1b[31m\u202e{{7*7}}"


class Page(HTMLParser):
    """The tags and words of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def links(self) -> list[str]:
        return [each["href"] or "" for tag, each in self.tags if tag == "a" and "href" in each]


async def page(place: Place, address: str, *, status: int = 200) -> Page:
    answer = await place.local.get(address, headers={"accept": "text/html"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return Page(answer.text)


def run(test: Callable[[Place], Awaitable[None]]) -> None:
    async def main() -> None:
        async with site() as place:
            await test(place)

    asyncio.run(main())


async def some_runs(engine: Engine) -> dict[str, str]:
    done = await engine.start(doubling, 21, run_id="done-1", resource_id="r/1", tags={"a": "b"})
    await done.result()
    bad = await engine.start(failing, 4, run_id="bad-1")
    with pytest.raises(RunFailedError):
        await bad.result()
    waits = await engine.start(review, 5, run_id="waits-1")
    async for event in engine.events(waits.run_id):
        if event.kind == "wait_opened":
            break
    return {"done": done.run_id, "bad": bad.run_id, "waits": waits.run_id}


def test_the_list_shows_each_run_and_what_matters_of_it() -> None:
    async def test(place: Place) -> None:
        await some_runs(place.engine)
        words = (await page(place, "/")).words
        assert "doubling done-1" in words
        assert "fail: ValueError: 4" in words
        assert "waits for signal approved" in words
        assert "doubling" not in (await page(place, "/?status=failed")).words
        assert "done-1" in (await page(place, "/?q=a=b")).words
        assert "bad-1" not in (await page(place, "/?q=a=b")).words
        assert "done-1" in (await page(place, "/?q=r/1")).words
        assert "done-1" in (await page(place, "/?q=don")).words
        assert "waits-1" in (await page(place, "/?waiting_for=approved")).words
        assert "done-1" not in (await page(place, "/?waiting_for=approved")).words
        assert "No run matches" in (await page(place, "/?q=nothing-like-it")).words

    run(test)


def test_a_list_is_read_page_by_page() -> None:
    async def test(place: Place) -> None:
        for number in range(120):
            await place.engine.start(doubling, number, run_id=f"run-{number:03}")
        seen: list[str] = []
        address: str | None = "/"
        while address is not None:
            found = await page(place, address)
            seen += re.findall(r"run-\d{3}", found.words)
            address = next((link for link in found.links() if "cursor=" in link), None)
        assert sorted(seen) == [f"run-{number:03}" for number in range(120)]

    run(test)


@pytest.mark.parametrize("asked", ["needle", "box"])
def test_a_search_that_stopped_early_goes_on(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr(MemoryStore, "_most_read", 20)

    async def test(place: Place) -> None:
        await place.engine.start(doubling, 1, run_id="needle")
        for number in range(60):
            await place.engine.start(doubling, 1, run_id=f"box-of-{number:02}", resource_id="box")
        for number in range(60):
            await place.engine.start(doubling, 1, run_id=f"run-{number:02}", resource_id="other")
        wanted = ["needle"] if asked == "needle" else [f"box-of-{at:02}" for at in range(60)]
        seen: list[str] = []
        address: str | None = f"/?q={asked}"
        while address is not None:
            found = await page(place, address)
            seen += re.findall(r"needle|box-of-\d\d|run-\d\d", found.words)
            address = next((link for link in found.links() if "cursor=" in link), None)
            if address is not None and not seen:
                assert "Searched back to" in found.words
        assert sorted({each for each in seen if each in wanted}) == wanted
        assert not [each for each in seen if each.startswith("run")]

    run(test)


def test_a_search_for_a_resource_goes_on_behind_the_ids() -> None:
    async def test(place: Place) -> None:
        for number in range(60):
            await place.engine.start(doubling, 1, run_id=f"run-{number:02}", resource_id="box")
        seen: list[str] = []
        address: str | None = "/?q=box"
        while address is not None:
            found = await page(place, address)
            seen += re.findall(r"run-\d\d", found.words)
            address = next((link for link in found.links() if "cursor=" in link), None)
        assert sorted(seen) == [f"run-{number:02}" for number in range(60)]

    run(test)


TABS = ("", "?tab=flow", "?tab=steps", "?tab=events", "?tab=explain", "?tab=data", "?tab=none")


@pytest.mark.parametrize("tab", TABS)
def test_each_view_of_each_run_is_there(tab: str) -> None:
    async def test(place: Place) -> None:
        for run_id in (await some_runs(place.engine)).values():
            found = await page(place, f"/runs/{run_id}{tab}")
            assert run_id in found.words

    run(test)


@step
def publish(number: int, is_approved: bool) -> int:
    return number


def test_a_live_timeline_has_what_is_to_come() -> None:
    flow = Workflow("coming", input=int).wait_for(approved).then(publish)

    async def test(place: Place) -> None:
        handle = await place.engine.start(flow, 1)
        async for event in place.engine.events(handle.run_id):
            if event.kind == "wait_opened":
                break
        words = "".join((await page(place, f"/runs/{handle.run_id}")).words.split())
        assert "approved:suspended" in words
        assert "publish:pending" in words

    run(test)


def test_what_a_run_waits_for_is_said_once() -> None:
    async def test(place: Place) -> None:
        await some_runs(place.engine)
        words = (await page(place, "/runs/waits-1")).words
        assert words.count("aits for signal") == 1
        assert re.search(r"Waits for signal “approved” for \d+ (s|min)", words)

    run(test)


def test_the_progress_of_a_step_has_a_bar() -> None:
    async def test(place: Place) -> None:
        is_seen = asyncio.Event()

        @step
        async def crawl(ctx: StepContext, number: int) -> int:
            ctx.progress(number, 100, "going")
            await is_seen.wait()
            return number

        flow = Workflow("crawling", input=int).then(crawl)
        handle = await place.engine.start(flow, 25)
        while not await place.engine.store.reports(handle.run_id):
            await asyncio.sleep(0)
        for tab in ("", "?tab=steps"):
            found = await page(place, f"/runs/{handle.run_id}{tab}")
            meters = [each["aria-label"] for _, each in found.tags if each.get("class") == "meter"]
            assert meters == ["25 of 100 going"]
            done = [each["width"] for _, each in found.tags if each.get("class") == "done"]
            assert done == ["25.0%"]
        is_seen.set()
        await handle.result()

    run(test)


def test_a_step_shows_its_values_and_the_line_that_failed() -> None:
    async def test(place: Place) -> None:
        await some_runs(place.engine)
        failed = (await page(place, "/runs/bad-1?step=fail")).words
        assert "ValueError: 4 <script>alert(1)</script>" in failed
        assert "tools.py" in failed
        assert "raise ValueError(" in failed
        done = (await page(place, "/runs/done-1?step=double")).words
        assert "42" in done
        assert "21" in done
        other = await page(place, "/runs/done-1?step=no-such-step")
        assert not [each for tag, each in other.tags if tag == "aside"]

    run(test)


def test_a_wait_has_a_form_of_its_type() -> None:
    async def test(place: Place) -> None:
        await some_runs(place.engine)
        found = await page(place, "/runs/waits-1")
        sends = [each["data-send"] for tag, each in found.tags if "data-send" in each]
        assert "/api/runs/waits-1/signals/approved" in sends
        assert "/api/runs/waits-1/cancel" in sends
        async with client(place.app) as reader:  # nobody's token: it may look
            html = (await reader.get("/runs/waits-1", headers={"accept": "text/html"})).text
            assert "data-send" not in html
            assert "read only" in html

    run(test)


def test_a_wait_of_another_type_than_the_code_has_is_asked_for_as_json() -> None:
    async def main() -> None:
        store = MemoryStore()
        async with Engine(store, workflows=[review]) as engine:
            await engine.start(review, 1, run_id="r1")
            async for event in engine.events("r1"):
                if event.kind == "wait_opened":
                    break
            other = Workflow("review", input=int).then(double).wait_for(Signal("approved", int))
            renewed = Client(store, workflows=[other])
            async with renewed, client(app(renewed, token=TOKEN), headers=CHANGES) as visitor:
                shown = (await visitor.get("/runs/r1")).text
                assert '<textarea id="signal-approved-payload"' in shown
                signals = (await visitor.get("/api/runs/r1/signals")).json()["signals"]
                assert signals[0]["json_schema"] is None

    asyncio.run(main())


def test_only_the_page_that_repeats_a_run_has_its_input_in_full() -> None:
    async def test(place: Place) -> None:
        long = "x" * 500_000
        echoing = Workflow("echoing", input=str).then(echo)
        await (await place.engine.start(echoing, long, run_id="r1")).result()
        for tab in ("", "flow", "steps", "events", "explain"):
            shown = (await place.local.get(f"/runs/r1?tab={tab}")).text
            assert len(shown) < 100_000, tab
            assert 'href="/runs/r1/rerun' in shown
        assert long in (await place.local.get("/runs/r1/rerun")).text
        await place.engine.start(review, 4, run_id="lives")
        assert "has not ended" in (await place.local.get("/runs/lives/rerun")).text
        async with client(place.app) as reader:
            assert "read only" in (shown := (await reader.get("/runs/r1/rerun")).text)
            assert long not in shown

    run(test)


def test_a_forecast_is_said_in_a_sentence() -> None:
    async def test(place: Place) -> None:
        await some_runs(place.engine)
        query = "tab=explain&scale_step=double&scale_factor=0.5"
        assert "Its forecast is" in (await page(place, f"/runs/done-1?{query}")).words
        wrong = (await page(place, "/runs/done-1?tab=explain&max_concurrency=x")).words
        assert "must be a whole number" in wrong

    run(test)


def test_workflows_have_pages_and_forms() -> None:
    async def test(place: Place) -> None:
        await some_runs(place.engine)
        everything = (await page(place, "/workflows")).words
        for name in ("doubling", "failing", "review"):
            assert name in everything
            assert name in (await page(place, f"/workflows/{name}")).words
            form = await page(place, f"/workflows/{name}/start")
            assert [each["data-at"] for _, each in form.tags if each.get("data-type") == "integer"]
        await page(place, "/workflows/none", status=404)
        await page(place, "/workflows/none/start", status=404)
        await page(place, "/runs/none", status=404)

    run(test)


def test_schedules_limits_and_workers_have_pages() -> None:
    async def test(place: Place) -> None:
        assert "There are no schedules" in (await page(place, "/schedules")).words
        await place.engine.schedule(doubling, 3, id="daily", every=timedelta(days=1))
        assert "daily" in (await page(place, "/schedules")).words
        assert "No step has used" in (await page(place, "/limits")).words
        assert place.engine.worker_id in (await page(place, "/workers")).words

    run(test)


@step
def echo(text: str) -> dict[str, str]:
    return {text: text}


@step
def shout(texts: dict[str, str]) -> str:
    raise ValueError(next(iter(texts)))


def test_a_text_of_users_stays_text_on_every_page() -> None:
    flow = Workflow("evil", input=str).then(echo).then(shout)

    async def main() -> None:
        async with Engine("memory:", workflows=[flow]) as engine:
            handle = await engine.start(flow, EVIL, resource_id=EVIL, tags={"<b>": EVIL})
            with pytest.raises(RunFailedError):
                await handle.result()
            async with client(app(engine, token="t" * 20), headers=CHANGES) as local:
                addresses = ["/", "/workflows", "/workflows/evil", "/workflows/evil/start"]
                addresses += [f"/runs/{handle.run_id}{tab}" for tab in TABS]
                addresses += [f"/runs/{handle.run_id}?step=shout", "/schedules", "/limits"]
                for address in addresses:
                    html = (await local.get(address, headers={"accept": "text/html"})).text
                    found = Page(html)
                    scripts = [each for tag, each in found.tags if tag == "script"]
                    assert [each["src"] for each in scripts] == ["/static/page.js"], address
                    assert not [tag for tag, _ in found.tags if tag == "img"], address
                    for _, attributes in found.tags:
                        assert not [name for name in attributes if name.startswith("on")], address
                        assert "style" not in attributes, address
                    assert "\x1b" not in html, address
                    assert "\u202e" not in html, address
                    assert EVIL not in html, address

    asyncio.run(main())


def test_every_link_leads_somewhere_also_where_the_page_is_mounted() -> None:
    async def main() -> None:
        from starlette.applications import Starlette
        from starlette.routing import Mount

        async with site() as place:
            await some_runs(place.engine)
            outer = Starlette(routes=[Mount("/tools/runs", place.app)])
            async with client(outer, headers={**CHANGES, "accept": "text/html"}) as local:
                waiting, seen = ["/tools/runs/"], set[str]()
                while waiting:
                    address = waiting.pop()
                    if address in seen or "cursor=" in address:
                        continue
                    seen.add(address)
                    answer = await local.get(address)
                    assert answer.status_code == 200, address
                    if answer.headers["content-type"].startswith("text/html"):
                        found = Page(answer.text)
                        waiting += [link for link in found.links() if link.startswith("/")]
                        files = [each.get("src") or each.get("href") for tag, each in found.tags
                                 if tag in {"script", "link"}]  # fmt: skip
                        waiting += [each for each in files if each]
                assert all(each.startswith("/tools/runs/") for each in seen), seen
                assert len(seen) > 40

    asyncio.run(main())


def test_pages_of_a_store_without_code_show_plain_values() -> None:
    async def main() -> None:
        async with Engine("memory:", workflows=[doubling]) as engine:
            await engine.run(doubling, 21, run_id="one")
            from gorkflow import Client

            async with (
                Client(engine.store) as reader,
                client(app(reader), LOCAL, headers={"accept": "text/html"}) as local,
            ):
                assert "42" in (await local.get("/runs/one?tab=data")).text
                assert "doubling" in (await local.get("/workflows")).text
                assert "Start" not in (await local.get("/workflows/doubling")).text
                assert (await local.get("/workflows/doubling/start")).status_code == 404
                assert len(await reader.list_runs(RunFilter())) == 1

    asyncio.run(main())


def test_a_message_with_a_text_of_users_is_safe() -> None:
    async def test(place: Place) -> None:
        address = "/workflows/" + quote("<b>\u202e`x")
        html = (await place.local.get(address, headers={"accept": "text/html"})).text
        assert "<b>" not in html
        assert "\u202e" not in html

    run(test)


@pytest.mark.parametrize("address", ["/runs/none", "/workflows/none", "/nothing", "/?token=wrong"])
def test_what_is_wrong_is_said_in_the_frame_of_the_site(address: str) -> None:
    async def test(place: Place) -> None:
        status = 401 if "token" in address else 404
        found = await page(place, address, status=status)
        assert "brand" in [each.get("class") for _, each in found.tags]
        assert ("/workflows" in found.links()) == (status == 404)
        assert "`" not in found.words
        html = (await place.local.get(address, headers={"accept": "text/html"})).text
        [said] = re.findall(r"</h1>\s*<p>(.*?)</p>", html)
        assert said[0].isupper()
        assert said.endswith(".")

    run(test)


def test_a_login_has_the_look_of_the_site() -> None:
    async def test(place: Place) -> None:
        answer = await place.local.get("/login")
        [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"sha256-{digest}" in answer.headers["content-security-policy"]
        assert ".top .brand" in style

    run(test)


def test_events_show_times_and_no_raw_numbers() -> None:
    flow = Workflow("sleepy", input=int).sleep(3600)

    async def test(place: Place) -> None:
        handle = await place.engine.start(flow, 1)
        async for event in place.engine.events(handle.run_id):
            if event.kind == "timer_set":
                break
        words = (await page(place, f"/runs/{handle.run_id}?tab=events")).words
        assert re.search(r"due=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", words)
        assert not re.search(r"=\d{9,}", words)

    run(test)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit("a", rate=120, per=60), "120 per minute"),
        (Limit("a", rate=0.5, per=1), "0.5 per second"),
        (Limit("a", concurrency=2, rate=3000, per=90), "2 at a time, 3,000 per 1 min 30 s"),
    ],
    ids=["minute", "second", "other"],
)
def test_a_limit_reads_as_people_say_it(limit: Limit, words: str) -> None:
    @step(limits=(limit,))
    def used(number: int) -> int:
        return number

    async def test(place: Place) -> None:
        await place.engine.run(Workflow("limited", input=int).then(used), 1)
        assert words in (await page(place, "/limits")).words

    run(test)


def test_a_part_stands_with_the_workflow_that_uses_it() -> None:
    part = Workflow("half", input=int).then(double)
    whole = Workflow("whole", input=int).then(part)

    async def main() -> None:
        async with (
            Engine("memory:", workflows=[part, whole]) as engine,
            client(app(engine), headers={"accept": "text/html"}) as local,
        ):

            async def cards() -> list[str | None]:
                found = Page((await local.get("/workflows")).text)
                assert "/workflows/half" in found.links()
                return [each.get("aria-label") for tag, each in found.tags if tag == "section"]

            assert await cards() == ["whole"]
            await engine.run(part, 1)
            assert await cards() == ["half", "whole"]

    asyncio.run(main())


def test_completed_runs_are_counted_among_those_that_ended() -> None:
    async def test(place: Place) -> None:
        for run_id in ("r1", "r2"):
            handle = await place.engine.start(review, 5, run_id=run_id)
            async for event in place.engine.events(handle.run_id):
                if event.kind == "wait_opened":
                    break
        await place.engine.send("r1", approved, True)
        await place.engine.handle("r1").outcome()
        words = (await page(place, "/workflows/review")).words
        assert "100.0%completed, of the last 1 run that ended" in words

    run(test)


def test_a_page_that_may_not_change_has_the_whole_command(tmp_path: Path) -> None:
    async def main() -> None:
        async with site(f"sqlite:{tmp_path}/my runs.db") as place:
            await some_runs(place.engine)
            async with client(place.app, headers={"accept": "text/html"}) as reader:
                words = Page((await reader.get("/runs/waits-1")).text).words
        command = "gorkflow runs send waits-1 approved --payload JSON --store 'sqlite:my runs.db'"
        assert command in words
        assert str(tmp_path) not in words

    asyncio.run(main())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3_599, "1 h ago"),
        (3_500, "58 min ago"),
        (59.9, "1 min ago"),
        (86_300, "1 d ago"),
        (5, "5 s ago"),
        (-3_599, "in 1 h"),
    ],
)
def test_a_time_reads_in_one_unit_that_is_not_full(seconds: float, words: str) -> None:
    assert f">{words}<" in ago(instant(1e9), 1e9 + seconds)


def test_a_failed_run_of_many_events_says_why_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_view, "_LONG", 1)

    async def test(place: Place) -> None:
        await some_runs(place.engine)
        words = (await page(place, "/")).words
        assert "ValueError: 4 <script>alert(1)</script>" in words

    run(test)


@pytest.mark.parametrize("name", ["max_concurrency=", "scale_step=double&scale_factor=x"])
def test_a_number_that_is_too_long_is_named(name: str) -> None:
    async def test(place: Place) -> None:
        await some_runs(place.engine)
        found = await page(place, f"/runs/done-1?tab=explain&{name}{'9' * 5_000}")
        assert "must be a" in found.words
        assert "9" * 500 not in found.words

    run(test)


@pytest.mark.parametrize(
    ("given", "name", "url"),
    [
        ("memory:", "memory", ""),
        ("sqlite:some/runs.db", "runs.db", "sqlite:runs.db"),
        (
            "postgresql://ann:secret@db/shop?sslmode=require",
            "postgresql://ann@db/shop, schema gorkflow",
            "postgresql://ann@db/shop",
        ),
        (
            "postgresql://ann:secret@db/shop?schema=other",
            "postgresql://ann@db/shop, schema other",
            "postgresql://ann@db/shop?schema=other",
        ),
    ],
)
def test_a_store_has_a_name_and_the_url_for_commands(given: str, name: str, url: str) -> None:
    access = rules(token=None, read_token=None, hosts=["localhost"], read_only=True)
    found = Site(engine=Client(given), access=access)
    assert (found.store_name, found.store_url) == (name, url)
