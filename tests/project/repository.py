"""What the tests of this folder look at: the files of the repository, with or without git."""

import os
from collections.abc import Iterator
from pathlib import Path

from scripts import pages

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "gorkflow"

_NOT_OURS = {".git", ".venv", ".gorkflow", ".hypothesis", "__pycache__", "build", "dist"}


def files(*suffixes: str, under: Path = ROOT) -> Iterator[Path]:
    """Yield the files that belong to the project, in order."""
    for folder, subfolders, names in os.walk(under):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name not in _NOT_OURS and not name.endswith(("_cache", ".egg-info"))
        )
        yield from (
            Path(folder, name)
            for name in sorted(names)
            if name.endswith(suffixes or "") and name not in _NOT_OURS
        )


def name(path: Path) -> str:
    """Return a file's name as people write it."""
    return path.relative_to(ROOT).as_posix()


def is_generated(text: str) -> bool:
    """Tell whether a Python file says in its first line that a script wrote it."""
    return text.partition("\n")[0].startswith("# generated")


PAGES = [*ROOT.glob("README.md"), *files(".md", under=ROOT / "docs")]
"""The pages that people read."""


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows."""
    for block in pages.blocks(page.read_text()):
        if block.file:
            (folder / block.file).write_text(block.code)
