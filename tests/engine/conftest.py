"""What the engine's tests share, beside ``support``."""

import hashlib
import itertools
import os

import pytest

from gorkflow.stores import open_store

from .support import broken, calls


@pytest.fixture(autouse=True)
def _fresh():
    calls.clear()
    broken.clear()


@pytest.fixture(autouse=True)
def _on_another_store(request, monkeypatch):
    """Keep runs in PostgreSQL where `GORKFLOW_TEST_STORE=postgresql` asks for it.

    A schema stands for each file, and for each store in memory.
    """
    if os.environ.get("GORKFLOW_TEST_STORE") != "postgresql":
        return
    if request.node.get_closest_marker("own_store"):
        pytest.skip("is about the store that it names")
    from tests.stores.postgres.server import shared

    made = itertools.count()

    def open_elsewhere(url):
        kind, _, rest = str(url).partition(":")
        if kind not in {"memory", "sqlite"}:
            return open_store(url)
        place = f"{request.node.nodeid} {next(made)}" if kind == "memory" else rest.split("?")[0]
        name = hashlib.sha256(place.encode()).hexdigest()[:16]
        return open_store(shared().url(schema=f"engine_{name}"))

    monkeypatch.setattr("gorkflow.engine._settings.open_store", open_elsewhere)
