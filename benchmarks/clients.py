"""What the clients of ``load`` do: those that behave, and those that servers on a network meet.

Each wish has a seed of its own, by which its job is found in the database.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from urllib.parse import urlsplit

import httpx

__all__ = ["CALM", "FAULTY", "Client", "Outcome", "Wishes"]

MODEL = "meta-musicgen-medium"
CALM = ("v1", "v2", "stream")
FAULTY = (
    *("v1", "v2", "stream", "v1 named", "v2", "cut in body", "stream", "v1", "slow reader"),
    *("v2", "cut waiting", "stream", "oversized", "v1 named", "v2", "cut in stream"),
    *("malformed", "v1", "v2", "stream"),
)
PATIENCE = 60.0  # seconds for a server that was killed to be back, and for a job to end
_TOO_MANY_BYTES = 9 * 2**20
_SIP = 16 * 2**10


@dataclass
class Outcome:
    """What a client has met; times are seconds from asking.

    ``end`` is "made", "refused" (by ``status``), "failed" (a job that is reported as such), "cut"
    by the server, "left" by the client, or "lost": an accepted job of which no end was told.
    """

    kind: str
    seed: int
    end: str = "lost"
    status: int | None = None
    job: str | None = None
    first_byte: float | None = None
    done: float | None = None


@dataclass
class Wishes:
    """So many requests of ``kinds`` in turns; ``half`` is set when half of them have begun."""

    kinds: tuple[str, ...]
    count: int
    half: threading.Event = field(default_factory=threading.Event)
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._left = islice(cycle(self.kinds), self.count)

    def __iter__(self) -> Iterator[Outcome]:
        while True:
            with self._lock:
                kind = next(self._left, None)
                if kind is None:
                    return
                outcome = Outcome(kind, seed=len(self.outcomes))
                self.outcomes.append(outcome)
                if len(self.outcomes) * 2 >= self.count:
                    self.half.set()
            yield outcome


class Client:
    """One of the many, who asks for music of so many ``seconds``."""

    def __init__(self, url: str, key: str, seconds: float) -> None:
        self._address, self._key, self._seconds = urlsplit(url), key, seconds
        self._http = httpx.Client(
            base_url=url, headers={"x-api-key": key}, timeout=PATIENCE, trust_env=False
        )
        self._does: dict[str, Callable[[Outcome], None]] = {
            **{"v1": self._waits, "v1 named": self._waits_surely, "v2": self._polls},
            **{"stream": self._hears, "slow reader": self._sips, "cut in stream": self._hangs_up},
            **{"cut in body": self._breaks_off, "cut waiting": self._waits_no_more},
            **{"oversized": self._sends_too_much, "malformed": self._sends_nonsense},
        }

    def run(self, wishes: Wishes) -> None:
        """Ask until all has been asked for."""
        with self._http:
            for outcome in wishes:
                self._began = time.perf_counter()
                try:
                    self._does[outcome.kind](outcome)
                except httpx.TransportError:  # the server was killed
                    outcome.end = "cut"
                outcome.done = self._passed

    @property
    def _passed(self) -> float:
        return time.perf_counter() - self._began

    # Those that behave.

    def _waits(self, outcome: Outcome, **headers: str) -> None:
        wish = {"prompt": "jazz", "duration": self._seconds, "seed": outcome.seed}
        with self._http.stream("POST", f"/v1/{MODEL}", json=wish, headers=headers) as answer:
            self._note(outcome, answer)
            answer.read()

    def _waits_surely(self, outcome: Outcome) -> None:
        """The same again after a server that ended: its name makes it one job."""
        name = f"wish {outcome.seed}"
        self._surely(lambda: self._waits(outcome, **{"idempotency-key": name}))

    def _polls(self, outcome: Outcome) -> None:
        """To the file."""
        wish = {"prompt": "jazz", "duration": self._seconds, "seed": outcome.seed}
        named = {"idempotency-key": f"wish {outcome.seed}"}
        answer = self._surely(lambda: self._http.post(f"/v2/{MODEL}", json=wish, headers=named))
        self._note(outcome, answer)
        if not answer.is_success:
            return
        links, outcome.end = answer.json(), "lost"
        outcome.job = links["request_id"]
        for _ in range(int(10 * PATIENCE)):
            status = self._surely(lambda: self._http.get(links["status_url"]))
            if status.status_code == 422:
                outcome.end = "failed"
                return
            if status.is_success and status.json()["status"] == "COMPLETED":
                break
            time.sleep(0.1)
        result = self._surely(lambda: self._http.get(links["response_url"]))
        file = self._surely(lambda: self._http.get(result.json()["output"]))
        outcome.end = "made" if file.is_success else "lost"

    def _hears(self, outcome: Outcome) -> None:
        with self._asked(outcome, self._seconds) as answer:
            for number, _ in enumerate(answer.iter_raw()):
                if not number:
                    self._note(outcome, answer)

    # Those that do not.

    def _sips(self, outcome: Outcome) -> None:
        """Reads all of a longer take, but slowly."""
        with self._asked(outcome, 5 * self._seconds) as answer:
            for number, _ in enumerate(answer.iter_raw(_SIP)):
                if not number:
                    self._note(outcome, answer)
                time.sleep(0.02)

    def _hangs_up(self, outcome: Outcome) -> None:
        with self._asked(outcome, 5 * self._seconds) as answer:
            next(answer.iter_raw())
            self._note(outcome, answer)
            outcome.end = "left"

    def _breaks_off(self, outcome: Outcome) -> None:
        """In the middle of its own request."""
        body = self._body(outcome)
        self._send(body[: len(body) // 2], len(body))
        outcome.end = "left"

    def _waits_no_more(self, outcome: Outcome) -> None:
        body = self._body(outcome)
        self._send(body, len(body), stay=0.01)
        outcome.end = "left"

    def _sends_too_much(self, outcome: Outcome) -> None:
        self._posts(outcome, b" " * _TOO_MANY_BYTES)

    def _sends_nonsense(self, outcome: Outcome) -> None:
        self._posts(outcome, b'{"prompt": "jazz", ')

    # How.

    def _asked(
        self, outcome: Outcome, seconds: float
    ) -> contextlib.AbstractContextManager[httpx.Response]:
        wish = {"input": "jazz", "audio_length": seconds, "seed": outcome.seed}
        return self._http.stream("POST", "/v1/audio/generate", json=wish)

    def _posts(self, outcome: Outcome, body: bytes) -> None:
        kind = {"content-type": "application/json"}
        self._note(outcome, self._http.post(f"/v1/{MODEL}", content=body, headers=kind))

    def _body(self, outcome: Outcome) -> bytes:
        wish = {"prompt": "jazz", "duration": self._seconds, "seed": outcome.seed}
        return json.dumps(wish).encode()

    def _send(self, body: bytes, length: int, stay: float = 0.0) -> None:
        """A request as it is on the wire, and nobody who waits for its answer."""
        address = (str(self._address.hostname), self._address.port or 80)
        head = (
            f"POST /v1/{MODEL} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            f"x-api-key: {self._key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )
        with contextlib.suppress(OSError), socket.create_connection(address, PATIENCE) as wire:
            wire.sendall(head.encode() + body)
            time.sleep(stay)

    def _surely(self, ask: Callable[[], httpx.Response | None]) -> httpx.Response:
        """Ask again while the server is away."""
        until = time.perf_counter() + PATIENCE
        while True:
            try:
                return ask()
            except httpx.TransportError:
                if time.perf_counter() > until:
                    raise
                time.sleep(0.05)

    def _note(self, outcome: Outcome, answer: httpx.Response) -> None:
        outcome.first_byte = outcome.first_byte or self._passed
        outcome.status = answer.status_code
        outcome.job = answer.headers.get("x-request-id")
        if answer.is_success:
            outcome.end = "made"
        else:
            outcome.end = "failed" if answer.status_code == 500 else "refused"
