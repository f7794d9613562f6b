"""The pytest plug-in. Beside the package, so that pytest does not load that for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gorkflow.testing import CrashCampaign


@pytest.fixture
def crash_at_every_commit() -> CrashCampaign:
    """``gorkflow.testing.crash_at_every_commit``: kills an engine at each commit, and compares."""
    from gorkflow.testing import crash_at_every_commit as campaign

    return campaign
