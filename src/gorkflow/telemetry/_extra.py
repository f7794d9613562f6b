"""The extras of telemetry: packages of others, imported when an observer needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def imported(module: str, extra: str) -> Any:
    """Return a module of an extra.

    Args:
        module: its name.
        extra: the extra of gorkflow that brings it.

    Raises:
        ModuleNotFoundError: If it is not installed. The message says how to get it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"this needs the package {package}; "
            f"run pip install '.[{extra}]' in the clone of gorkflow",
            name=package,
        ) from error
