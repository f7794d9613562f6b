"""The pages: HTML for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from gorkflow.web.site import Site


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the pages."""
    del site
    return []
