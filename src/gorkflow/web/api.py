"""The JSON API: the routes of its operations, and the OpenAPI document about them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gorkflow.web import _runs_api, _schedules_api, _workflows_api
from gorkflow.web._answers import json_answer
from gorkflow.web._openapi import document
from gorkflow.web.site import Site

OPERATIONS = (*_runs_api.OPERATIONS, *_workflows_api.OPERATIONS, *_schedules_api.OPERATIONS)


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the API."""

    async def openapi(request: Request) -> Response:
        return json_answer(document(OPERATIONS, request.scope.get("root_path", "")))

    return [
        *(operation.route(site) for operation in OPERATIONS),
        Route("/api/openapi.json", openapi, methods=["GET"], name="openapi"),
    ]
