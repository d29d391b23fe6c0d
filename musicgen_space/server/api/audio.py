"""``POST /v1/audio/generate`` as vLLM-Omni has it, but that sound is sent while it is made.

Its fields: docs.vllm.ai/projects/vllm-omni, "Audio Generate API". Events are those of OpenAI's
speech endpoint. Errors are in OpenAI's envelope.
"""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from musicgen_space.audio.clips import decode
from musicgen_space.audio.files import FORMATS
from musicgen_space.audio.resample import to_int16
from musicgen_space.backends.base import Chunk
from musicgen_space.errors import (
    InvalidRequest,
    MusicGenSpaceError,
    QueueFull,
    UnreadableAudio,
)
from musicgen_space.request import CLIP_LIMITS, RANDOM_SEED
from musicgen_space.server.accounts.access import fields_of, job_name
from musicgen_space.server.api import schema
from musicgen_space.server.api.catalogue import Wish
from musicgen_space.server.api.contract import Refused, media_type
from musicgen_space.server.api.envelope import envelope, in_openai_s_words, refusal
from musicgen_space.server.database import Job
from musicgen_space.server.jobs.live import Live
from musicgen_space.server.jobs.order import FIELDS, Order
from musicgen_space.server.jobs.store import COMPLETED, OPEN
from musicgen_space.server.service import Service, too_many
from musicgen_space.server.watched import Cut

__all__ = ["audio_routes"]

