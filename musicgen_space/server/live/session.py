"""One live session over a WebSocket: who it is, what they wish, the sound, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from musicgen_space.errors import (
    DatabaseUnavailable,
    InvalidRequest,
    LiveFull,
    LiveOver,
    MusicGenSpaceError,
)
from musicgen_space.live import Heard, LiveControls
from musicgen_space.server.accounts.keys import as_credits
from musicgen_space.server.api import contract
from musicgen_space.server.api.contract import Refused
from musicgen_space.server.api.envelope import in_openai_s_words, refusal
from musicgen_space.server.database import OWNER, Account
from musicgen_space.server.live.messages import (
    Start,
    event_of,
    heard_event,
    heard_seconds,
    pcm,
    steered_fields,
)
from musicgen_space.server.live.player import Player
from musicgen_space.server.service import Service

__all__ = ["MOST_MESSAGE_BYTES", "Session"]

_MOST_CHARACTERS = 2**16  # of a message
MOST_MESSAGE_BYTES = 4 * _MOST_CHARACTERS  # in UTF-8, for the server before
_START_SECONDS = 10.0  # for the first message
_IDLE_SECONDS = 60.0  # without a word of what was heard, where there were such words
_LOOK_SECONDS = 1.0
_MINUTE = 60.0

# Codes of RFC 6455, 7.4.1; those of errors are 4000 and the status that the HTTP API has.
_NORMAL, _GOING_AWAY, _ERRORS = 1000, 1001, 4000
_CODES = {"stopped": _NORMAL, "time": _NORMAL, "server": _GOING_AWAY, "idle": _ERRORS + 408}


class Session:
    """What goes on between ``service`` and one client."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self._service, self._socket = service, socket
        self._id = uuid.uuid4().hex
        self._sent = 0.0  # seconds of sound
        self._minutes = 0  # that were paid
        self._confirmed: float | None = None  # when the client last said what it has heard
        self._said: dict[str, Any] = {}  # of the sound, but for its start
        self._gone = False

    async def run(self) -> None:
        """From the first message to the last; the client may go at any time."""
        with contextlib.suppress(WebSocketDisconnect):
            await self._socket.accept(headers=[(b"x-request-id", self._id.encode())])
            try:
                reason = await self._play(*await self._begun())
                code = _CODES[reason]
            except Refused as refused:
                reason, code = "error", _ERRORS + await self._refuse(refused)
            await self._say({"type": "ended", "reason": reason})
            await self._socket.close(code)

    # Its beginning.

    async def _begun(self) -> tuple[Account, Start]:
        """Whose session it is and what they wish; raises ``Refused``."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                fields = await self._message()
        except TimeoutError:
            raise Refused(refusal(408, "The first message did not come in time")) from None
        key = fields.pop("api_key", "")
        if not isinstance(key, str):
            raise Refused(refusal(400, "api_key must be text", "api_key"))
        with _refused():
            access = self._service.access
            account = await access.account(self._socket, "music", bearer=True, key=key)
            await access.count(account)
            return account, await self._understood(account, fields)

    async def _understood(self, account: Account, fields: dict[str, Any]) -> Start:
        start = await run_in_threadpool(Start.of, fields, self._service.catalogue)
        if start is None:
            raise Refused(refusal(404, "The model does not exist: see /v1/models", "model"))
        if not self._service.players.plays_live:
            raise Refused(refusal(404, "There is no live music on this server"))
        price = self._service.price(account.id)
        if price and account.available < price:
            raise Refused(_poor(account, price))
        return start

    # The music.

    async def _play(self, account: Account, start: Start) -> str:
        """Send what is made; → why it has ended. Raises ``Refused``."""
        controls, players = LiveControls(start.wish), self._service.players
        player = players.begin(controls, f"api-{account.id}")
        listening = asyncio.create_task(self._listen(controls))
        try:
            with _refused(), self._service.metrics.live_session():
                reason = await self._sent_all(player, controls, account, start)
        except LiveOver:
            reason = "time"
        finally:
            players.end(controls)
            listening.cancel()
            await asyncio.wait([listening])
        if not listening.cancelled():
            listening.result()
        if self._gone:
            raise WebSocketDisconnect
        return reason

    async def _sent_all(
        self, player: Player, controls: LiveControls, account: Account, start: Start
    ) -> str:
        while True:
            try:
                update = await player.next(_LOOK_SECONDS)
            except TimeoutError:
                if self._is_idle:
                    return "idle"
                continue
            if update is None:
                return "server" if self._service.closing else "stopped"
            if not isinstance(update, Heard):
                await self._say(event_of(update))
                continue
            await self._pay(account, update.start)
            await self._send(update, start)
            if self._confirmed is None:
                controls.fetched = self._sent

    async def _pay(self, account: Account, second: float) -> None:
        """Charge for the minute that begins, if one does; raises ``Refused``."""
        if account.id == OWNER or second < self._minutes * _MINUTE:
            return
        self._minutes += 1
        keys, price = self._service.keys, self._service.price(account.id)
        if not await run_in_threadpool(keys.charge, account.id, price):
            now = await run_in_threadpool(keys.account, account.id)
            revoked = contract.unusable_key("The API key was revoked")
            raise Refused(_poor(now, price) if now.revoked is None else revoked)

    async def _send(self, heard: Heard, start: Start) -> None:
        channels, count = heard.samples.shape
        if not self._said:
            facts = {"sample_rate": heard.sample_rate, "channels": channels}
            model = self._service.catalogue.public(start.wish.request.model or "")
            made = {"model": model, "seed": start.wish.request.seed}
            await self._say(
                {"type": "started", "id": self._id, **facts, "format": start.format, **made}
            )
        event = heard_event(heard)
        said = {name: value for name, value in event.items() if name != "start"}
        if said != self._said:
            self._said = said
            await self._say(event)
        await self._socket.send_bytes(pcm(heard.samples, start.format))
        self._sent = heard.start + count / heard.sample_rate
        self._service.metrics.live_sound(count / heard.sample_rate)

    @property
    def _is_idle(self) -> bool:
        """Whether a client that says what it has heard doesn't any more."""
        if self._confirmed is None:
            return False
        return time.monotonic() - self._confirmed > _IDLE_SECONDS

    # What the client says meanwhile.

    async def _listen(self, controls: LiveControls) -> None:
        """Do what it says, until it goes; what makes no sense is told, and the music goes on."""
        try:
            while not controls.stopped:
                try:
                    with _refused():
                        self._obey(await self._message(), controls)
                except Refused as refused:
                    await self._refuse(refused)
        except WebSocketDisconnect:
            self._gone = True
        finally:
            controls.stop()

    def _obey(self, message: dict[str, Any], controls: LiveControls) -> None:
        kind = message.pop("type", None)
        if kind == "steer":
            controls.steer(**steered_fields(message))
        elif kind == "heard":
            heard = min(heard_seconds(message), self._sent)
            self._confirmed = time.monotonic()
            controls.fetched = max(controls.fetched, heard)
        elif kind == "stop":
            controls.stop()
        else:
            raise InvalidRequest("type", kind, "must be one of ['steer', 'heard', 'stop']")

    # Both ways.

    async def _message(self) -> dict[str, Any]:
        """The next one; raises ``Refused`` for what is no JSON object, and when the client goes."""
        received = await self._socket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005))
        text = received.get("text")
        if text is None:
            raise Refused(refusal(400, "A message must be a JSON object, sent as text"))
        if len(text) > _MOST_CHARACTERS:
            limit = f"A message must have at most {_MOST_CHARACTERS} characters"
            raise Refused(refusal(413, limit))
        return contract.parsed(text.encode("utf-8", "surrogatepass"))

    async def _say(self, event: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(event))

    async def _refuse(self, refused: Refused) -> int:
        """Say why; → the status that the HTTP API would have."""
        response = in_openai_s_words(refused.response)
        await self._say({"type": "error", **json.loads(bytes(response.body))})
        return response.status_code


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Errors of ours as the HTTP API tells them, but for the end of a session's time."""
    try:
        yield
    except LiveOver:
        raise
    except InvalidRequest as problem:
        raise Refused(refusal(400, str(problem), problem.field)) from None
    except MusicGenSpaceError as problem:
        status = {LiveFull: 429, DatabaseUnavailable: 503}.get(type(problem), 500)
        raise Refused(refusal(status, str(problem))) from None


def _poor(account: Account, price: int) -> Response:
    return contract.insufficient_credits(as_credits(account.available), as_credits(price))
