"""The page: runs, workflows, schedules, limits and workers in a browser, and the same as JSON."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gorkflow.web.app import app

__all__ = ["app"]

if not TYPE_CHECKING:  # else any name would do

    def __getattr__(name: str) -> object:
        """Import the app, and what the extra brings, when it is used.

        Raises:
            ModuleNotFoundError: If the extra is not installed.
        """
        if name != "app":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from gorkflow.web.app import app
        except ModuleNotFoundError as error:
            if error.name not in {"starlette", "uvicorn", "jinja2"}:
                raise
            raise ModuleNotFoundError(
                f"the page needs {error.name}: run pip install 'gorkflow[web]'", name=error.name
            ) from None
        globals()["app"] = app
        return app
