"""Jobs in the database: each is made once, and paid once, whatever ends in between.

    submit ─▶ QUEUED ─claim─▶ PROCESSING ─complete─▶ COMPLETED    the credits are charged
                 ▲                │  ├──────fail───▶ FAILED       … or free again
                 └── lease over ──┘  └─────cancel──▶ CANCELLED    … too: its client went away

A server has a job for a while only, and says again and again that it still does (``renew``).
Once it doesn't, as after its end, another one takes the job over, or the same one after its next
start; a second such end fails the job. Every step asks in the same transaction whether the job
still is as it was, and moves the money: so a server that was only slow, not dead, can't complete
a job that another one has by now.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from musicgen_space.server.database import CLIP, OWNER, PIECE, Account, Database, Job, Output, Piece
from musicgen_space.server.jobs.order import Order

__all__ = [
    "CANCELLED",
    "COMPLETED",
    "FAILED",
    "KEPT_SECONDS",
    "OPEN",
    "PROCESSING",
    "QUEUED",
    "Jobs",
    "NoCredits",
    "OtherOrder",
    "Terms",
    "TooMany",
]

QUEUED, PROCESSING = "QUEUED", "PROCESSING"
COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"
OPEN = (QUEUED, PROCESSING)
KEPT_SECONDS = 7 * 24 * 3600

_ATTEMPTS = 2
_OTHERS_WAIT = 10.0  # seconds, while jobs of a model that is loaded go before
_WENT = "The client went away."
_ENDED = "The server ended while the music was made, twice."


@dataclass(frozen=True, slots=True)
class Terms:
    """How many jobs may wait, how many bytes of outputs are kept, and seconds of a lease."""

    most_waiting: int = 32
    most_bytes: int = 2000 * 2**20
    lease: float = 20.0


class NoCredits(Exception):
    """The account can't pay; what it has ``available`` is in millionths of a credit."""

    def __init__(self, available: int) -> None:
        self.available = available


class TooMany(Exception):
    """As many jobs wait as may; try again after so many ``seconds``."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds


class OtherOrder(Exception):
    """The client has used the job's name for another order."""


