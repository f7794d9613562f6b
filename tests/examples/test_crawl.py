"""The example crawls our own documentation, from a server of our own."""

import contextlib
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from examples import crawl as job
from gorkflow import run, testing
from tests.project.repository import ROOT


class Handler(SimpleHTTPRequestHandler):
    """Serves the files of a folder, and says nothing."""

    def log_message(self, *_: object) -> None:
        pass

    def list_directory(self, path: object) -> None:
        self.send_error(404)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A copy of our documentation, with one dead link in it."""
    for page in (ROOT / "docs").glob("*.md"):
        # Only the links from page to page: code has brackets and parentheses, too.
        text = re.sub(r"\]\((?![\w-]+\.md[)#])", "] (", page.read_text())
        (tmp_path / page.name).write_text(text)
    with (tmp_path / "limits.md").open("a") as page:
        page.write("\nSee [nowhere](nowhere.md).\n")
    return tmp_path


def test_every_page_is_fetched_once(site: Path):
    pages = {path.name for path in site.iterdir()}
    with serving(site) as address:
        crawl = job.Crawl(start=f"{address}/index.md")
        result = testing.run_sync(job.crawl_site, crawl)
    assert result.output.dead == [f"{address}/nowhere.md"]
    assert result.output.pages == len(pages)
    assert result.output.bytes == sum((site / name).stat().st_size for name in pages)
    assert result.output.left == 0
    seen = result.run.state["seen"]
    assert len(seen) == len({*seen}) == len(pages) + 1


def test_no_more_is_fetched_than_the_budget_allows(site: Path):
    with serving(site) as address:
        crawl = job.Crawl(start=f"{address}/index.md", pages=5)
        found = run(job.crawl_site, crawl, store="memory:")
    assert found.pages == 5
    assert found.left > 0


def test_a_crash_neither_loses_a_page_nor_counts_one_twice(site: Path):
    for page in sorted(site.iterdir())[4:]:
        page.unlink()
    (site / "index.md").write_text("".join(f"[x]({page.name}) " for page in site.iterdir()))
    with serving(site) as address:
        crawl = job.Crawl(start=f"{address}/index.md")
        report = testing.crash_at_every_commit(job.crawl_site, crawl)
    assert not report.differences, str(report)
    assert report.undisturbed.run.state["pages"] == len([*site.iterdir()])


def test_main_tells_what_it_did(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GORKFLOW_STORE", "memory:")
    with serving(site) as address:
        assert job.main([f"{address}/index.md", "--pages", "50"]) == 1
    out = capsys.readouterr().out
    assert "0 more were left aside" in out
    assert "nowhere.md" in out
