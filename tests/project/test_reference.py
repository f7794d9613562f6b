"""The reference: it is made of the docstrings, and their examples run.

An example stands in the section `Example:` of a docstring. It is Python that may `await`, or a
session with `>>>`. It runs alone, in an empty folder, so it imports all that it uses.
"""

import ast
import asyncio
import doctest
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scripts import reference

ENTRIES = {
    f"{door}.{entry.name}": entry
    for door in reference.FRONT_DOORS
    for entry in reference.entries(door)
}
EXAMPLES = {
    name: entry.example()
    for whole in ENTRIES.values()
    for name, entry in {it.name: it for it in (whole, *whole.members)}.items()
    if entry.example()
}
NO_EXAMPLE_NEEDED = ("gorkflow.events.", "gorkflow.store.")
"""The page of events shows how to read them all; a store has its conformance suite."""
WITHOUT_EXAMPLE: set[str] = set()
"""Public classes and functions that still lack an example. The set only gets smaller."""
WITHOUT_DOCSTRING = {
    "gorkflow.events.ClockChange",
    "gorkflow.events.Ref",
    "gorkflow.step",
}
"""Public names that still lack a docstring. The set only gets smaller."""


def test_the_reference_is_made_of_the_docstrings():
    pages = reference.pages()
    found = {path: path.read_text(encoding="utf-8") for path in reference.FOLDER.glob("*.md")}
    assert found == pages, "run scripts/reference.py"


def test_public_classes_and_functions_have_examples():
    lacking = {
        name
        for name, entry in ENTRIES.items()
        if not isinstance(entry.node, ast.Assign | ast.AnnAssign)
        and not name.startswith(NO_EXAMPLE_NEEDED)
        and not entry.example()
    }
    assert lacking <= WITHOUT_EXAMPLE


def test_public_names_have_docstrings():
    lacking = {name for name, entry in ENTRIES.items() if not entry.docstring}
    assert lacking <= WITHOUT_DOCSTRING


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    code = EXAMPLES[name]
    if code.startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(code, module.__dict__, name, None, None)
        assert not doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed
        return
    (tmp_path / "example.py").write_text(code)  # what reads functions finds their source
    compiled = compile(
        code, tmp_path / "example.py", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    with asyncio.Runner() as runner:
        result = eval(compiled, module.__dict__)
        if inspect.iscoroutine(result):
            runner.run(result)
