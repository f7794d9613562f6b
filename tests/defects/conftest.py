import pytest


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    """A store of either kind."""
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'runs.db'}"


@pytest.fixture
def file(tmp_path):
    """A store that outlives an engine."""
    return f"sqlite:{tmp_path / 'runs.db'}"
