"""The command line: runs workflows, shows runs, draws flow trees. Start reading at ``_app``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line with the arguments of this process, and exit."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us; this one takes its number
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: PTH123, SIM115
    try:
        from gorkflow.cli._app import cli

        cli(prog_name="gorkflow")
    except SystemExit as stop:
        from gorkflow.cli._leaving import leave_behind

        leave_behind(stop.code)
        raise
    except KeyboardInterrupt:  # while our own modules were being imported
        pass
    sys.exit(130)
