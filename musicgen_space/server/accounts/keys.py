"""Keys: who may use the API, for what, how often, and with how many credits.

A key is shown once, when it is made; the database has its SHA-256, which for 128 random bits
is as good as a slow hash.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from musicgen_space.errors import InvalidRequest
from musicgen_space.request import Limit, checked_number, checked_text
from musicgen_space.server.database import CREDIT, OWNER, Account, Database

__all__ = ["PER_MINUTE", "SCOPES", "Keys", "Minute", "as_credits"]

SCOPES = {"music": "make music", "metrics": "read /metrics"}
PER_MINUTE = Limit(1, 10_000, 60, 1, "jobs")
_GRANT = Limit(-1e9, 1e9, 0.0, 0.01, "credits")
_NAME_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Minute:
    """Whether one more job is ``allowed`` in this minute, which ends at ``resets_at`` (Unix)."""

    allowed: bool
    resets_at: float


def as_credits(millionths: int) -> float:
    """Money of the database in credits."""
    return millionths / CREDIT


class Keys:
    """The keys in a ``Database``."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    def add(
        self,
        name: str,
        scopes: list[str] | None = None,
        balance: float = 0.0,
        per_minute: int = int(PER_MINUTE.default),
    ) -> tuple[str, str]:
        """Make a key; → its id and the key itself. Raises ``InvalidRequest``."""
        name = checked_text("name", name, required=True, most=_NAME_CHARACTERS)
        for scope in scopes or []:
            if scope not in SCOPES:
                raise InvalidRequest("scope", scope, f"must be one of {[*SCOPES]}")
        key = f"MG_{secrets.token_hex(16)}"
        account = Account(
            id=secrets.token_hex(4),
            name=name,
            digest=_digest(key),
            scopes=" ".join(scopes or ["music"]),
            credits=_millionths(balance),
            per_minute=int(checked_number("rate", per_minute, PER_MINUTE)),
            created=self._now(),
        )
        with self._database.writing() as session:
            session.add(account)
        return account.id, key

    def all(self) -> list[Account]:
        """The keys, those that were revoked too, oldest first."""
        with self._database.reading() as session:
            found = select(Account).where(Account.id != OWNER).order_by(Account.created)
            return [*session.scalars(found)]

    def revoke(self, id: str) -> None:
        """End a key; its jobs that are not done are made all the same. ``InvalidRequest``."""
        with self._database.writing() as session:
            _existing(session, id).revoked = self._now()

    def grant(self, id: str, more: float) -> float:
        """Give a key credits, or take some; → its balance. Raises ``InvalidRequest``."""
        change = _millionths(more)
        with self._database.writing() as session:
            _existing(session, id)
            account = update(Account).where(Account.id == id)
            session.execute(account.values(credits=Account.credits + change))
        return as_credits(self.account(id).available)

    def charge(self, id: str, price: int) -> bool:
        """Take millionths of a credit; → whether it had them, and its key counts still."""
        paying = update(Account).where(Account.id == id, Account.revoked.is_(None))
        if price:
            paying = paying.where(Account.credits - Account.reserved >= price)
        with self._database.writing() as session:
            changed = paying.values(credits=Account.credits - price).returning(Account.id)
            return session.scalar(changed) is not None

    def account(self, id: str) -> Account:
        """An account as it is now."""
        with self._database.reading() as session:
            return session.get_one(Account, id)

    def find(self, key: str) -> Account | None:
        """The account of a key, which may be a revoked one; None for no key of ours."""
        with self._database.reading() as session:
            return session.scalar(select(Account).where(Account.digest == _digest(key)))

    def count(self, id: str) -> Minute:
        """Count one more job of this minute."""
        minute = int(self._now() // 60)
        used = case((Account.minute == minute, Account.used + 1), else_=1)
        with self._database.writing() as session:
            count = update(Account).where(Account.id == id)
            session.execute(count.values(used=used, minute=minute))
            account = session.get_one(Account, id, populate_existing=True)
        return Minute(account.used <= account.per_minute, 60.0 * (minute + 1))


def _existing(session: Session, id: str) -> Account:
    account = session.get(Account, id)
    if account is None or id == OWNER:
        raise InvalidRequest("key", id, "must be the id of a key, as `keys list` shows it")
    return account


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _millionths(amount: float) -> int:
    return round(checked_number("credits", amount, _GRANT) * CREDIT)
