"""The pages: HTML for people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from gorkflow.web import _run_page, _runs_page, _upkeep_pages, _workflow_pages
from gorkflow.web._render import make_environment
from gorkflow.web._visit import Visit

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from gorkflow.web.site import Site

Page = Callable[[Visit], Awaitable[dict[str, Any]]]
"""Returns what a template shows."""

_PAGES: tuple[tuple[str, str, str, Page], ...] = (  # its address, template, part of the site, view
    ("/", "runs.html", "", _runs_page.show),
    ("/runs/{run_id}", "run.html", "", _run_page.show),
    ("/runs/{run_id}/rerun", "rerun.html", "", _run_page.show_rerun),
    ("/workflows", "workflows.html", "workflows", _workflow_pages.show_all),
    ("/workflows/{workflow_id}", "workflow.html", "workflows", _workflow_pages.show),
    ("/workflows/{workflow_id}/start", "start.html", "workflows", _workflow_pages.show_form),
    ("/schedules", "schedules.html", "schedules", _upkeep_pages.show_schedules),
    ("/limits", "limits.html", "limits", _upkeep_pages.show_limits),
    ("/workers", "workers.html", "workers", _upkeep_pages.show_workers),
)
_HERE = Path(__file__).parent
_FILES = {
    "page.css": (_HERE / "static" / "page.css", "text/css"),
    "page.js": (_HERE / "static" / "page.js", "text/javascript"),
    "icon.svg": (_HERE / "static" / "icon.svg", "image/svg+xml"),
    "flow.css": (_HERE.parent / "insight" / "flow.css", "text/css"),
}


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the pages, and of the files that they need."""
    environment = make_environment()

    def route(address: str, template: str, here: str, page: Page) -> Route:
        drawn = environment.get_template(template)

        async def answer(request: Request) -> Response:
            visit = Visit(site, request)
            shown = {**visit.context(), "here": here, **await page(visit)}
            return HTMLResponse(await site.views.apart(drawn.render, shown))

        return Route(address, answer, methods=["GET"])

    def file(name: str) -> Route:
        path, kind = _FILES[name]

        async def answer(_: Request) -> Response:
            return FileResponse(path, media_type=kind)

        return Route(f"/static/{name}", answer, methods=["GET"])

    return [*(route(*each) for each in _PAGES), *map(file, _FILES)]
