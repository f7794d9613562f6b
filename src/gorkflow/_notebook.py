"""The way from an object to its drawings, which know the object: Jupyter asks it for them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

Bundle = dict[str, str]
"""A drawing in several formats, by MIME type."""


def drawn(kind: str, *args: object) -> Bundle:
    """Return the drawing of an object.

    Args:
        kind: The function of ``gorkflow.insight.notebook`` that draws it.
        args: Its arguments.
    """
    notebook = import_module("gorkflow.insight.notebook")
    return cast("Callable[..., Bundle]", getattr(notebook, kind))(*args)
