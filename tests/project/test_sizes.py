"""A file is one noun of the glossary: under 600 lines, its functions under 50.

Docstrings don't count: a public method may say as much as its users need.
"""

import ast
from pathlib import Path

import pytest

from tests.project.repository import SRC, files, is_generated, name

MAX_FILE = 600
MAX_FUNCTION = 50

SOURCES = [path for path in files(".py", under=SRC) if not is_generated(path.read_text())]


def docstring_lines(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> int:
    if ast.get_docstring(node, clean=False) is None:
        return 0
    docstring = node.body[0]
    return (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_file_and_its_functions_are_short(path: Path):
    text = path.read_text()
    tree = ast.parse(text)
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docs = sum(docstring_lines(node) for node in ast.walk(tree) if isinstance(node, documented))
    lines = len(text.splitlines()) - docs
    assert lines < MAX_FILE, f"{name(path)} has {lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
            assert length < MAX_FUNCTION, f"{name(path)}: {node.name}() has {length} lines"
