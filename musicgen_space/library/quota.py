"""Which takes are evicted: those deleted a while ago, and those beyond a quota."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, select, true
from sqlalchemy.orm import Session

from musicgen_space.library.index import Record

__all__ = ["Deletions", "drop", "make_room", "one_of"]

log = logging.getLogger(__name__)


class Deletions:
    """How long takes have been deleted, by a monotonic clock.

    Counted from when this process first saw each: a changed system time shortens no undo.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, float | None], float] = {}  # (id, deleted) → first seen

    def update(self, session: Session) -> None:
        """Note which takes are deleted now."""
        deleted = select(Record.id, Record.deleted).where(Record.deleted.is_not(None))
        marks = [(id, mark) for id, mark in session.execute(deleted)]
        now = time.monotonic()
        self._seen = {mark: self._seen.get(mark, now) for mark in marks}

    def older_than(self, seconds: float) -> list[str]:
        """The ids of takes deleted for longer than ``seconds``, as of the last ``update``."""
        since = time.monotonic() - seconds
        return [id for (id, _), seen in self._seen.items() if seen < since]


def make_room(
    session: Session,
    visitor: bytes,
    kept: Sequence[str],
    *,
    total_bytes: int,
    visitor_bytes: int | None,
) -> list[str]:
    """Drop rows until the rest fits the quotas beside what was just ``kept``; → their ids.

    The order of eviction: deleted takes first, favourites last; then ``visitor``'s own before
    others'; then the oldest first.
    """
    own = Record.visitor == visitor
    gone: list[str] = []
    if visitor_bytes is not None:
        gone += _drop_excess(session, own, own, kept, visitor_bytes)
    return gone + _drop_excess(session, true(), own, kept, total_bytes)


def _drop_excess(
    session: Session,
    whose: ColumnElement[bool],
    first: ColumnElement[bool],
    kept: Sequence[str],
    quota: int,
) -> list[str]:
    excess = (session.scalar(select(func.sum(Record.size)).where(whose)) or 0) - quota
    if excess <= 0:
        return []
    candidates = (
        select(Record.id, Record.size)
        .where(whose, Record.id.not_in(kept), Record.size > 0)
        .order_by(Record.deleted.is_not(None).desc(), Record.favourite, ~first, Record.number)
    )
    gone = []
    for take, size in session.execute(candidates):
        if excess <= 0:
            break
        gone.append(take)
        excess -= size
    drop(session, gone)
    log.info("Takes evicted for newer ones, by a quota of %d bytes: %s", quota, gone)
    return gone


def drop(session: Session, ids: Sequence[str]) -> None:
    """Delete rows."""
    dropped = delete(Record).where(one_of(ids))
    session.execute(dropped.execution_options(synchronize_session=False))


def one_of(ids: Sequence[str]) -> ColumnElement[bool]:
    """A condition that a row has one of ``ids``, not limited by SQL's number of parameters."""
    return Record.id.in_(select(func.json_each(json.dumps(ids)).table_valued("value").c.value))
