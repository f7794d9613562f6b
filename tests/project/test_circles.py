"""No two modules know each other, not even in their annotations, but for the pairs named here.

Import-linter checks the layers. This finds circles within a layer, too, of any length.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.project.repository import SRC, files

PAIRS = {frozenset({"gorkflow.language._overloads", "gorkflow.workflow"})}
"""Types of the language that can't be told apart in two files."""


def test_no_module_knows_one_that_knows_it():
    graph = {module: known_by(module, path, modules()) for module, path in modules().items()}
    for pair in PAIRS:
        one, other = sorted(pair)
        graph[one].discard(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_the_pairs_are_still_needed():
    found = modules()
    for pair in PAIRS:
        for one, other in (sorted(pair), sorted(pair, reverse=True)):
            assert other in known_by(one, found[one], found)


def modules() -> dict[str, Path]:
    return {_name(path): path for path in files(".py", under=SRC)}


def _name(path: Path) -> str:
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def known_by(module: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules that a module imports, also in functions and for its annotations."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return (found & known.keys()) - {module, "gorkflow"}
