"""Both type checkers report an error on each line marked ``# error``, and on no other."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "typing_tests").glob("*.py"))
MARK = "# error"


def marked_lines() -> set[str]:
    return {
        f"{path.name}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MARK in line
    }


def compare(found: dict[str, str]) -> None:
    marked = marked_lines()
    unexpected = {place: text for place, text in found.items() if place not in marked}
    assert not unexpected
    assert not marked - found.keys(), "these lines must not type-check, but do"


def run(command: list[str]) -> str:
    search = os.pathsep.join([str(ROOT / "src"), str(ROOT / "typing_tests")])
    environment = {**os.environ, "MYPYPATH": search, "NO_COLOR": "1"}
    assert find_spec(command[2]), f"{command[2]} is missing: pip install -e '.[dev]'"
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    ).stdout


def test_mypy_agrees_with_the_marks(tmp_path: Path):
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    output = run([*command, "--cache-dir", str(tmp_path), *map(str, FILES)])
    errors = re.findall(r"^(\S+?):(\d+): error: (.*)$", output, re.MULTILINE)
    assert errors, output
    compare({f"{Path(path).name}:{line}": text for path, line, text in errors})


def test_pyright_agrees_with_the_marks(tmp_path: Path):
    settings = {
        "include": [str(ROOT / "typing_tests")],
        "extraPaths": [str(ROOT / "src"), str(ROOT / "typing_tests")],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable]
    output = run([*command, "--outputjson", "-p", str(project)])
    report = json.loads(output)["generalDiagnostics"]
    found = {
        f"{Path(item['file']).name}:{item['range']['start']['line'] + 1}": item["message"]
        for item in report
        if item["severity"] == "error"
    }
    assert found, output
    compare(found)


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
