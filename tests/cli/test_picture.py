"""The picture of the live tree, as the pages show it."""

import re
from io import StringIO
from xml.etree import ElementTree as ET

from rich.console import Console

from gorkflow.cli._live import LiveTree
from gorkflow.flow import MapSpec
from scripts import live_tree
from tests.cli.test_tree import Feed, step, tree
from tests.cli.tools import At


def asks_no_other_host(svg: str) -> bool:
    """Return whether a picture loads nothing."""
    urls = re.findall(r"""(?:url\(|href=|src=|https?:)[^\s)"']*""", svg)
    return all(url.startswith(("url(#", "http://www.w3.org/2000/svg")) or url == "http:" for url in
               urls) and "@import" not in svg and "@font-face" not in svg  # fmt: skip


def test_the_page_has_a_picture_that_asks_no_other_host():
    svg = live_tree.PICTURE.read_text()
    assert asks_no_other_host(svg)
    texts = "".join(ET.fromstring(svg).itertext()).replace("\xa0", " ")
    for part in ("map of fetch", "about", "retried", "waits for signal", "━"):
        assert part in texts


def test_a_picture_has_what_the_tree_shows():
    feed = Feed(tree(MapSpec(id="*it", body=step("it"))))
    feed.drive.expand("*it", 4)
    feed.run("it[0]", "it[1]")
    feed.complete("it[0]")
    console = Console(file=StringIO(), record=True, width=92, height=30, force_terminal=True)
    svg = live_tree.picture(console, LiveTree(console, At(1_000.0)), feed.board)
    assert asks_no_other_host(svg)
    texts = "".join(ET.fromstring(svg).itertext()).replace("\xa0", " ")
    assert "map of it" in texts
    assert "1/4" in texts
