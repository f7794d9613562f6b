"""Every Python block in README.md and docs/ runs.

The blocks of a file run in order, in one module, in an empty folder, with `await` allowed at the
top level. A block after the comment `<!-- no-run: why -->` is left out.
"""

import ast
import asyncio
import inspect
import linecache
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tests.project.repository import ROOT, files, name

PAGES = [*ROOT.glob("README.md"), *files(".md", under=ROOT / "docs")]
BLOCK = re.compile(
    r"(?P<skip><!-- no-run: \S[^>]*-->\s*)?"
    r"^(?P<indent>[ ]*)```python[^\n]*\n(?P<code>.*?)^[ ]*```[ ]*$",
    re.DOTALL | re.MULTILINE,
)


def blocks(page: Path) -> Iterator[CodeType]:
    """Yield the blocks to run, compiled so that errors name the page and its line."""
    text = page.read_text()
    for found in BLOCK.finditer(text):
        if not found["skip"]:
            lines = found["code"].splitlines(keepends=True)
            code = "".join(line.removeprefix(found["indent"]) for line in lines)
            padding = "\n" * text.count("\n", 0, found.start("code"))
            yield compile(
                padding + code, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
            )


def show_source(page: Path) -> None:
    """Let Python find the source of what a page defines, for what reads functions."""
    text = page.read_text()
    lines = ["\n"] * (text.count("\n") + 1)
    for found in BLOCK.finditer(text):
        first = text.count("\n", 0, found.start("code"))
        for number, line in enumerate(found["code"].splitlines(keepends=True)):
            lines[first + number] = line.removeprefix(found["indent"])
    linecache.cache[str(page)] = (len(text), None, lines, str(page))


def run(page: Path) -> None:
    """Run the blocks of a page, in the module `__main__`."""
    namespace = sys.modules["__main__"].__dict__
    show_source(page)
    with asyncio.Runner() as runner:
        for block in blocks(page):
            result = eval(block, namespace)
            if inspect.iscoroutine(result):
                runner.run(result)


@pytest.fixture(autouse=True)
def fresh_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_runs(page: Path):
    run(page)


SAMPLE = """
```python
import asyncio
seen = [1]
```
- indented, and awaited:
  ```python
  seen.append(await asyncio.sleep(0, 2))
  ```
<!-- no-run: it fails -->
```python
seen.append(1 / 0)
```
```bash
not python
```
```python
asyncio.run(asyncio.sleep(0))
assert seen == [1, 2] and __name__ == "__main__"
seen.clear()
{last}
```
"""


def test_runner_runs_what_it_should(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(SAMPLE.format(last=""))
    run(page)
    assert sys.modules["__main__"].__dict__["seen"] == []


def test_runner_names_the_line_that_fails(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(SAMPLE.format(last="seen[0]"))
    with pytest.raises(IndexError) as raised:
        run(page)
    assert raised.traceback[-1].path == page
    assert raised.traceback[-1].lineno + 1 == page.read_text().splitlines().index("seen[0]") + 1
