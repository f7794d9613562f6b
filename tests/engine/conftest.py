"""What the engine's tests share, beside ``support``."""

import pytest

from .support import broken, calls


@pytest.fixture(autouse=True)
def _fresh():
    calls.clear()
    broken.clear()
