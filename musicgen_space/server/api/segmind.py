"""Segmind's endpoints: v1 blocks, v2 is polled, both for all models and fields of this server."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from musicgen_space.audio.files import FORMATS
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.server.accounts.access import fields_of, job_name
from musicgen_space.server.accounts.keys import as_credits
from musicgen_space.server.api import contract, schema
from musicgen_space.server.api.catalogue import Wish
from musicgen_space.server.api.contract import Refused
from musicgen_space.server.database import Job
from musicgen_space.server.jobs.order import Order
from musicgen_space.server.jobs.store import COMPLETED, OPEN
from musicgen_space.server.service import Service

__all__ = ["format_accepted", "segmind_routes"]

_OTHER_NAMES = {
    **{"audio/wave": "wav", "audio/x-wav": "wav", "audio/vnd.wave": "wav"},
    **{"audio/mp3": "mp3", "audio/x-flac": "flac"},
    **{contract.media_type(name): name for name in FORMATS},
}


def segmind_routes(service: Service) -> APIRouter:
    """The endpoints over ``service``."""
    router = APIRouter(tags=["Segmind"])

    async def ordered(request: Request, model: str, *, awaited: bool) -> Job:
        account = await service.access.account(request, "music")
        await service.access.count(account)
        fields = await fields_of(request)
        wish = await run_in_threadpool(_wish, service, model, fields)
        order = Order(
            account.id,
            wish.request,
            format_accepted(request.headers.get("accept", "")),
            service.price(account.id),
            name := job_name(request),
            awaited=awaited and name is None,
            clips=wish.clips,
        )
        return (await service.submit(order))[0]

    async def known(request: Request, id: str) -> Job:
        account = await service.access.account(request, "music")
        return await service.found(id, account.id)

    @router.get("/v1/get-user-credits", **schema.CREDITS)
    async def credits_left(request: Request) -> Response:
        account = await service.access.account(request, "music")
        balance = await service.balance(account.id)
        return contract.no_balance() if balance is None else JSONResponse({"credits": balance})

    @router.post("/v1/{model}", **schema.generation("The sound, when it is made"))
    async def generate(request: Request, model: str) -> Response:
        job = await ordered(request, model, awaited=True)
        job = await service.finished(request, job)
        if job.status != COMPLETED:
            raise Refused(contract.error(500, job.error or ""))
        balance = await service.balance(job.account)
        headers = contract.receipt_headers(
            as_credits(job.price), balance, job.id, _took(job), job.fields["seed"]
        )
        model_header = {"x-model": service.catalogue.public(job.model)}
        return await service.file(job.output, headers | model_header)

    @router.post("/v2/{model}", **schema.SUBMISSION)
    async def submit(request: Request, model: str) -> Response:
        job = await ordered(request, model, awaited=False)
        return JSONResponse(contract.job_links(_address(service, request, f"requests/{job.id}")))

    @router.get("/v2/requests/{id}/status", **schema.STATUS)
    async def status(request: Request, id: str) -> Response:
        job = await known(request, id)
        if job.status not in (*OPEN, COMPLETED):
            return contract.failed_job(job.error or "")
        return JSONResponse(contract.job_status(job.id, job.status))

    @router.get("/v2/requests/{id}", **schema.RESULT)
    async def result(request: Request, id: str) -> Response:
        job = await known(request, id)
        if job.status != COMPLETED:
            return await status(request, id)
        output = _address(service, request, f"outputs/{job.output}")
        cost, balance = as_credits(job.price), await service.balance(job.account)
        queued = (job.started or job.created) - job.created
        return JSONResponse(contract.job_result(output, cost, balance, _took(job), queued))

    @router.get("/v2/outputs/{name}", **schema.FILE)
    async def output(name: str) -> Response:
        return await service.file(name)

    return router


def format_accepted(accept: str) -> str:
    """The format that an ``Accept`` likes best; WAV where it names none of ours."""
    found: list[tuple[float, str]] = []
    for part in accept.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        if name in _OTHER_NAMES:
            found.append((_quality(parameters), _OTHER_NAMES[name]))
    best, name = max(found, key=lambda each: each[0], default=(0.0, "wav"))
    return name if best > 0 else "wav"


def _quality(parameters: list[str]) -> float:
    given = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return float(given)
    except ValueError:
        return 0.0


def _wish(service: Service, model: str, fields: dict[str, Any]) -> Wish:
    """What a body asks for; raises ``Refused``."""
    if fields.get("prompt", "") in ("", None):
        raise Refused(contract.missing_field("prompt"))
    try:
        wish = service.catalogue.wish(model, fields)
    except (InvalidRequest, UnreadableAudio) as error:
        raise Refused(contract.invalid_value(str(error))) from None
    if wish is None:
        raise Refused(contract.unknown_model(model))
    return wish


def _took(job: Job) -> float:
    """Seconds that it took to make."""
    return (job.finished or 0.0) - (job.started or 0.0)


def _address(service: Service, request: Request, path: str) -> str:
    """The whole address of something of v2: as the client came here, or as the owner says."""
    root = service.settings.root_path
    host = "" if root.startswith(("http://", "https://")) else str(request.base_url).rstrip("/")
    return f"{host.removesuffix(root)}{root}/v2/{path}"
