"""An API server on loopback, over a backend that hums, with a key of ten credits."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from musicgen_space.backends.base import Backend, Chunk, Loading, ModelChoice, Update, Waiting
from musicgen_space.backends.local.live_room import LiveRoom
from musicgen_space.errors import BackendError, LiveOver
from musicgen_space.live import Heard, LiveControls, LiveWish
from musicgen_space.message import Message
from musicgen_space.request import MusicRequest
from musicgen_space.server.alone import serve_alone
from musicgen_space.server.service import Service
from musicgen_space.settings import Settings
from musicgen_space.take import Take

RATE = 32_000
PRICE = 0.037


class Hum(Backend):
    """Hums at once; a word in the prompt has it do something else.

    ``#hold`` waits in the middle until ``go`` is set, ``#fail`` fails, ``#crash`` has a bug.
    Live it waits at its beginning, and hums in pieces of a quarter second, hundreds of times as
    fast as they are heard and a second ahead of its listener at most; ``#over`` ends it as when
    its time is up.
    """

    name, label, about = "local", "Hum", "hums"
    knobs = frozenset(MusicRequest.__dataclass_fields__)

    plays_live = True
    most_seconds = 300.0  # of a take

    def __init__(self, settings: Settings | None = None) -> None:
        self.room = LiveRoom(settings or Settings())
        self.told = 0.0  # seconds of live music
        self.wishes: list[LiveWish] = []  # one for each piece of live music
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.asked: list[MusicRequest] = []
        self.visitors: list[str] = []
        self.stopped = 0

    def models(self) -> list[ModelChoice]:
        names = ("musicgen-nano", "facebook/musicgen-small")
        return [*(ModelChoice(name, "") for name in names), ModelChoice("my/melody", "", True)]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        self.asked.append(request)
        self.visitors.append(visitor)
        if "#fail" in request.prompt:
            raise BackendError("The model is out of tune.")
        if "#crash" in request.prompt:
            raise ZeroDivisionError(request.prompt)
        samples = hum(
            dataclasses.replace(request, duration=min(request.duration, self.most_seconds))
        )
        half = samples.shape[1] // 2
        yield Chunk(samples[:, :half], RATE)
        self.begun.release()
        while "#hold" in request.prompt and not (self.go.is_set() or stop.wait(0.005)):
            pass
        if stop.is_set():
            self.stopped += 1
            samples = samples[:, :half]
        else:
            yield Chunk(samples[:, half:], RATE)
        yield Take(
            samples, RATE, request, self.name, str(request.model), 0.01, stopped=stop.is_set()
        )

    def live(
        self, controls: LiveControls, visitor: str = ""
    ) -> Iterator[Waiting | Loading | Heard]:
        self.visitors.append(visitor)
        with self.room.joined(visitor, controls.wish.request):
            yield Waiting(1)
            yield Loading(Message("Tuning"), 0.5)
            start = 0.0
            held = "#hold" in controls.wish.request.prompt
            while held and not (self.go.wait(0.005) or controls.stopped):
                pass
            while not controls.stopped:
                threading.Event().wait(0.001)
                if start >= controls.fetched + 1.0:
                    continue
                wish = controls.wish
                self.wishes.append(wish)
                self._live_words(wish.request.prompt)
                samples = np.full((1, RATE // 4), wish.balance, np.float32)
                yield Heard(samples, RATE, start, wish.request.prompt, speed=3.0)
                start = self.told = start + 0.25

    def _live_words(self, prompt: str) -> None:
        if "#fail" in prompt:
            raise BackendError("The model is out of tune.")
        if "#over" in prompt:
            raise LiveOver(1)
        if "#crash" in prompt:
            raise ZeroDivisionError(prompt)


def hum(request: MusicRequest) -> np.ndarray:
    at = np.arange(round(request.duration * RATE), dtype=np.float32) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + request.seed) * at))[None].astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Api:
    """A server that runs, its backend, and a client with a key."""

    url: str
    service: Service
    studio: Hum
    key: str
    account: str
    client: httpx.Client

    def post(self, path: str, fields: dict[str, Any], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = json.dumps(fields).encode()
        return self.client.post(
            path, content=body, headers={"content-type": "application/json", **named}
        )

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    @property
    def credits(self) -> float:
        found = self.get("/v1/get-user-credits").json()["credits"]
        assert isinstance(found, float)
        return found

    def result(self, links: dict[str, str]) -> httpx.Response:
        """What a v2 job comes to."""
        for _ in range(2000):
            status = self.get(links["status_url"])
            if status.status_code != 200 or status.json()["status"] == "COMPLETED":
                return self.get(links["response_url"])
            threading.Event().wait(0.01)
        raise AssertionError("the job has no end")


def sent(
    api: Api, path: str, fields: dict[str, Any], *more: str, missing: int = 0
) -> socket.socket:
    """A connection on which a request was sent, but for so many bytes that are ``missing``."""
    body = json.dumps(fields).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"x-api-key: {api.key}", *more]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body) + missing}"]
    connection = socket.create_connection(("127.0.0.1", api.service.settings.port))
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


# For the start of a server's code. Ray brings uvloop; a server that ran in this one would fail.
UNUSABLE_UVLOOP = """
import sys, types
sys.modules["uvloop"] = types.ModuleType("uvloop")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_in(folder: Path, **fields: Any) -> Settings:
    """Of a server that makes one job at a time, so that others wait."""
    given = {"database": f"sqlite:///{folder}/server.db", "api_price": PRICE, "port": free_port()}
    return Settings(**{**given, "at_once": 1, **fields})


@contextmanager
def serving_api(settings: Settings, beat: float = 0.05, stall: float = 60.0) -> Iterator[Api]:
    studio = Hum(settings)
    service = Service(settings, studio, beat=beat, stall=stall)
    service.start()
    account, key = service.keys.add("tests", balance=10)
    client = httpx.Client(
        base_url=settings.url, headers={"x-api-key": key}, timeout=30, trust_env=False
    )
    with serve_alone(service):
        try:
            yield Api(settings.url, service, studio, key, account, client)
        finally:
            client.close()
            studio.go.set()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving_api(settings_in(tmp_path)) as running:
        yield running


@pytest.fixture(scope="module")
def one_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that the tests of a file share, for what changes nothing there."""
    with serving_api(settings_in(tmp_path_factory.mktemp("api"))) as running:
        yield running


def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens soon."""
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it has not happened")
