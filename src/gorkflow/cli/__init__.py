"""The command line: runs workflows, shows runs, draws flow trees. Start reading at ``_app``."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main", "version"]


def main() -> NoReturn:
    """Run the command line with the arguments of this process, and exit."""
    try:
        from gorkflow.cli._app import cli

        cli(prog_name="gorkflow")
    except KeyboardInterrupt:  # while our own modules were being imported
        pass
    sys.exit(130)


def version() -> str:
    """Return the version of gorkflow."""
    from gorkflow import __version__

    return __version__
