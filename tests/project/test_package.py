"""What `pip install gorkflow` and `import gorkflow` bring along."""

import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

import gorkflow

HEAVY = ("beartype", "click", "pydantic", "rich")
LATER = ("asyncio", "gorkflow.engine", "gorkflow.store")
"""What only those need who run something."""
MAX_PACKAGES = 13


def test_all_is_sorted_and_importable():
    assert list(gorkflow.__all__) == sorted(gorkflow.__all__)
    assert not [name for name in gorkflow.__all__ if not hasattr(gorkflow, name)]
    assert set(gorkflow.__all__) <= set(dir(gorkflow))


def test_an_unknown_name_is_an_error():
    with pytest.raises(AttributeError, match="module 'gorkflow' has no attribute 'Engin'"):
        gorkflow.Engin
    with pytest.raises(ImportError, match="cannot import name 'Engin'"):
        exec("from gorkflow import Engin")


def test_front_doors_load_when_they_are_used():
    code = "import gorkflow as g; g.events.Event, g.store.Store, g.stores.open_store, g.clock.Clock"
    subprocess.run([sys.executable, "-c", f"{code}, g.testing.run"], check=True, timeout=60)


def test_import_loads_nothing_heavy():
    names = (*HEAVY, *LATER)
    code = f"import sys, gorkflow; print(*sys.modules.keys() & set({names}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert loaded.stdout.split() == []


def test_a_process_for_steps_loads_no_engine():
    code = f"import sys, gorkflow.engine._processes; print(*sys.modules.keys() & set({LATER}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert loaded.stdout.split() == ["gorkflow.engine"]  # the package, which is empty


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
