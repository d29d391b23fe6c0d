"""A faithful copy of Segmind's ``meta-musicgen-medium`` API, for tests and offline work.

    python -m tests.servers.segmind --port 9000
    SEGMIND_BASE_URL=http://127.0.0.1:9000 SEGMIND_API_KEY=SG_0123456789abcdef python app.py

It answers over real HTTP, v1 and v2, with credits and billing counted per key, and plays
a chord instead of music. Left alone it behaves well. A word ``#name`` or ``#name=value``
in the prompt makes it misbehave: ``SCENARIOS`` lists the names.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gzip
import io
import json
import re
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from musicgen_space.request import DOCUMENTED_DURATION, LIMITS
from musicgen_space.server.api import contract
from musicgen_space.server.api.contract import MODEL, Refused, error, unknown_request

PRICE = 0.037
KEY = "SG_0123456789abcdef"
POOR_KEY = "SG_00000000000000aa"  # 0.01 credits: less than a take costs
NEW_KEY = "SG_00000000000000bb"  # no balance record
EXPIRED_KEY = "SG_00000000000000cc"

SCENARIOS = {
    # Answers to a POST, v1 and v2; nothing is billed unless it says so.
    "status=N": "answer with HTTP N: 400, 403, 404, 405, 406, 410, 422, 429, 500, 502, …",
    "status-once=N": "the same, but only the first time that this prompt is sent",
    "billed-status=N": "bill, then answer with HTTP N, as a gateway that gives up does",
    "406=content-type": "a media type that was lost on the way",
    "406=spend-limit": "a team's spend limit",
    "html": "HTTP 200 with a page instead of sound; billed",
    "echo": "HTTP 400 that quotes the key",
    "redirect": "HTTP 307 to the same path",
    "cut": "close the connection without an answer",
    "cut-billed": "bill, then close the connection without an answer",
    "slow=S": "bill, then answer after S seconds",
    # A billed 200 of v1, or the finished file of v2.
    "format=F": "wav (also without being told), mp3, flac or ogg",
    "type=T": "that Content-Type instead of the right one",
    "empty": "no bytes at all",
    "truncated": "half of the bytes that Content-Length announces",
    "oversized": "65 MiB",
    "chunked": "no Content-Length; goes with truncated and oversized too",
    "gzip": "65 MiB of silence, which compressed are a few kB",
    "drip": "a byte every 50 ms",
    "body=B": "the bytes B, given as base64",
    "json=N": "v1: JSON with the sound under N: output, url (addresses), audio, image (base64)",
    "bare": "v1: none of the x- headers",
    "seed=N": "v1: x-seed-value N",
    "output=U": "the result is at U; */ stands for this server, FILE for the file's name",
    # v2 only.
    "failed": "the job fails, which is served as HTTP 422",
    "expired": "the job's record is gone",
    "stuck": "the job never ends",
    "flaky": "every second poll fails: cut, 500, 429 in turn",
    "status-url=U": "the job is said to be followed at U",
    "list": "the output is a list of addresses",
}

_MESSAGES = {
    400: "Malformed request body",
    403: "You do not have access to this model",
    404: "Model not found",
    406: "Invalid value for parameter: duration",
    410: "This model has been retired",
    422: "Inference failed",
    500: "Internal server error",
}


@dataclass
class Account:
    """One key's money and what was done with it."""

    credits: float | None = 10.0
    posts: int = 0  # POSTs that reached the server, whatever became of them
    billed: int = 0


@dataclass
class Job:
    """One v2 job."""

    key: str
    fields: dict[str, Any]
    polls: int = 0

    @property
    def options(self) -> dict[str, str]:
        """The scenario that the prompt asks for."""
        return options_in(self.fields["prompt"])


