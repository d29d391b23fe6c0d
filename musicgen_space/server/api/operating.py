"""For whoever operates the server: is it well, does it take orders, what has it done."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from musicgen_space.server.api import contract, schema
from musicgen_space.server.service import Service

__all__ = ["operating_routes"]

_STATUS = schema.json_of({"type": "object", "required": ["status"]})


def operating_routes(service: Service) -> APIRouter:
    """The endpoints over ``service``."""
    router = APIRouter(tags=["Operating"])

    @router.get("/healthz", responses={200: {"description": "It runs", "content": _STATUS}})
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz", responses=schema.responses(_STATUS, "Orders are taken"))
    async def readyz() -> Response:
        if not service.ready:
            return contract.error(503, "The server is stopping")
        await run_in_threadpool(_waiting, service)  # raises what the database does
        return JSONResponse({"status": "ready"})

    @router.get(
        "/metrics",
        **schema.described(
            schema.responses(
                {"text/plain": {"schema": {"type": "string"}}}, "Metrics for Prometheus", 401, 403
            )
        ),
    )
    async def metrics(request: Request) -> Response:
        await service.access.account(request, "metrics", bearer=True)
        waiting = await run_in_threadpool(_waiting, service)
        return Response(service.metrics.text(waiting), media_type=CONTENT_TYPE_LATEST)

    return router


def _waiting(service: Service) -> int:
    return service.jobs.waiting() if service.database.is_there else 0
