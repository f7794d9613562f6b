"""The page: runs, workflows, schedules, limits and workers in a browser, and the same as JSON."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gorkflow.web._app import app

__all__ = ["app"]

_EXTRA = {"h11", "jinja2", "starlette", "uvicorn"}

if not TYPE_CHECKING:  # else any name would do

    def __getattr__(name: str) -> object:
        """Import the app, and what the extra brings, when it is used.

        Raises:
            ModuleNotFoundError: If the extra is not installed.
        """
        from importlib import import_module

        if name != "app":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            found = import_module("gorkflow.web._app").app
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _EXTRA:
                raise
            raise ModuleNotFoundError(
                f"the page needs {package}: run pip install '.[web]' in the clone of gorkflow",
                name=package,
            ) from None
        globals()[name] = found
        return found