_STREAMED = ("wav", "pcm")
_NAMES = {"input": "prompt", "audio_length": "duration"}  # theirs → ours
# What a diffusion model or a player does: only as usual here.
_FIXED: dict[str, tuple[object, ...]] = {
    "speed": (None, 1, 1.0),
    "audio_start": (None, 0, 0.0),
    "num_inference_steps": (None,),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "response_format": ("wav", "pcm", *(name for name in FORMATS if name != "wav")),
    "stream_format": ("audio", "sse"),
}
_LOOK_SECONDS = 0.5  # between looks whether a client is still there


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked for: the music, and how it is sent."""

    music: Wish
    format: str
    events: bool

    @property
    def kept_as(self) -> str:
        """The format of the file that is kept."""
        return "wav" if self.format == "pcm" else self.format


def audio_routes(service: Service) -> APIRouter:
    """The endpoints over ``service``."""
    router = APIRouter(tags=["Audio"])
    begun = int(time.time())

    @router.get("/v1/models", **schema.MODELS)
    async def models(request: Request) -> Response:
        try:
            await service.access.account(request, "music", bearer=True)
        except Refused as refused:
            raise Refused(in_openai_s_words(refused.response)) from None
        facts = {"object": "model", "created": begun, "owned_by": "musicgen-space"}
        data = [{"id": name, **facts} for name in service.catalogue.names()]
        return JSONResponse({"object": "list", "data": data})

    @router.post("/v1/audio/generate", **schema.AUDIO)
    async def generate(request: Request) -> Response:
        try:
            wish, job, new = await ordered(request)
            return await (begin(request, wish, job) if new else again(wish, job))
        except Refused as refused:
            raise Refused(in_openai_s_words(refused.response)) from None

    async def ordered(request: Request) -> tuple[_Wish, Job, bool]:
        account = await service.access.account(request, "music", bearer=True)
        await service.access.count(account)
        fields = await fields_of(request)
        wish = await run_in_threadpool(_wish, service, fields)
        price, name = service.price(account.id), job_name(request)
        order = Order(
            account.id,
            wish.music.request,
            wish.kept_as,
            price,
            name,
            awaited=True,
            live=True,
            clips=wish.music.clips,
        )
        return (wish, *await service.submit(order))

    async def begin(request: Request, wish: _Wish, job: Job) -> Response:
        """Make a job, and answer as soon as there is something to send."""
        started = time.monotonic()
        live = Live(service.runner, job)
        try:
            first = await _heard(request, live)
            if first is None:
                raise MusicGenSpaceError("The model made no sound.")
            service.metrics.first_sound(time.monotonic() - started)
            if wish.format not in _STREAMED:
                while await _heard(request, live) is not None:
                    pass
                done = await service.found(job.id, job.account)
                return await service.file(done.output, _headers(service, job, first))
        except BaseException as error:
            live.close()
            raise _refusal(error) from None
        sent = _Sent(live, wish, job, first)
        return sent.response(_headers(service, job, first))

    async def again(wish: _Wish, job: Job) -> Response:
        """What came of a job of the same name before."""
        if job.status in OPEN:
            raise Refused(refusal(409, "The request of this Idempotency-Key is being made"))
        if job.status != COMPLETED:
            raise Refused(refusal(500, job.error or ""))
        if wish.format in FORMATS and not wish.events:
            return await service.file(job.output, {"x-request-id": job.id})
        file = await service.file(job.output)
        assert isinstance(file, StreamingResponse)
        data = b"".join([bytes(piece) async for piece in file.body_iterator])  # type: ignore[arg-type]
        whole = Chunk(*await run_in_threadpool(decode, data))
        return _Sent(None, wish, job, whole).response(_headers(service, job, whole))

    return router


async def _heard(request: Request, live: Live) -> Chunk | None:
    """The next piece of sound, None after the last one, as long as its client waits for it."""
    while True:
        try:
            return await live.next(_LOOK_SECONDS)
        except TimeoutError:
            if await request.is_disconnected():
                raise Cut from None


def _refusal(error: BaseException) -> BaseException:
    """What a request is refused with when its job has ended."""
    if isinstance(error, QueueFull):
        return Refused(too_many(10))
    if isinstance(error, MusicGenSpaceError):
        return Refused(refusal(500, str(error)))
    return error


class _Sent:
    """The pieces of a take as they are sent; ``live`` is None where ``first`` is all of it."""

    def __init__(self, live: Live | None, wish: _Wish, job: Job, first: Chunk) -> None:
        self._live, self._wish, self._job, self._first = live, wish, job, first

    def response(self, headers: Mapping[str, str]) -> Response:
        """The answer, whose end ends the job."""
        kind = "text/event-stream" if self._wish.events else _type_of(self._wish.format)
        pieces = self._events() if self._wish.events else self._bytes()
        return _Closing(self._live, pieces, headers=headers, media_type=kind)

    async def _bytes(self) -> AsyncIterator[bytes]:
        if self._wish.format == "wav":
            yield _wav_header(self._first.sample_rate, self._first.samples.shape[0])
        for piece in _pieces(self._first):
            yield piece
        try:
            while self._live is not None and (chunk := await self._live.next()) is not None:
                for piece in _pieces(chunk):
                    yield piece
        except MusicGenSpaceError:
            raise Cut from None

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._bytes():
                audio = base64.b64encode(piece).decode()
                yield _event({"type": "speech.audio.delta", "audio": audio})
        except Cut:
            problem = envelope(500, "The music could not be made to its end")
            yield _event({"type": "error", **problem})
        else:
            yield _event({"type": "speech.audio.done", "request_id": self._job.id})


class _Closing(StreamingResponse):
    """Ends the job with the connection."""

    def __init__(self, live: Live | None, pieces: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(pieces, **options)
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all, or as far as it is read."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._live is not None:
                self._live.close()


def _wish(service: Service, fields: Mapping[str, Any]) -> _Wish:
    """What a body asks for; raises ``Refused``."""
    try:
        return _checked_wish(service, fields)
    except InvalidRequest as error:
        raise Refused(refusal(400, str(error), error.field)) from None
    except UnreadableAudio as error:
        raise Refused(refusal(400, str(error), str(error).partition(":")[0])) from None


def _checked_wish(service: Service, fields: Mapping[str, Any]) -> _Wish:
    given = {name: value for name, value in fields.items() if value is not None}
    for name, allowed in _FIXED.items():
        value = given.pop(name, None)
        if isinstance(value, bool) or value not in allowed:
            raise InvalidRequest(name, value, "can't be chosen here")
    chosen = {
        name: _choice(name, given.pop(name, allowed[0])) for name, allowed in _CHOICES.items()
    }
    events = chosen["stream_format"] == "sse"
    if events and chosen["response_format"] not in _STREAMED:
        limit = f"must be one of {[*_STREAMED]} in events"
        raise InvalidRequest("response_format", chosen["response_format"], limit)
    model = given.pop("model", None)
    asked: dict[str, Any] = {"seed": RANDOM_SEED, "prompt": ""}
    for name, value in given.items():
        if name not in {*_NAMES, *FIELDS, *CLIP_LIMITS} - {*_NAMES.values()}:
            raise InvalidRequest(name, value, "is no field of a request")
        asked[_NAMES.get(name, name)] = value
    try:
        music = service.catalogue.wish(_text("model", model), asked)
    except InvalidRequest as error:
        theirs = {ours: name for name, ours in _NAMES.items()}
        field = theirs.get(error.field, error.field)
        raise InvalidRequest(field, error.value, error.limit) from None
    if music is None:
        raise Refused(refusal(404, "The model does not exist: see /v1/models", "model"))
    return _Wish(music, chosen["response_format"], events)


def _choice(name: str, value: object) -> str:
    if not isinstance(value, str) or value not in _CHOICES[name]:
        raise InvalidRequest(name, value, f"must be one of {[*_CHOICES[name]]}")
    return value


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(name, value, "must be text")
    return value


def _headers(service: Service, job: Job, first: Chunk) -> dict[str, str]:
    return {
        "x-request-id": job.id,
        "x-seed-value": str(job.fields["seed"]),
        "x-model": service.catalogue.public(job.model),
        "x-sample-rate": str(first.sample_rate),
        "x-channels": str(first.samples.shape[0]),
    }


def _type_of(format_name: str) -> str:
    return "audio/pcm" if format_name == "pcm" else media_type(format_name)


def _pieces(chunk: Chunk) -> Iterator[bytes]:
    """16-bit little-endian samples, the channels in turns: a second or less at a time."""
    for start in range(0, chunk.samples.shape[1], chunk.sample_rate):
        yield to_int16(chunk.samples[:, start : start + chunk.sample_rate]).T.tobytes()


def _wav_header(sample_rate: int, channels: int) -> bytes:
    """That of a WAV file whose length isn't known yet, which players take as "to the end"."""
    unknown, bytes_each = 0xFFFFFFFF, 2
    rate = sample_rate * channels * bytes_each
    fmt = (16, 1, channels, sample_rate, rate, channels * bytes_each, 8 * bytes_each)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", unknown, b"WAVE", b"fmt ", *fmt, b"data", unknown
    )


def _event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
