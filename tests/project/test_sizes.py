"""A file is one noun of the glossary: under 600 lines, its functions under 50."""

import ast
from pathlib import Path

import pytest

from tests.project.repository import SRC, files, is_generated, name

MAX_FILE = 600
MAX_FUNCTION = 50

SOURCES = [path for path in files(".py", under=SRC) if not is_generated(path.read_text())]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_file_and_its_functions_are_short(path: Path):
    text = path.read_text()
    lines = len(text.splitlines())
    assert lines < MAX_FILE, f"{name(path)} has {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length < MAX_FUNCTION, f"{name(path)}: {node.name}() has {length} lines"
