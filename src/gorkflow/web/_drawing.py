"""A drawing as an answer."""

from __future__ import annotations

from starlette.responses import Response


def drawing(svg: str) -> Response:
    """Return a picture, which has its own style and nothing that runs."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return Response(svg, media_type="image/svg+xml", headers={"Content-Security-Policy": policy})
