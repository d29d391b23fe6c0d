"""What both APIs do with an order: take it, wait until it is made, send the file."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import AsyncIterator, Mapping

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from musicgen_space.backends.base import Backend
from musicgen_space.server.accounts.access import Access
from musicgen_space.server.accounts.keys import Keys, as_credits
from musicgen_space.server.api import contract
from musicgen_space.server.api.catalogue import Catalogue
from musicgen_space.server.api.contract import Refused
from musicgen_space.server.database import CREDIT, OWNER, PIECE, Database, Job
from musicgen_space.server.jobs.bell import Bell
from musicgen_space.server.jobs.order import Order
from musicgen_space.server.jobs.runner import WENT, Runner
from musicgen_space.server.jobs.store import (
    OPEN,
    QUEUED,
    Jobs,
    NoCredits,
    OtherOrder,
    Terms,
    TooMany,
)
from musicgen_space.server.live.player import Players
from musicgen_space.server.metrics import Metrics
from musicgen_space.settings import Settings

__all__ = ["Service", "too_many"]

_LOOK_SECONDS = 0.5  # between looks whether a client is still there
_POLL_LOOKS = 4  # looks between those at the database, for jobs that other servers make
_NOT_KEPT = "The file of this request is no longer kept"


class Service:
    """The parts of one server over ``backend``; raises ``InvalidSetting`` for no database.

    Every ``beat`` seconds it tells other servers that it is there; those that hear nothing for the
    seconds of a ``lease`` take its jobs over. Who reads nothing of an answer for ``stall`` seconds
    gets no more of it.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        *,
        beat: float = 5.0,
        lease: float = 20.0,
        stall: float = 60.0,
    ) -> None:
        self.settings, self.stall = settings, stall
        self.database = Database(settings.database or "")
        self.keys = Keys(self.database)
        self.access = Access(self.keys, open_here=not settings.strangers)
        self.catalogue = Catalogue(backend)
        self.metrics = Metrics()
        self.players = Players(backend)
        self._worker = uuid.uuid4().hex
        terms = Terms(settings.api_waiting, settings.api_outputs_mb * 2**20, lease)
        self.jobs = Jobs(self.database, terms, self._worker)
        self._bell = Bell()
        self.runner = Runner(
            backend,
            self.database,
            self.jobs,
            self.metrics,
            bell=self._bell,
            seconds=settings.api_seconds,
            at_once=settings.at_once,
            beat=beat,
            models=settings.max_models,
        )
        self.closing = False

    def start(self) -> None:
        """Begin to make jobs, those that were left over first."""
        self.runner.start()

    def close(self) -> None:
        """End live music and take no orders; finish what is made now, or leave it for later."""
        self.closing = True
        self.players.close()
        self.runner.close()
        self.database.close()

    @property
    def ready(self) -> bool:
        """Whether orders are taken."""
        return not self.closing and self.runner.ready

    def price(self, account: str) -> int:
        """What a take costs an account, in millionths of a credit."""
        return 0 if account == OWNER else round(self.settings.api_price * CREDIT)

    async def submit(self, order: Order) -> tuple[Job, bool]:
        """The job of an order, and whether it is new; raises ``Refused``."""
        if self.closing:
            raise Refused(contract.error(503, "The server is stopping"))
        try:
            job, new = await run_in_threadpool(self.jobs.submit, order)
        except NoCredits as error:
            balance, price = as_credits(error.available), as_credits(order.price)
            raise Refused(contract.insufficient_credits(balance, price)) from None
        except TooMany as error:
            raise Refused(too_many(error.seconds)) from None
        except OtherOrder:
            words = "Idempotency-Key was used for another request before"
            raise Refused(contract.error(409, words)) from None
        if new:
            self.runner.look()
        return job, new

    async def finished(self, request: Request, job: Job) -> Job:
        """A job as it is at its end; raises ``Refused`` where that isn't awaited.

        One that nobody else may ask for ends with its client.
        """
        deadline = time.monotonic() + self.settings.api_seconds
        looks, stopping = 0, False
        with self._bell.heard(job.id) as listener:
            while job.status in OPEN:
                if stopping or await request.is_disconnected():
                    await self.leave(job)
                    raise Refused(contract.error(503, "The server is stopping"))
                if time.monotonic() > deadline:
                    await self.leave(job)
                    raise Refused(contract.page(504))
                looks += 1
                rung = await listener.rung(_LOOK_SECONDS)
                if rung or self.closing or looks % _POLL_LOOKS == 0:
                    job = await self.found(job.id, job.account)
                    stopping = self.closing and job.status == QUEUED
        return job

    async def leave(self, job: Job) -> None:
        """The client of a job has gone."""
        if job.waiter is not None:
            await run_in_threadpool(self.jobs.cancel, job.id)
            self.runner.stop(job.id, WENT)

    async def found(self, id: str, account: str) -> Job:
        """A job of an account; raises ``Refused``."""
        job = await run_in_threadpool(self.jobs.find, id, account)
        if job is None:
            raise Refused(contract.unknown_request())
        return job

    async def balance(self, account: str) -> float | None:
        """What an account can spend; None for the owner, who pays nothing."""
        if account == OWNER:
            return None
        return as_credits((await run_in_threadpool(self.keys.account, account)).available)

    async def file(self, name: str | None, headers: Mapping[str, str] | None = None) -> Response:
        """A kept file, sent in pieces as they are read, so that slow readers cost no memory."""
        output = await run_in_threadpool(self.jobs.output, name) if name else None
        if output is None:
            raise Refused(contract.error(404, _NOT_KEPT))
        length = {"content-length": str(output.size)}
        pieces = self._pieces(output.name, output.size)
        media_type = contract.media_type(output.format)
        return StreamingResponse(pieces, 200, {**length, **(headers or {})}, media_type)

    async def _pieces(self, name: str, size: int) -> AsyncIterator[bytes]:
        for number in range(math.ceil(size / PIECE)):
            yield await run_in_threadpool(self.jobs.piece, name, number)


def too_many(seconds: int) -> Response:
    """429: as many jobs wait as may."""
    message = "Too many jobs are waiting: try again later"
    response = contract.rate_limited(time.time() + seconds, message)
    response.headers["retry-after"] = str(seconds)
    return response
