"""Who sends a request, and whether they may; how much of one is read."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from musicgen_space.process.addresses import is_loopback
from musicgen_space.server.accounts.keys import Keys
from musicgen_space.server.api import contract
from musicgen_space.server.api.contract import Refused
from musicgen_space.server.database import OWNER, Account

__all__ = ["BODY_SECONDS", "MOST_BYTES", "Access", "fields_of", "job_name"]

MOST_BYTES = 8 * 2**20  # of a body: clips are in it
BODY_SECONDS = 30
_NAME_CHARACTERS = 255


class Access:
    """Who may do what: whoever has a key; ``open_here``: on this machine, without one, too."""

    def __init__(self, keys: Keys, *, open_here: bool) -> None:
        self._keys, self._open_here = keys, open_here

    async def account(
        self, request: HTTPConnection, scope: str, *, bearer: bool = False, key: str = ""
    ) -> Account:
        """The account that a request is of; raises ``Refused``.

        ``bearer``: its key may also come as OpenAI's clients send theirs. ``key``: the one that
        came otherwise.
        """
        key = key.strip() or request.headers.get("x-api-key", "").strip()
        if bearer and not key:
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            key = token.strip() if kind.lower() == "bearer" else ""
        if not key and self._is_owner(request):
            return await run_in_threadpool(self._keys.account, OWNER)
        account = await run_in_threadpool(self._keys.find, key) if key else None
        if account is None:
            raise Refused(contract.unknown_key())
        if account.revoked is not None:
            raise Refused(contract.unusable_key("The API key was revoked"))
        if scope not in account.scopes.split():
            raise Refused(contract.error(403, "This key may not be used for that"))
        return account

    async def count(self, account: Account) -> None:
        """Count one more job of a key; raises ``Refused`` where it has had all of this minute."""
        if account.id == OWNER:
            return
        minute = await run_in_threadpool(self._keys.count, account.id)
        if not minute.allowed:
            raise Refused(contract.rate_limited(minute.resets_at))

    def _is_owner(self, request: HTTPConnection) -> bool:
        """Whether it comes from this machine, and no page of another host made a browser send it.

        Such a page can give its own name this machine's address, but that name is in ``Host``.
        Browsers open WebSockets to anywhere, and say for whom.
        """
        here = is_loopback(request.url.hostname or "")
        if request.scope["type"] == "websocket":
            host, origin = request.headers.get("host"), request.headers.get("origin")
            here = here and origin in (None, f"http://{host}", f"https://{host}")
        return self._open_here and here and "authorization" not in request.headers


async def fields_of(request: Request) -> dict[str, Any]:
    """The fields in a body of JSON; raises ``Refused``."""
    # Browsers ask first before they send this type for another site, and get no answer.
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refused(contract.wrong_content_type())
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _body(request)
    except TimeoutError:
        raise Refused(contract.error(408, "The body did not come in time")) from None
    return await run_in_threadpool(contract.parsed, body)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise Refused(contract.error(413, f"A body must have at most {MOST_BYTES} bytes"))
    return bytes(body)


def job_name(request: Request) -> str | None:
    """What a client calls its job; raises ``Refused``."""
    name = request.headers.get("idempotency-key")
    if name is not None and not 0 < len(name.strip()) <= _NAME_CHARACTERS:
        limit = f"must have 1 to {_NAME_CHARACTERS} characters"
        raise Refused(contract.error(400, f"Idempotency-Key {limit}"))
    return name
