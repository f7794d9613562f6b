"""Tools for tests: of steps, of workflows, and (in ``conformance``) of stores."""

from gorkflow.testing._context import FakeContext, Report, context
from gorkflow.testing._engine import VirtualEngine
from gorkflow.testing._instrument import with_fakes
from gorkflow.testing._run import PlayOptions, Result, run, run_sync
from gorkflow.testing.crash import (
    CrashCampaign,
    CrashOptions,
    CrashReport,
    Doubled,
    crash_at_every_commit,
)
from gorkflow.testing.explore import Difference, Exploration, ExploreOptions, explore
from gorkflow.testing.virtual_time import (
    StuckError,
    VirtualClock,
    VirtualLoop,
    in_virtual_time,
    outside,
)

__all__ = [
    "CrashCampaign",
    "CrashOptions",
    "CrashReport",
    "Difference",
    "Doubled",
    "Exploration",
    "ExploreOptions",
    "FakeContext",
    "PlayOptions",
    "Report",
    "Result",
    "StuckError",
    "VirtualClock",
    "VirtualEngine",
    "VirtualLoop",
    "context",
    "crash_at_every_commit",
    "explore",
    "in_virtual_time",
    "outside",
    "run",
    "run_sync",
    "with_fakes",
]
