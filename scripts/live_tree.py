"""A picture of the live tree, taken while a run really runs.

python scripts/live_tree.py     writes docs/images/live-tree.svg; takes half a minute

The run is of the workflow below. It has run once before, so the tree knows how long it takes.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from gorkflow import (
    Engine,
    Report,
    RetryPolicy,
    Signal,
    StepContext,
    StepStatus,
    Workflow,
    step,
)
from gorkflow.cli._board import Board
from gorkflow.cli._live import LiveTree
from gorkflow.cli._progress import board_of

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "live-tree.svg"
_COLUMNS = 92
_PAGES = 400
_SHOT_AT = 230
"""Pages that are fetched when the picture is taken."""
_COLOURS = TerminalTheme(
    (15, 18, 25),
    (216, 222, 233),
    [
        (15, 18, 25), (240, 98, 98), (96, 200, 130), (232, 186, 92),
        (98, 160, 240), (190, 140, 230), (86, 194, 214), (216, 222, 233),
    ],
)  # fmt: skip
_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
# Without the web font of rich, since a picture must ask no other host for anything.
_FORMAT = f"""\
<svg viewBox="0 0 {{width}} {{height}}" xmlns="http://www.w3.org/2000/svg" role="img"
 aria-label="The live tree of a run that fetches {_PAGES} pages">
<style>
.{{unique_id}}-matrix {{{{ font-family: {_FONT}; font-size: {{char_height}}px;
 line-height: {{line_height}}px; white-space: pre }}}}
{{styles}}
</style>
<defs>
<clipPath id="{{unique_id}}-clip-terminal">
<rect x="0" y="0" width="{{terminal_width}}" height="{{terminal_height}}"/>
</clipPath>
{{lines}}
</defs>
<rect width="100%" height="100%" rx="10" fill="#0f1219"/>
<g transform="translate({{terminal_x}}, 24)"
 clip-path="url(#{{unique_id}}-clip-terminal)">
{{backgrounds}}
<g class="{{unique_id}}-matrix">
{{matrix}}
</g>
</g>
</svg>
"""

# ---- the workflow -----------------------------------------------------------------------------

publish_it = Signal("publish", bool)


@step
async def read_sitemap(pages: int) -> list[str]:
    await asyncio.sleep(0.8)
    return [f"/page/{number}" for number in range(pages)]


@step(retries=RetryPolicy(retries=2, initial_interval=0.5))
async def fetch(ctx: StepContext, url: str) -> int:
    number = int(url.rpartition("/")[2])
    await asyncio.sleep(0.35 + number * 7 % 50 / 100)
    if number % 70 == 11 and ctx.attempt == 1:
        raise ConnectionError("the server hung up")
    return number


@step
async def index(pages: list[int]) -> int:
    await asyncio.sleep(1)
    return len(pages)


@step
async def render_maps(ctx: StepContext, pages: int) -> int:
    for tile in range(60):
        ctx.progress(tile, 60, f"tile {tile // 8}/{tile % 8}")
        await asyncio.sleep(0.14)
    return min(60, pages)


@step
async def check_links(pages: int) -> str:
    await asyncio.sleep(2.2)
    return f"links of {pages} pages work"


@step
async def upload(pages: int, tiles: int, links: str, answer: tuple[int, bool]) -> str:
    await asyncio.sleep(0.5)
    return f"{pages} pages, {tiles} tiles; {links}; {answer}"


pages = Workflow("pages", input=int).then(read_sitemap).map(fetch, max_concurrency=40).then(index)
sign_off = Workflow("sign-off", input=int).wait_for(publish_it)
site = (
    Workflow("publish-site", input=int)
    .parallel(pages, render_maps, check_links, sign_off)
    .then(upload)
)


# ---- the picture ------------------------------------------------------------------------------


async def sign(engine: Engine, run_id: str) -> None:
    """Sign a run off after a while."""
    await asyncio.sleep(7)
    await engine.send(run_id, publish_it, payload=True)


async def shoot(url: str) -> str:
    """Return the picture of the second of two runs."""
    svg = ""
    async with Engine(url, workflows=[site]) as engine:
        for run_id in ("nightly-1", "nightly-2"):
            await engine.start(site, _PAGES, run_id=run_id)
            signing = asyncio.create_task(sign(engine, run_id))
            svg = await watch(engine, run_id)
            await signing
    return svg


async def watch(engine: Engine, run_id: str) -> str:
    """Watch a run to its end; return the picture of a moment on the way."""
    console = Console(
        file=StringIO(), record=True, width=_COLUMNS, height=30, force_terminal=True,
        color_system="truecolor", legacy_windows=False,
    )  # fmt: skip
    view, svg = LiveTree(console), ""
    board = await board_of(engine.store, run_id, view)
    async for each in engine.events(run_id, after=board.seq, progress=True):
        if isinstance(each, Report):
            board.report(each)
        else:
            board.feed(each)
        done = board.items["pages/*fetch"].counts[StepStatus.COMPLETED]
        if done >= _SHOT_AT and not svg:
            svg = picture(console, view, board)
    return svg


def picture(console: Console, view: LiveTree, board: Board) -> str:
    """Return the tree as it is now, as SVG."""
    console.print("[dim]$[/dim] gorkflow run site.py --input 400", markup=True, highlight=False)
    console.print(view.drawn(board))
    svg = console.export_svg(
        title="", theme=_COLOURS, code_format=_FORMAT, unique_id="tree", font_aspect_ratio=0.6
    )
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        svg = asyncio.run(shoot(f"sqlite:{folder}/runs.db"))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(svg, encoding="utf-8")
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
