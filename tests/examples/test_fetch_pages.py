"""Pages fetched from a server of our own, which refuses what is too much for it."""

import time

import pytest

from examples import fetch_pages as job
from gorkflow import run


def test_every_page_comes_and_none_is_too_much():
    pages = job.A_SECOND + 50
    with job.serving() as (server, address):
        began = time.monotonic()
        site = job.Site(address=address, pages=pages)
        summary = run(job.fetch_pages, site, store="memory:")
        took = time.monotonic() - began
    assert summary.pages == server.served == pages
    assert summary.bytes > pages * 100
    assert server.refused == 0
    assert server.most <= job.AT_A_TIME
    assert took >= 1.0  # those beyond the rate came in the next second


def test_without_the_limit_the_server_has_too_much():
    unlimited = job.fetch.options(limits=(), retries=0, continue_on_error=True)
    all_at_once = job.Workflow("all-at-once", input=job.Site).then(job.find).map(unlimited)
    with job.serving() as (server, address):
        server.seconds = 0.2  # long enough for all to come meanwhile
        run(all_at_once, job.Site(address=address, pages=60), store="memory:")
    assert server.refused > 0


def test_main_tells_what_it_did(capsys: pytest.CaptureFixture[str]):
    assert job.main(["--pages", "20"]) == 0
    out = capsys.readouterr().out
    assert "20 pages" in out
    assert "0 were too much" in out