@dataclass
class Segmind:
    """Everything the server remembers; tests look into it."""

    accounts: dict[str, Account] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)  # prompts
    downloads: list[dict[str, str]] = field(default_factory=list)  # their request headers
    headers: list[dict[str, str]] = field(default_factory=list)  # of the POSTs
    bodies: list[dict[str, Any]] = field(default_factory=list)  # of the POSTs

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Back to the beginning, in place: the running server holds on to this object."""
        for memory in (self.accounts, self.jobs, self.seen):
            memory.clear()
        for notes in (self.downloads, self.headers, self.bodies):
            notes.clear()
        self.accounts[KEY] = Account()
        self.accounts[POOR_KEY] = Account(credits=0.01)
        self.accounts[NEW_KEY] = Account(credits=None)

    def bill(self, key: str) -> None:
        """Take the price of one call from the key's credits."""
        account = self.accounts[key]
        account.billed += 1
        account.credits = round((account.credits or 0.0) - PRICE, 6)


def chord(duration: float, seed: int, sample_rate: int = 32_000) -> np.ndarray:
    """Three sines over a base note that the seed chooses: float32 [samples]."""
    seconds = np.arange(int(duration * sample_rate)) / sample_rate
    base = 110.0 * 2 ** (seed % 24 / 12)
    notes = [np.sin(2 * np.pi * base * ratio * seconds) for ratio in (1, 1.25, 1.5)]
    return (0.25 * np.sum(notes, axis=0)).astype(np.float32)


def sound_file(duration: float, seed: int, kind: str = "wav") -> bytes:
    """``chord`` as a file; mono, 32 kHz, as MusicGen makes it."""
    subtype = {"ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}.get(kind, "PCM_16")
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 32_000, 1, subtype, format=kind.upper()) as writer:
        # In pieces: libsndfile's Vorbis encoder keeps a whole write on its stack.
        for piece in np.array_split(chord(duration, seed), max(1, int(duration))):
            writer.write(piece)
    return file.getvalue()


def options_in(prompt: str) -> dict[str, str]:
    """The ``#name=value`` words of a prompt."""
    return dict(re.findall(r"#([\w-]+)(?:=(\S+))?", prompt))


def create_app(state: Segmind) -> FastAPI:
    """The API over ``state``."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(Refused)
    async def refuse(_: Request, refused: Refused) -> Response:
        return refused.response

    @app.exception_handler(404)
    async def not_found(_: Request, __: Exception) -> Response:
        return error(404, "Not found")

    @app.exception_handler(405)
    async def wrong_verb(_: Request, __: Exception) -> Response:
        return status_page(405)

    @app.get("/v1/get-user-credits")
    async def credits_left(request: Request) -> Response:
        balance = state.accounts[authenticated(request, state)].credits
        if balance is None:
            return contract.no_balance()
        return JSONResponse({"credits": balance})

    @app.post("/v1/{model}")
    async def generate(request: Request, model: str) -> Response:
        key, fields, options = await accepted(request, model, state)
        headers = v1_headers(state, key, options)
        await asyncio.sleep(float(options.get("slow", 0)))
        return sound_response(request, fields, options, headers)

    @app.post("/v2/{model}")
    async def submit(request: Request, model: str) -> Response:
        key, fields, options = await accepted(request, model, state)
        job_id = uuid.uuid4().hex
        state.jobs[job_id] = Job(key, fields)
        address = f"{request.base_url}v2/requests/{job_id}"
        await asyncio.sleep(float(options.get("slow", 0)))
        return JSONResponse(contract.job_links(address, options.get("status-url", "")))

    @app.get("/v2/requests/{job_id}/status")
    async def status(request: Request, job_id: str) -> Response:
        job = known_job(request, job_id, state)
        job.polls += 1
        if "flaky" in job.options and job.polls % 2:
            await fail_in_passing(request, job.polls // 2 % 3)
        if "failed" in job.options:
            return contract.failed_job("CUDA out of memory")
        done = job.polls > 2 and "stuck" not in job.options
        phase = "COMPLETED" if done else ("QUEUED", "PROCESSING")[job.polls > 1]
        return JSONResponse(contract.job_status(job_id, phase))

    @app.get("/v2/requests/{job_id}")
    async def result(request: Request, job_id: str) -> Response:
        job = known_job(request, job_id, state)
        address = file_url(request, job.fields, job.options)
        output = [address] if "list" in job.options else address
        left = state.accounts[job.key].credits
        return JSONResponse(contract.job_result(output, PRICE, left, 21.5, 1.0))

    @app.get("/files/{name}")
    async def file(request: Request, name: str) -> Response:
        state.downloads.append(dict(request.headers))
        fields = json.loads(base64.urlsafe_b64decode(name))
        options = options_in(fields["prompt"])
        options.pop("json", None)
        return sound_response(request, fields, options, {})

    @app.get("/moved/{times}/{name}")
    async def moved(times: int, name: str) -> Response:
        return RedirectResponse(f"/moved/{times - 1}/{name}" if times > 1 else f"/files/{name}")

    @app.get("/to")
    async def elsewhere(url: str) -> Response:
        return RedirectResponse(url)

    return app


def authenticated(request: Request, state: Segmind) -> str:
    """The request's key, or one of the two messages of a 401."""
    key = request.headers.get("x-api-key", "")
    if key == EXPIRED_KEY:
        raise Refused(contract.unusable_key("The API key has expired"))
    if key not in state.accounts:
        raise Refused(contract.unknown_key())
    return key


