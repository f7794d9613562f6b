"""What users write has the types that we say: mypy and pyright report what is marked, and no more.

Judged are `typing_tests/`, where a line with ``# error`` must not type-check, and the Python blocks
of README.md and docs/, where ``# rejected`` marks such a line.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from shutil import copy

import pytest

from scripts import pages
from tests.project.repository import PAGES, ROOT, name, write_files

pytestmark = pytest.mark.slow

MARK = re.compile("# (error|rejected)")
AWAITS = re.compile(r"outside (of )?(async )?function|only within async function")
"""Pages may await at the top level, as a notebook does."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with each of the typing tests, each page as a module, and their files."""
    folder = tmp_path_factory.mktemp("typed")
    for page in PAGES:
        if pages.program(page.read_text()).strip():
            module = re.sub(r"\W", "_", name(page).lower())
            (folder / f"page_{module}.py").write_text(pages.program(page.read_text()))
        write_files(page, folder)
    for path in (ROOT / "typing_tests").glob("*.py"):
        assert not (folder / path.name).exists(), f"a page has a file {path.name}, too"
        copy(path, folder)
    return folder


def run(folder: Path, command: list[str]) -> str:
    assert find_spec(command[0]), f"{command[0]} is missing: pip install -e '.[dev]'"
    search = os.pathsep.join([str(ROOT / "src"), str(folder)])
    return subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": search, "NO_COLOR": "1"},
    ).stdout


def mypy(folder: Path, cache: Path) -> list[tuple[str, int, str]]:
    """Return the errors that mypy reports: file, line, text."""
    command = ["mypy", "--strict", "--no-error-summary", "--cache-dir", str(cache)]
    output = run(folder, [*command, *sorted(map(str, folder.glob("*.py")))])
    found = re.findall(r"^(\S+?):(\d+): error: (.*)$", output, re.MULTILINE)
    assert found, output
    return [(Path(path).name, int(line), text) for path, line, text in found]


def pyright(folder: Path, cache: Path) -> list[tuple[str, int, str]]:
    """Return the errors that pyright reports: file, line, text."""
    settings = {
        "include": [str(folder)],
        "extraPaths": [str(ROOT / "src"), str(folder)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "reportDuplicateImport": False,  # each program of a page says what it imports
    }
    project = cache / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    output = run(
        folder,
        ["basedpyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(project)],
    )
    found = [
        (Path(item["file"]).name, item["range"]["start"]["line"] + 1, item["message"])
        for item in json.loads(output)["generalDiagnostics"]
        if item["severity"] == "error"
    ]
    assert found, output
    return found


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_it_agrees_with_the_marks(
    checker: Callable[[Path, Path], list[tuple[str, int, str]]], folder: Path, tmp_path: Path
) -> None:
    marked = {
        (path.name, number)
        for path in folder.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MARK.search(line)
    }
    errors = {
        (file, line): text
        for file, line, text in checker(folder, tmp_path)
        if not (file.startswith("page_") and AWAITS.search(text))
    }
    assert not {place: text for place, text in errors.items() if place not in marked}
    assert not marked - errors.keys(), "these lines must not type-check, but do"


def test_the_overloads_are_as_generated():
    spec = importlib.util.spec_from_file_location(
        "generate_overloads", ROOT / "scripts" / "generate_overloads.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text(encoding="utf-8") == module.generate(), (
        "run scripts/generate_overloads.py"
    )
