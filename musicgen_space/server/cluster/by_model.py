"""Sound that is heard while it is made comes from a server that has its model in memory already.

Ray's proxy finds that server by a header, which no client knows of: whoever gets a request without
one reads its body for the model, and asks the proxy again.

    client ─▶ proxy ─▶ any server ─▶ proxy ─▶ a server that has the model, or as few as any

What is made from the database needs none of this: servers choose there themselves.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
from ray import serve
from starlette.requests import Request

from musicgen_space.server.accounts.access import BODY_SECONDS, MOST_BYTES
from musicgen_space.server.api.contract import Refused
from musicgen_space.server.service import Service
from musicgen_space.server.watched import Cut

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ByModel"]

_PATH = "/v1/audio/generate"
_MODEL = b"serve_multiplexed_model_id"  # Ray's own name for it
# Of one connection only, or written by each server that passes an answer on.
_NOT_PASSED_ON = (
    *(b"connection", b"content-length", b"date", b"expect", b"server", b"transfer-encoding"),
)


class ByModel:
    """``api``, but that Ray's proxy at ``url`` is asked for a server that has the model."""

    def __init__(self, api: ASGIApp, service: Service, url: str) -> None:
        self._api, self._service = api, service
        self._proxy = httpx.AsyncClient(base_url=url, timeout=None, trust_env=False)
        most = service.settings.max_models
        self._have = serve.multiplexed(_have, max_num_models_per_replica=most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or have it served."""
        names = self._service.catalogue.names()
        if scope["path"] != _PATH or len(names) <= 2:  # the default has two names
            await self._api(scope, receive, send)
        elif model := serve.get_multiplexed_model_id():
            if self._service.catalogue.choice(model) is not None:
                await self._have(model)
            await self._api(scope, receive, send)
        elif await self._is_known(scope):
            await self._place(scope, receive, send)
        else:
            await self._api(scope, receive, send)  # which refuses strangers

    async def _place(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, whole = await _read(receive)
        model = self._model(body) if whole else None
        if model is not None:
            # On its own: whoever goes is cancelled again and again, also while this hangs up.
            passing = asyncio.create_task(self._passed(scope, body, model, receive, send))
            try:
                if await asyncio.shield(passing):
                    return
            finally:
                passing.cancel()
        await self._api(scope, _after(body, receive, more=not whole), send)

    async def _passed(
        self, scope: Scope, body: bytes, model: str, receive: Receive, send: Send
    ) -> bool:
        """Pass a request and its answer on; False where the proxy can't be reached."""
        headers = [*_passed_on(scope["headers"]), (_MODEL, model.encode())]
        try:
            request = self._proxy.stream("POST", _PATH, content=body, headers=headers)
            async with request as answer:
                await _relay(answer, receive, send)
        except httpx.ConnectError:
            return False
        except httpx.TransportError:
            raise Cut from None
        return True

    async def _is_known(self, scope: Scope) -> bool:
        try:
            await self._service.access.account(Request(scope), "music", bearer=True)
        except Refused:
            return False
        return True

    def _model(self, body: bytes) -> str | None:
        """The public name of the model that a body asks for; None where it makes no sense."""
        catalogue = self._service.catalogue
        try:
            name = json.loads(body).get("model")
        except (ValueError, RecursionError, AttributeError):
            return None
        choice = catalogue.choice(name) if isinstance(name, str | None) else None
        return None if choice is None else catalogue.public(choice)


async def _have(model: str) -> str:
    """Tell Ray that this server has a model: the backend loads it for the first take, and keeps
    as many.
    """
    return model


async def _read(receive: Receive) -> tuple[bytes, bool]:
    """A body, and whether it is whole: the API refuses others."""
    body = bytearray()
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            while len(body) <= MOST_BYTES:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    return bytes(body), message["type"] == "http.request"
    return bytes(body), False


def _after(body: bytes, receive: Receive, *, more: bool) -> Receive:
    """What was received already, and then the rest."""
    before: list[Message] = [{"type": "http.request", "body": body, "more_body": more}]

    async def again() -> Message:
        return before.pop() if before else await receive()

    return again


def _passed_on(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _NOT_PASSED_ON]


async def _relay(answer: httpx.Response, receive: Receive, send: Send) -> None:
    """An answer as it comes, as long as its client is there."""
    start = {"status": answer.status_code, "headers": _passed_on(answer.headers.raw)}
    await send({"type": "http.response.start", **start})
    tasks = asyncio.create_task(_pass(answer, send)), asyncio.create_task(_left(receive))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0] in done:
            tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # before the connection is closed


async def _pass(answer: httpx.Response, send: Send) -> None:
    async for piece in answer.aiter_raw():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