async def accepted(
    request: Request, model: str, state: Segmind
) -> tuple[str, dict[str, Any], dict[str, str]]:
    """A POST that the server takes on and bills: its key, fields and scenario."""
    key = authenticated(request, state)
    account = state.accounts[key]
    account.posts += 1
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise Refused(contract.wrong_content_type())
    if model != MODEL:
        raise Refused(contract.unknown_model(model))
    fields = await checked_fields(request)
    options = options_in(fields["prompt"])
    state.headers.append(dict(request.headers))
    state.bodies.append(fields)
    state.seen[fields["prompt"]] += 1
    await misbehave(request, fields["prompt"], options, state, key)
    if (account.credits or 0.0) < PRICE:
        raise Refused(contract.insufficient_credits(account.credits or 0, PRICE))
    state.bill(key)
    return key, fields, options


async def checked_fields(request: Request) -> dict[str, Any]:
    """The body's fields with defaults, or a 400 (missing) or 406 (outside its limits)."""
    fields = contract.parsed(await request.body())
    if not fields.get("prompt"):
        raise Refused(contract.missing_field("prompt"))
    limits = {"duration": DOCUMENTED_DURATION, "seed": LIMITS["seed"]}
    fields = {name: limit.default for name, limit in limits.items()} | fields
    for name, limit in limits.items():
        if not limit.minimum <= fields[name] <= limit.maximum:
            raise Refused(contract.invalid_value(f"{name} {limit}"))
    return fields


async def misbehave(
    request: Request, prompt: str, options: dict[str, str], state: Segmind, key: str
) -> None:
    """Do what the prompt says instead of taking the job on."""
    if "billed-status" in options or "cut-billed" in options or "html" in options:
        state.bill(key)
    if "cut" in options or "cut-billed" in options:
        await hang_up(request)
    if "status-once" in options and state.seen[prompt] == 1:
        raise Refused(status_page(int(options["status-once"])))
    status = options.get("status") or options.get("billed-status")
    if status:
        raise Refused(status_page(int(status)))
    if "406" in options:
        words = {"content-type": "Invalid content type", "spend-limit": "Team spend limit reached"}
        raise Refused(error(406, words[options["406"]]))
    if "echo" in options:
        raise Refused(error(400, f"Bad\x1b[31m key {key}\nin {prompt}" + " x" * 5000))
    if "html" in options:
        raise Refused(HTMLResponse(f"{key}<html>Welcome"))
    if "redirect" in options:
        raise Refused(RedirectResponse(request.url, 307))


async def fail_in_passing(request: Request, kind: int) -> None:
    """Fail a poll; the next one will do better."""
    if kind == 0:
        await hang_up(request)
    raise Refused(status_page((500, 429)[kind - 1], resets_in=0))


async def hang_up(request: Request) -> None:
    """Close the connection without a word."""
    request.scope["transport"].abort()
    await asyncio.sleep(0.01)
    raise Refused(Response())


def known_job(request: Request, job_id: str, state: Segmind) -> Job:
    """The caller's job, or a 404."""
    key = authenticated(request, state)
    job = state.jobs.get(job_id)
    if job is None or job.key != key or "expired" in job.options:
        raise Refused(unknown_request())
    return job


