"""What all tests share."""

import gc
import os

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None)  # other work on the machine is no failure
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the tests marked `full`, unless they are asked for."""
    if os.environ.get("GORKFLOW_TEST_SIZE") != "full":
        skip = pytest.mark.skip(reason="full: runs with `make test-all`")
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Spare the garbage collector all that lives as long as the tests: half a million objects."""
    gc.collect()
    gc.freeze()
