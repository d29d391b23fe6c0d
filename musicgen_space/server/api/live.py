"""``WS /v1/live``: music that goes on, and that programs steer; ``GET`` shows an example."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, WebSocket
from starlette.responses import FileResponse, Response

from musicgen_space.server.live.session import Session
from musicgen_space.server.service import Service

__all__ = ["live_routes"]

_EXAMPLE = Path(__file__).with_name("live.html")
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; frame-ancestors 'none'"
)


def live_routes(service: Service) -> APIRouter:
    """The endpoints over ``service``."""
    router = APIRouter()

    @router.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        await Session(service, socket).run()

    @router.get("/v1/live", include_in_schema=False)
    async def example() -> Response:
        return FileResponse(_EXAMPLE, headers={"content-security-policy": _POLICY})

    return router
