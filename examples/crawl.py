"""Crawl a site within a budget, and list its dead links.

    python examples/crawl.py http://localhost:8000/docs/index.md --pages 200

Each round fetches, side by side, the pages that the round before found. The run's state has the
facts that all pages and rounds share: the used budget, the pages seen, the dead links. A fetched
page is in the state, or it was not fetched. So a crash neither loses a page nor counts it twice.
"""

import argparse
import re
import urllib.error
import urllib.parse
import urllib.request

from pydantic import BaseModel

from gorkflow import StepContext, Workflow, run, step

AT_A_TIME = 8
ROUNDS = 50
LINK = re.compile(r"""(?:href=["']|\]\()([^"'()\s#]+)""")


class Crawl(BaseModel):
    """The first page, and how many pages to fetch."""

    start: str
    pages: int = 100


class Report(BaseModel):
    """The dead links, and the pages left over."""

    pages: int
    bytes: int
    dead: list[str]
    left: int
    """Known pages, beyond the budget."""


@step
async def begin(ctx: StepContext, crawl: Crawl) -> list[str]:
    ctx.state["budget"] = crawl.pages
    ctx.state["seen"] = [crawl.start]
    return [crawl.start]


@step(retries=2, timeout=30)
def fetch(ctx: StepContext, url: str) -> list[str]:
    """Fetch a page, and return its links within the site."""
    try:
        with urllib.request.urlopen(url) as answer:
            data = answer.read()
    except urllib.error.HTTPError as error:
        if error.code < 500:
            ctx.state.append("dead", url)  # a new attempt would not help
            return []
        raise
    ctx.state.incr("pages")
    ctx.state.incr("bytes", len(data))
    host = urllib.parse.urlsplit(url).netloc
    found = (urllib.parse.urljoin(url, link) for link in LINK.findall(data.decode(errors="ignore")))
    return sorted({link for link in found if urllib.parse.urlsplit(link).netloc == host})


@step
async def plan(ctx: StepContext, found: list[list[str]]) -> list[str]:
    """Return the pages to fetch next: new ones, within the budget."""
    seen = ctx.state.read("seen", list[str])
    new = sorted({link for links in found for link in links} - {*seen})
    room: int = ctx.state["budget"] - ctx.state.get("pages", 0)
    chosen = new[: max(room, 0)]
    for url in chosen:
        ctx.state.append("seen", url)
    ctx.state["left"] = len(new) - len(chosen)
    return chosen


def nothing_is_left(urls: list[str]) -> bool:
    return not urls


@step
async def report(ctx: StepContext, _: list[str]) -> Report:
    state = ctx.state
    return Report(
        pages=state.get("pages", 0),
        bytes=state.get("bytes", 0),
        dead=sorted(state.get("dead", [])),
        left=state.get("left", 0),
    )


one_round = Workflow("round", input=list[str]).map(fetch, max_concurrency=AT_A_TIME).then(plan)
crawl_site = (
    Workflow("crawl", input=Crawl)
    .then(begin)
    .loop(one_round, until=nothing_is_left, max_iterations=ROUNDS)
    .then(report)
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start")
    parser.add_argument("--pages", type=int, default=100)
    options = parser.parse_args(arguments)
    crawl = Crawl(start=options.start, pages=options.pages)
    found = run(crawl_site, crawl)
    print(f"{found.pages} pages, {found.bytes:,} bytes; {found.left} more were left aside")
    for url in found.dead:
        print(f"dead: {url}")
    return 1 if found.dead else 0


if __name__ == "__main__":
    raise SystemExit(main())
