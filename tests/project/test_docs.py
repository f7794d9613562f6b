"""Every Python block in README.md and docs/ runs.

The blocks of a page run in order, in one module, in an empty folder, with `await` allowed at the
top level. A block after the comment `<!-- file: NAME -->` is a file of its own, which is there when
the others run. One after `<!-- no-run: why -->` is left out.

tests/typing judges their types. Type checkers reject a line with the comment `# rejected`.
"""

import ast
import asyncio
import inspect
import linecache
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from scripts import pages
from tests.project.repository import PAGES, ROOT, name, write_files

PROGRAMS = [ROOT / "README.md", pages.TUTORIAL]
"""Pages that are programs: what stands in their text blocks is printed."""


def blocks(page: Path) -> Iterator[CodeType]:
    """Yield the blocks to run, compiled so that errors name the page and its line."""
    for block in pages.blocks(page.read_text()):
        if block.kind == "python" and not block.skipped and not block.file:
            yield compile(
                "\n" * block.line + block.code,
                page,
                "exec",
                ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )


def show_source(page: Path) -> None:
    """Let Python find the source of what a page defines, for what reads functions."""
    text = page.read_text()
    lines = pages.program(text).splitlines(keepends=True)
    linecache.cache[str(page)] = (len(text), None, lines, str(page))


def run(page: Path) -> None:
    """Run the blocks of a page, in the module `__main__`."""
    namespace = sys.modules["__main__"].__dict__
    show_source(page)
    write_files(page, Path())
    with asyncio.Runner() as runner:
        for block in blocks(page):
            result = eval(block, namespace)
            if inspect.iscoroutine(result):
                # Without a loop of its own around it, a block may start one.
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


# ---- links --------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted({*PAGES, *ROOT.glob("[A-Z]*.md")}), ids=name)
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```|`[^`]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


# ---- as programs, and as a notebook -------------------------------------------------------------


def printed(page: Path) -> str:
    """Return, as a pattern, what the blocks of a page say that they print."""
    shown = [block.code for block in pages.blocks(page.read_text()) if block.kind == "text"]
    return re.escape("".join(shown)).replace("…", ".*")


@pytest.mark.parametrize("page", PROGRAMS, ids=name)
def test_page_is_a_program_that_prints_what_it_shows_each_time(page: Path, tmp_path: Path):
    write_files(page, tmp_path)
    (tmp_path / "program.py").write_text(pages.program(page.read_text()))
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(printed(page), done.stdout), done.stdout


def test_the_notebook_is_the_tutorial():
    text = pages.TUTORIAL.read_text(encoding="utf-8")
    assert pages.NOTEBOOK.read_text(encoding="utf-8") == pages.notebook(text), (
        "run scripts/pages.py"
    )


RUNS_CELLS = """
import ast, asyncio, inspect, json, sys

async def main():
    names = {"__name__": "__main__"}
    for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        if source.startswith("%%writefile "):
            first, _, rest = source.partition("\\n")
            open(first.split()[1], "w").write(rest)
            continue
        found = eval(compile(source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.iscoroutine(found):
            await found

asyncio.run(main())
"""


def test_the_notebook_prints_what_the_tutorial_shows_each_time(tmp_path: Path):
    # What Jupyter does with cells, without Jupyter, which is heavier than all else we install:
    # one namespace, one event loop that runs already, `await` at the top level.
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", RUNS_CELLS, str(pages.NOTEBOOK)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(printed(pages.TUTORIAL), done.stdout), done.stdout