class Jobs:
    """The jobs in a ``Database``, as the server that is called ``worker`` has to do with them."""

    def __init__(
        self, database: Database, terms: Terms, worker: str, now: Callable[[], float] = time.time
    ) -> None:
        self._database, self._terms, self._worker, self._now = database, terms, worker, now

    def submit(self, order: Order) -> tuple[Job, bool]:
        """Take an order, or find the job that came of it before; → the job, whether it is new.

        Raises ``NoCredits``, ``TooMany`` and ``OtherOrder``.
        """
        for last in (False, True):
            try:
                with self._database.writing() as session:
                    before = self._before(session, order)
                    if before is None or before.status == CANCELLED:
                        return self._taken(session, order, before), True
                    return before, False
            except IntegrityError:  # the same was sent twice at once, and the other came first
                if last:
                    raise
        raise AssertionError

    def find(self, id: str, account: str) -> Job | None:
        """A job of ``account``."""
        with self._database.reading() as session:
            return session.scalar(select(Job).where(Job.id == id, Job.account == account))

    def claim(self, loaded: Collection[str] = ()) -> Job | None:
        """Have the next job to be made: of who was served longest ago, the oldest.

        Jobs of models that are ``loaded`` here go before others, for a while.
        """
        at_once = or_(Job.model.in_(loaded), Job.created < self._now() - _OTHERS_WAIT)
        order = (case((at_once, 0), else_=1), Account.served, Job.created)
        waiting = select(Job.id).join(Account).where(Job.status == QUEUED).order_by(*order)
        with self._database.writing() as session:
            for id in session.scalars(waiting.limit(10)).all():
                if self._begin(session, id):
                    return session.get_one(Job, id, populate_existing=True)
        return None

    def renew(self, made: Collection[str], awaited: Collection[str] = ()) -> set[str]:
        """Keep what of ``made`` still is this server's, and what clients wait for; → the former."""
        later = self._now() + self._terms.lease
        mine = and_(Job.worker == self._worker, Job.status == PROCESSING, Job.id.in_(made))
        heard = and_(Job.waiter == self._worker, Job.id.in_([*made, *awaited]))
        heard = and_(heard, Job.status.in_(OPEN))
        with self._database.writing() as session:
            session.execute(update(Job).where(mine).values(lease=later))
            session.execute(update(Job).where(heard).values(waiter_lease=later))
            return {*session.scalars(select(Job.id).where(mine))}

    def complete(self, job: Job, data: bytes) -> bool:
        """Keep the file of a job of this server and charge for it; → False if it is another's."""
        name = _new_name(job.format)
        with self._database.writing() as session:
            if not self._end(session, job, self._still_mine(job), COMPLETED, output=name):
                return False
            self._store(session, name, job.format, data)
            paid = Account.credits - job.price, Account.reserved - job.price
            _change(session, job.account, credits=paid[0], reserved=paid[1])
            self._prune(session)
        return True

    def fail(self, job: Job, error: str) -> bool:
        """End a job of this server without a file; → False if it is another's."""
        with self._database.writing() as session:
            return self._end_unpaid(session, job, self._still_mine(job), FAILED, error)

    def cancel(self, id: str) -> None:
        """End a job whose client went away, whoever has it."""
        with self._database.writing() as session:
            job = session.get(Job, id)
            if job is not None:
                still = and_(Job.id == id, Job.status.in_(OPEN))
                self._end_unpaid(session, job, still, CANCELLED, _WENT)

    def give_back(self, job: Job) -> None:
        """Let a job be made later, or by another server, as if it had not begun."""
        again = {"status": QUEUED, "worker": None, "lease": None, "attempts": Job.attempts - 1}
        with self._database.writing() as session:
            session.execute(update(Job).where(self._still_mine(job)).values(**again))

    def recover(self) -> None:
        """Take up what servers have left that are no more."""
        now = self._now()
        gone = and_(Job.status.in_(OPEN), Job.waiter_lease < now)
        left = and_(Job.status == PROCESSING, Job.lease < now)
        with self._database.reading() as session:
            if session.scalar(select(Job.id).where(or_(gone, left)).limit(1)) is None:
                return
        with self._database.writing() as session:
            for job in session.scalars(select(Job).where(gone)).all():
                self._end_unpaid(session, job, and_(Job.id == job.id, gone), CANCELLED, _WENT)
            for job in session.scalars(select(Job).where(left)).all():
                still = and_(Job.id == job.id, left)
                if job.attempts >= _ATTEMPTS:
                    self._end_unpaid(session, job, still, FAILED, _ENDED)
                else:
                    again = update(Job).where(still)
                    session.execute(again.values(status=QUEUED, worker=None, lease=None))

    def prune(self) -> None:
        """Forget jobs and files that have been kept for their time."""
        with self._database.writing() as session:
            self._prune(session)

    def waiting(self) -> int:
        """How many jobs wait."""
        with self._database.reading() as session:
            return _waiting(session)

    def left_to_us(self) -> int:
        """How many jobs are to be made, or are being made, while nobody waits for the answer."""
        mine = (Job.status.in_(OPEN), Job.waiter.is_(None))
        with self._database.reading() as session:
            return session.scalar(select(func.count()).where(*mine)) or 0

    def output(self, name: str) -> Output | None:
        """What is known of a take's file; ``piece`` has its bytes."""
        with self._database.reading() as session:
            output = session.get(Output, name)
            return output if output is not None and output.format != CLIP else None

    def clip(self, name: str) -> bytes:
        """A file that a job is made with; empty if it is no longer there."""
        whole = select(Piece.data).where(Piece.output == name).order_by(Piece.number)
        with self._database.reading() as session:
            return b"".join(session.scalars(whole))

    def piece(self, name: str, number: int) -> bytes:
        """One of the pieces of a file, counted from 0; none once it is deleted."""
        with self._database.reading() as session:
            piece = session.get(Piece, (name, number))
            return b"" if piece is None else piece.data

    # Within a transaction.

    def _before(self, session: Session, order: Order) -> Job | None:
        if order.named is None:
            return None
        named = (Job.account == order.account, Job.idempotency == order.named)
        job = session.scalar(select(Job).where(*named).with_for_update())
        if job is not None and job.fingerprint != order.fingerprint:
            raise OtherOrder
        return job

    def _taken(self, session: Session, order: Order, before: Job | None) -> Job:
        # On PostgreSQL all that take orders wait for each other here, so that the count is right.
        session.execute(select(Account.id).where(Account.id == OWNER).with_for_update())
        if not order.live and (waiting := _waiting(session)) >= self._terms.most_waiting:
            raise TooMany(_seconds_of(session, waiting))
        self._reserve(session, order)
        job = before or Job(id=uuid.uuid4().hex, account=order.account, idempotency=order.named)
        for name, value in self._new(order).items():
            setattr(job, name, value)
        job.clips = {field: _new_name(CLIP) for field in order.clips}
        for field, name in job.clips.items():
            self._store(session, name, CLIP, order.clips[field])
        session.add(job)
        session.flush()
        return job

    def _new(self, order: Order) -> dict[str, Any]:
        """What a job is when it begins."""
        now, request = self._now(), order.request.with_seed_drawn()
        later = now + self._terms.lease
        drawn = {**order.asked, "seed": request.seed}
        return {
            **{"fingerprint": order.fingerprint, "model": request.model, "fields": drawn},
            **{"format": order.format, "price": order.price, "created": now},
            **{"started": now if order.live else None, "finished": None, "error": None},
            **{"output": None, "attempts": int(order.live)},
            "status": PROCESSING if order.live else QUEUED,
            "worker": self._worker if order.live else None,
            "lease": later if order.live else None,
            "waiter": self._worker if order.awaited else None,
            "waiter_lease": later if order.awaited else None,
        }

    def _reserve(self, session: Session, order: Order) -> None:
        can_pay = Account.credits - Account.reserved >= order.price
        account = update(Account).where(Account.id == order.account)
        reserve = account.where(can_pay).values(reserved=Account.reserved + order.price)
        if order.price and not _rows(session, reserve):
            raise NoCredits(session.get_one(Account, order.account).available)

    def _begin(self, session: Session, id: str) -> bool:
        now = self._now()
        mine = {"status": PROCESSING, "worker": self._worker, "attempts": Job.attempts + 1}
        times = {"started": now, "lease": now + self._terms.lease}
        free = update(Job).where(Job.id == id, Job.status == QUEUED).values(**mine, **times)
        if not _rows(session, free):
            return False
        _change(session, session.get_one(Job, id).account, served=now)
        return True

    def _still_mine(self, job: Job) -> ColumnElement[bool]:
        mine = and_(Job.worker == self._worker, Job.started == job.started)
        return and_(Job.id == job.id, Job.status == PROCESSING, mine)

    def _store(self, session: Session, name: str, format_name: str, data: bytes) -> None:
        facts = {"format": format_name, "size": len(data), "created": self._now()}
        session.add(Output(name=name, **facts))
        session.flush()
        for number, start in enumerate(range(0, len(data), PIECE)):
            session.add(Piece(output=name, number=number, data=data[start : start + PIECE]))

    def _end(
        self, session: Session, job: Job, still: ColumnElement[bool], status: str, **facts: str
    ) -> bool:
        ended = {"status": status, "finished": self._now(), "lease": None, "waiter_lease": None}
        if not _rows(session, update(Job).where(still).values(**ended, **facts)):
            return False
        if job.clips:
            session.execute(delete(Output).where(Output.name.in_(job.clips.values())))
        return True

    def _end_unpaid(
        self, session: Session, job: Job, still: ColumnElement[bool], status: str, error: str
    ) -> bool:
        if not self._end(session, job, still, status, error=error):
            return False
        _change(session, job.account, reserved=Account.reserved - job.price)
        return True

    def _prune(self, session: Session) -> None:
        """Forget what is too old; of the files, the oldest where they are too many, too."""
        before = self._now() - KEPT_SECONDS
        session.execute(delete(Output).where(Output.created < before))
        session.execute(delete(Job).where(Job.status.not_in(OPEN), Job.finished < before))
        takes = Output.format != CLIP
        total = session.scalar(select(func.coalesce(func.sum(Output.size), 0)).where(takes)) or 0
        oldest = select(Output.name, Output.size).where(takes).order_by(Output.created)
        for name, size in session.execute(oldest).all() if total > self._terms.most_bytes else ():
            if total <= self._terms.most_bytes:
                break
            session.execute(delete(Output).where(Output.name == name))
            total -= size


def _new_name(ending: str) -> str:
    return f"{secrets.token_urlsafe(24)}.{ending}"


def _waiting(session: Session) -> int:
    return session.scalar(select(func.count()).where(Job.status == QUEUED)) or 0


def _seconds_of(session: Session, waiting: int) -> int:
    """How long so many jobs take, by the last ones."""
    took = Job.finished - Job.started
    last = select(took.label("took")).where(Job.status == COMPLETED).order_by(Job.finished.desc())
    mean = session.scalar(select(func.avg(last.limit(10).subquery().c.took)))
    return max(1, min(600, round(waiting * (mean or 10.0))))


def _change(session: Session, account: str, **values: Any) -> None:
    session.execute(update(Account).where(Account.id == account).values(**values))


def _rows(session: Session, statement: Any) -> int:
    """How many rows a change is made to."""
    return session.connection().execute(statement).rowcount
