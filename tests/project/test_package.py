"""What `pip install gorkflow` and `import gorkflow` bring along."""

import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

import gorkflow

HEAVY = ("beartype", "click", "pydantic", "rich")
MAX_PACKAGES = 12


@pytest.mark.skipif(not hasattr(gorkflow, "__all__"), reason="exports nothing yet")
def test_all_is_sorted_and_importable():
    assert list(gorkflow.__all__) == sorted(gorkflow.__all__)
    assert not [name for name in gorkflow.__all__ if not hasattr(gorkflow, name)]


def test_import_loads_nothing_heavy():
    code = f"import sys, gorkflow; print(*sys.modules.keys() & {set(HEAVY)})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert loaded.stdout.split() == []


def test_core_install_is_small():
    packages = _closure("gorkflow")
    assert set(HEAVY) < packages
    assert len(packages) <= MAX_PACKAGES, sorted(packages)


def _closure(package: str) -> set[str]:
    """Return a package and all that it needs, extras apart."""
    found: set[str] = set()
    todo = [package]
    while todo:
        current = todo.pop().lower().replace("_", "-")
        if current not in found:
            found.add(current)
            needs = [Requirement(line) for line in requires(current) or ()]
            todo += [
                need.name
                for need in needs
                if need.marker is None or need.marker.evaluate({"extra": ""})
            ]
    return found
