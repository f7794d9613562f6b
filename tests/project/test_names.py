"""The names that pages mention exist: files, modules, and names of the code."""

import builtins
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import gorkflow
from gorkflow.engine.engine import Engine
from gorkflow.engine.handle import RunHandle
from gorkflow.testing._context import FakeContext
from tests.project.repository import ROOT, SRC, files, name

PAGES = [
    page
    for page in [*ROOT.glob("*.md"), *files(".md", under=ROOT / "docs")]
    if "reference" not in page.parts  # made of docstrings
]
OF_CODE = [page for page in PAGES if "decisions" in page.parts or page.stem == "ARCHITECTURE"]
"""Pages about the code itself: each name in them is one of the code."""
OBJECTS: dict[str, Any] = {
    "client": gorkflow.Client,
    "ctx": FakeContext,  # what a step gets, and what a test sees of it
    "engine": Engine,
    "failure": gorkflow.Failure,
    "gorkflow": gorkflow,
    "handle": RunHandle,
    "run": gorkflow.Run,
    "testing": importlib.import_module("gorkflow.testing"),
}
"""What pages call by a name of their own."""


def split(page: Path) -> tuple[str, list[str]]:
    """Return the code blocks of a page, and the pieces of code in its text."""
    block = re.compile(r"^([ ]*)```.*?^\1```", re.DOTALL | re.MULTILINE)
    text = page.read_text()
    return "".join(it[0] for it in block.finditer(text)), re.findall(
        r"`([^`]+)`", block.sub("", text)
    )


@cache
def paths() -> frozenset[str]:
    """Return the files and folders of the project, by every end of their paths."""
    found = {Path(name(path)) for path in files()}
    found |= {folder for path in found for folder in path.parents}
    return frozenset("/".join(path.parts[at:]) for path in found for at in range(len(path.parts)))


@cache
def words() -> frozenset[str]:
    """Return the words of the code and its tests, and the names of all files."""
    code = [path.read_text() for path in files(".py", ".sql", ".toml")]
    return frozenset(re.findall(r"\w+", " ".join([*code, *paths()])))


def missing_paths(page: Path) -> Iterator[str]:
    text = page.read_text()
    for code in split(page)[1]:
        for path in re.findall(r"(?<![\w/.*-])(?:[a-z_]\w*/)*\w+\.py\b", code):
            is_the_readers = "/" not in path and text.count(path) > 1
            if path not in paths() and not is_the_readers:
                yield path


def has(owner: Any, attribute: str) -> bool:
    if inspect.ismodule(owner) and find_spec(f"{owner.__name__}.{attribute}") is not None:
        return True
    hints = get_type_hints(owner) if inspect.isclass(owner) else {}
    return hasattr(owner, attribute) or attribute in hints


@cache
def of_telemetry() -> frozenset[str]:
    """Return the names of attributes, events and metrics for other tools."""
    code = "".join(path.read_text() for path in files(".py", under=SRC / "telemetry"))
    kinds = {f"gorkflow.{kind}" for kind in gorkflow.events.EVENT_TYPES}
    return frozenset(re.findall(r'"(gorkflow\.[\w.]+)"', code)) | kinds


def missing_attributes(page: Path) -> Iterator[str]:
    modules = {path.stem: path for path in files(".py", under=SRC)}
    for code in split(page)[1]:
        found = re.match(r"(\w+)\.([a-z_]\w*)", code)
        if not found or found[2] in {"py", "toml", "db", "md"} or code in of_telemetry():
            continue
        owner = OBJECTS.get(found[1]) or getattr(gorkflow, found[1], None)
        if found[1] in modules and found[1] not in OBJECTS:
            if not re.search(rf"\b{found[2]}\b", modules[found[1]].read_text()):
                yield found[0]
        elif owner is not None and not has(owner, found[2]):
            yield found[0]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_name_what_there_is(page: Path):
    assert not [*missing_paths(page), *missing_attributes(page)]


def test_the_layers_have_every_module():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    layers = re.findall(r"^\| [a-z, ]+ \| ([^|]+) \|", page, re.MULTILINE)
    named = re.findall("`([^`]+)`", " ".join(layers))
    found = [path for path in SRC.glob("[a-z]*") if path.suffix != ".typed"]
    assert sorted(named) == sorted(path.stem + "/" * path.is_dir() for path in found)


@pytest.mark.parametrize("page", OF_CODE, ids=name)
def test_pages_about_the_code_use_its_names(page: Path):
    shown, pieces = split(page)
    names = {word for code in pieces for word in re.findall(r"[A-Za-z_]\w+", code)}
    assert not names - words() - set(re.findall(r"\w+", shown)) - set(dir(builtins))
