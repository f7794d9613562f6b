"""The Python on our pages: read, so that it can be run, typed, and made a notebook of.

python scripts/pages.py     writes docs/tutorial.ipynb; a test compares it
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
NOTEBOOK = TUTORIAL.with_suffix(".ipynb")
_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>no-run|file): (?P<what>\S[^>]*?) *-->\s*)?"
    r"^(?P<indent>[ ]*)```(?P<kind>python|text)[^\n]*\n(?P<code>.*?)^[ ]*```[ ]*$",
    re.DOTALL | re.MULTILINE,
)
_SHOWN = re.compile(r"<!-- show: (\w+) -->")
# A notebook has an event loop already, so what blocks is awaited there.
_PRELUDE = """\
from typing import Any

import gorkflow


async def run(workflow: Any, input: Any = None, *, store: str = "memory:", **options: Any) -> Any:
    async with gorkflow.Engine(store) as engine:
        return await engine.run(workflow, input, **options)
"""


@dataclass(frozen=True)
class Block:
    """A block of a page: Python, or what the Python before it prints."""

    kind: str
    code: str
    line: int
    """Lines of the page before its code."""
    at: int
    """Characters of the page before the block."""
    end: int
    file: str = ""
    """The file that it is; empty: it is a part of the page's one program."""
    skipped: bool = False


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page."""
    return [
        Block(
            kind=found["kind"],
            code="".join(
                line.removeprefix(found["indent"])
                for line in found["code"].splitlines(keepends=True)
            ),
            line=text.count("\n", 0, found.start("code")),
            at=found.start(),
            end=found.end(),
            file=found["what"] if found["mark"] == "file" else "",
            skipped=found["mark"] == "no-run",
        )
        for found in _BLOCK.finditer(text)
    ]


def program(text: str) -> str:
    """Return the Python of a page as one program, each line where it stands on the page."""
    lines = [""] * (text.count("\n") + 1)
    for block in blocks(text):
        if block.kind == "python" and not block.skipped and not block.file:
            code = block.code.splitlines()
            lines[block.line : block.line + len(code)] = code
    return "\n".join(lines).rstrip() + "\n"


def notebook(text: str) -> str:
    """Return a page as a notebook."""
    cells = [_cell("code", _PRELUDE)]
    at = 0
    for block in blocks(text):
        if block.kind != "python" or block.skipped:
            continue
        cells += _prose(text[at : block.at])
        cells.append(_cell("code", f"%%writefile {block.file}\n{block.code}" if block.file else
                           _awaited(block.code)))  # fmt: skip
        at = block.end
    cells += _prose(text[at:])
    meta = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps(
        {"cells": cells, "metadata": meta, "nbformat": 4, "nbformat_minor": 5},
        indent=1,
        ensure_ascii=False,
    ) + "\n"  # fmt: skip


def _prose(text: str) -> list[dict[str, object]]:
    """Return text as cells; one that shows an object has its name in a comment of the page."""
    pieces = _SHOWN.split(text)
    return [
        _cell("code" if number % 2 else "markdown", piece.strip())
        for number, piece in enumerate(pieces)
        if piece.strip()
    ]


def _cell(kind: str, source: str) -> dict[str, object]:
    more: dict[str, object] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    lines = source.rstrip("\n").splitlines(keepends=True)
    return {"cell_type": kind, "metadata": {}, **more, "source": lines}


def _awaited(code: str) -> str:
    """Return a block with ``await`` where it would block the event loop."""
    code = re.sub(r"\basyncio\.run\((.*)\)", r"await \1", code)
    code = re.sub(r"(?<![\w.])run\((?=\w)", "await run(", code)
    return re.sub(r"(from gorkflow import .*), run\b", r"\1", code)


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(TUTORIAL.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {NOTEBOOK.name}\n")