def status_page(status: int, resets_in: float = 34) -> Response:
    """The answer that the contract gives for a status; gateways answer with HTML."""
    if status in (405, 502, 503, 504):
        return contract.page(status)
    if status == 429:
        return contract.rate_limited(time.time() + resets_in)
    return error(status, _MESSAGES.get(status, "Something else"))


def v1_headers(state: Segmind, key: str, options: dict[str, str]) -> dict[str, str]:
    """What a billed v1 answer says about itself."""
    if "bare" in options:
        return {}
    left, seed = state.accounts[key].credits, options.get("seed")
    return contract.receipt_headers(PRICE, left, uuid.uuid4().hex, 21.5, seed)


def sound_response(
    request: Request, fields: dict[str, Any], options: dict[str, str], headers: dict[str, str]
) -> Response:
    """The sound in the way that the scenario wants it."""
    kind = options.get("format", "wav")
    sound = sound_file(fields["duration"], fields["seed"], kind)
    media_type = options.get("type", contract.media_type(kind))
    if "json" in options:
        name = options["json"]
        url = file_url(request, fields, options)
        value = url if name in ("output", "url") else base64.b64encode(sound).decode()
        return JSONResponse({name: value}, headers=headers)
    if "body" in options:
        sound = base64.b64decode(options["body"])
    if "empty" in options:
        sound = b""
    if "oversized" in options:
        sound += bytes(65 * 2**20)
    if "gzip" in options:
        sound, headers = gzip.compress(sound + bytes(65 * 2**20)), {"content-encoding": "gzip"}
    response: Response = Response(sound, media_type=media_type, headers=headers)
    if "truncated" in options or "drip" in options:
        response = Halting(sound, "drip" in options, media_type, headers)
    if "chunked" in options:
        del response.headers["content-length"]
    return response


def file_url(request: Request, fields: dict[str, Any], options: dict[str, str]) -> str:
    """Where the finished file is said to lie."""
    name = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
    url = options.get("output", "*/files/FILE")
    return url.replace("*/", str(request.base_url)).replace("FILE", name)


class Halting(Response):
    """A body that ends half-way, or comes a byte at a time."""

    def __init__(self, body: bytes, drip: bool, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(body, media_type=media_type, headers=headers)
        self.drip = drip

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Announce the whole length, then send less than that."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for piece in self._pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0.05)
            if scope["transport"].is_closing():
                break
        scope["transport"].close()

    def _pieces(self) -> Iterator[bytes]:
        body = bytes(self.body)
        if self.drip:
            yield from (body[index : index + 1] for index in range(len(body)))
        else:
            yield body[: len(body) // 2]


class CuttableProtocol(H11Protocol):
    """Uvicorn's protocol, which also hands the connection to the app, to be cut."""

    def connection_made(self, transport: Any) -> None:
        """Put the transport into every request's scope."""
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "transport": transport}, receive, send)

        self.app = with_transport


def server_of(state: Segmind, **options: Any) -> uvicorn.Server:
    """A server of ``state`` that is yet to be run."""
    app = create_app(state)
    return uvicorn.Server(
        uvicorn.Config(app, http=CuttableProtocol, lifespan="off", ws="none", **options)
    )


@contextlib.contextmanager
def running(state: Segmind, port: int = 0, **options: Any) -> Iterator[str]:
    """Serve ``state`` on a loopback port, 0 for a free one, from a thread; gives the base URL.

    ``options`` are uvicorn's.
    """
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio forgets it here
    server = server_of(state, log_level="critical", **options)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(5)
        listener.close()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        description="A local stand-in for Segmind's API. In a prompt:",
        epilog="\n".join(f"  #{name:18} {about}" for name, about in SCENARIOS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=9000)
    port = parser.parse_args().port
    print(f"Keys: {KEY} has 10 credits, {POOR_KEY} 0.01, {NEW_KEY} no record,")
    print(f"{EXPIRED_KEY} is expired. --help lists the scenarios.", flush=True)
    server_of(Segmind(), port=port).run()


if __name__ == "__main__":
    main()
