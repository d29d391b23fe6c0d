"""Music from Segmind: its documented ``meta-musicgen-medium`` API, v1 and v2.

Nothing in this API is idempotent and a job cannot be cancelled, so money rules:

- A POST whose outcome is unknown is never sent again. It is repeated only when the
  connection failed before anything was sent, or when v2 answers 500 or 503, which say
  that no job was taken. (502 and 504 come from a gateway; the job may be running.)
- A GET is free and is repeated with growing pauses.

The other files: ``calls`` (these rules), ``http`` (one exchange),
``responses`` (what it means), ``download`` (result files) and
``worker`` (the thread that may block).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import numpy as np

from musicgen_space.audio.clips import decode
from musicgen_space.backends.base import HostedBackend, ModelChoice, Update
from musicgen_space.backends.segmind.calls import Calls
from musicgen_space.backends.segmind.download import download
from musicgen_space.backends.segmind.http import Response, Timeouts
from musicgen_space.backends.segmind.responses import (
    JobLinks,
    check_status,
    job_links,
    job_status,
    parse_balance,
    parse_file,
    parse_receipt,
    parse_result,
    parse_seed,
    server_message,
)
from musicgen_space.backends.segmind.worker import Worker
from musicgen_space.errors import (
    GenerationFailed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    SegmindError,
    ServerFailed,
    Unreachable,
    UnreadableAudio,
    UnusableResult,
)
from musicgen_space.key import ApiKey
from musicgen_space.message import Message
from musicgen_space.process.addresses import Origin
from musicgen_space.request import DOCUMENTED_DURATION, LIMITS, MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take

__all__ = ["MODEL", "SegmindBackend"]

MODEL = "meta-musicgen-medium"
_JOB_RETRIES = 7  # about 30 s: a paid job is worth some patience
_BALANCE_RETRIES = 2
_NOT_TAKEN = frozenset({500, 503})  # answers of a v2 submit that leave no job behind
_MAKING = Message("Segmind is making the music")
_PHASES = {"QUEUED": Message("Waiting in Segmind's queue"), "PROCESSING": _MAKING}


class SegmindBackend(HostedBackend):
    """The hosted API at ``base_url``, spoken as ``api`` v1 or v2, paid by ``key``.

    Any compatible server does. ``generate`` raises ``SegmindError`` and its kin.
    """

    name = "segmind"
    label = "Segmind"
    about = Message("hosted, about 22 seconds and $0.04 a take")
    knobs = frozenset({"prompt", "duration", "seed"})
    limits = MappingProxyType({**LIMITS, "duration": DOCUMENTED_DURATION})
    typical_price = 0.037  # by Segmind's model page; a receipt knows better

    def __init__(
        self,
        key: ApiKey | None = None,
        *,
        base_url: str,
        api: str = "v1",
        timeouts: Timeouts | None = None,
    ) -> None:
        self._key = key
        self._base_url = base_url.rstrip("/")
        self._loopback = Origin.of(base_url).loopback
        self._api = api
        self._timeouts = timeouts or Timeouts()

    @classmethod
    def from_settings(cls, settings: Settings) -> SegmindBackend:
        """The backend with the owner's key, if whoever is at the page may spend from it."""
        return cls(
            settings.segmind_key_for_visitors,
            base_url=settings.segmind_base_url,
            api=settings.segmind_api,
        )

    @property
    def has_key(self) -> bool:
        """Whether there is a key to generate with."""
        return self._key is not None

    def with_key(self, key: str) -> SegmindBackend:
        """The same backend, paid by another key; raises ``UnusableKey``."""
        bound = copy.copy(self)
        bound._key = ApiKey(key)
        return bound

    def models(self) -> list[ModelChoice]:
        """The one hosted model."""
        return [ModelChoice(MODEL, "hosted")]

    def balance(self) -> float:
        """Credits left on the account, 0 when it has no balance record; a free call.

        Blocks until it is known. Raises ``SegmindError``.
        """
        with self._calls(_short_sleep) as calls:
            answer = calls.get(f"{self._base_url}/v1/get-user-credits", _BALANCE_RETRIES)
        return parse_balance(answer, self._key)

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        """One take; ``Loading`` says what Segmind is doing meanwhile.

        Setting ``stop`` raises ``StoppedButBilled`` once the job is sent, and just ends
        before. Closing the iterator stops waiting as well.
        """
        if request.model not in (None, MODEL):
            raise InvalidRequest("model", request.model, f"must be {MODEL} on Segmind")
        self.check(request)
        self._usable_key()
        # Drawn here, not there, so that the seed is known whatever the answer lacks.
        request = request.with_seed_drawn()
        worker = Worker(lambda worker: self._make(request, worker))
        try:
            yield from worker.updates(stop, self._timeouts.total)
        finally:
            worker.abandon()

    def _usable_key(self) -> ApiKey:
        return self._key or ApiKey("")  # which says that there is none

    def _calls(self, pause: Callable[[float], None]) -> Calls:
        return Calls(self._base_url, self._usable_key(), self._timeouts, pause)

    def _make(self, request: MusicRequest, worker: Worker) -> Take:
        started = time.monotonic()
        run = self._run_v2 if self._api == "v2" else self._run_v1
        with self._calls(worker.pause) as calls:
            answer, request_id = run(calls, request, worker)
            with _accepted(request_id):
                samples, sample_rate = self._sound(answer, worker)
        receipt = parse_receipt(answer, self._key)
        return Take(
            samples,
            sample_rate,
            dataclasses.replace(request, seed=parse_seed(answer, request.seed)),
            self.name,
            MODEL,
            time.monotonic() - started,
            receipt=dataclasses.replace(receipt, request_id=request_id),
        )

    def _run_v1(
        self, calls: Calls, request: MusicRequest, worker: Worker
    ) -> tuple[Response, str | None]:
        """One blocking call; its answer and the id under which it was billed."""
        worker.tell(_MAKING)
        answer = calls.post(f"/v1/{MODEL}", _body(request), worker)
        return answer, parse_receipt(answer, self._key).request_id

    def _run_v2(
        self, calls: Calls, request: MusicRequest, worker: Worker
    ) -> tuple[Response, str | None]:
        """Submit a job and follow it to its end; its last answer and its id."""
        worker.tell(Message("Sending the request to Segmind"))
        answer = calls.post(f"/v2/{MODEL}", _body(request), worker, _NOT_TAKEN)
        links = job_links(answer, self._key)
        request_id = links.request_id or None
        with _accepted(request_id):
            return self._poll(calls, links, worker), request_id

    def _poll(self, calls: Calls, links: JobLinks, worker: Worker) -> Response:
        deadline = time.monotonic() + self._timeouts.poll_for
        phase = "QUEUED"
        while time.monotonic() < deadline:
            worker.tell(_PHASES.get(phase, Message("Segmind is working")))
            worker.pause(self._timeouts.poll_every)
            phase, _ = self._job_state(calls, links.status_url)
            if phase == "COMPLETED":
                phase, answer = self._job_state(calls, links.response_url)
                if phase == "COMPLETED":
                    return answer
        seconds = self._timeouts.poll_for
        raise OutcomeUnknown(
            f"The job was not done after {seconds:.0f} seconds. It may still be billed."
        )

    def _job_state(self, calls: Calls, url: str) -> tuple[str, Response]:
        """A job's status and the answer it came in, whose body counts before its code."""
        answer = calls.get(url, _JOB_RETRIES)
        status = job_status(answer)
        if status == "FAILED":
            reason = server_message(answer, self._key) or "it gave no reason"
            raise GenerationFailed(f"Segmind ran the job and it failed: {reason}")
        if answer.status == 404:
            raise NotFound("Segmind no longer knows the job (404): records expire after an hour.")
        check_status(answer, self._key)
        return status, answer

    def _sound(self, answer: Response, worker: Worker) -> tuple[np.ndarray, int]:
        """The samples in a successful answer, or at the address that it gives."""
        file = parse_result(answer, self._key)
        if isinstance(file, str):
            worker.tell(Message("Fetching the music"))
            fetched = download(
                file, loopback_allowed=self._loopback, timeouts=self._timeouts, pause=worker.pause
            )
            file = parse_file(fetched, self._key)
        try:
            return decode(file)
        except UnreadableAudio as error:
            problem = f"Segmind's file cannot be played: {error}"
        raise UnusableResult(problem)


def _short_sleep(seconds: float) -> None:
    """For a call that somebody looks at: rather an error now than a number in a minute."""
    time.sleep(min(seconds, 1.0))


def _body(request: MusicRequest) -> dict[str, Any]:
    return {"prompt": request.prompt, "duration": request.duration, "seed": request.seed}


@contextlib.contextmanager
def _accepted(request_id: str | None) -> Iterator[None]:
    """Errors in here come after a job was accepted: they say which, and that it may cost."""
    try:
        yield
    except (Unreachable, ServerFailed, RateLimited) as error:
        problem: SegmindError = OutcomeUnknown(f"{error} The job runs on and may be billed.")
    except SegmindError as error:
        problem = error
        problem.may_be_billed = not isinstance(error, GenerationFailed)
    else:
        return
    problem.request_id = request_id
    raise problem
