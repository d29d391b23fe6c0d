"""The API as an ASGI application, on its own or in front of the page."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from musicgen_space import __version__
from musicgen_space.errors import DatabaseUnavailable
from musicgen_space.server.api import contract
from musicgen_space.server.api.audio import audio_routes
from musicgen_space.server.api.contract import Refused
from musicgen_space.server.api.live import live_routes
from musicgen_space.server.api.operating import operating_routes
from musicgen_space.server.api.segmind import segmind_routes
from musicgen_space.server.service import Service
from musicgen_space.server.watched import Watched

__all__ = ["create_app", "in_front_of"]

_OURS = re.compile(r"/(v1|v2)(/.*)?|/(metrics|readyz|openapi\.json)")


def create_app(service: Service) -> ASGIApp:
    """The API over ``service``, which somebody else starts and closes."""
    app = FastAPI(
        title="MusicGen Space",
        version=__version__,
        docs_url=None,  # they load scripts of other hosts
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(DatabaseUnavailable, _no_database)
    app.add_exception_handler(Exception, _failed)
    app.include_router(operating_routes(service))
    app.include_router(audio_routes(service))
    app.include_router(live_routes(service))
    app.include_router(segmind_routes(service))
    return Watched(app, service.metrics, service.stall)


def in_front_of(api: ASGIApp) -> Callable[[ASGIApp], ASGIApp]:
    """A middleware that answers with ``api`` what is the API's, and leaves the rest to the page."""

    def middleware(page: ASGIApp) -> ASGIApp:
        async def either(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
            ours = scope["type"] in ("http", "websocket") and _OURS.fullmatch(path)
            await (api if ours else page)(scope, receive, send)

        return either

    return middleware


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response


async def _http_error(_: Request, error: Exception) -> Response:
    """What the router refuses: no such path, or another verb."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return contract.page(405, error.headers)
    return contract.error(error.status_code, "Not found")


async def _no_database(_: Request, error: Exception) -> Response:
    return contract.error(503, str(error))


async def _failed(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "Internal server error"}, 500)
