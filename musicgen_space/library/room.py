"""Which takes go when there are too many bytes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import MappingProxyType

from sqlalchemy import ColumnElement, delete, func, select, true
from sqlalchemy.orm import Session

from musicgen_space.library.index import Record

__all__ = ["NO_OBJECTS", "drop", "drop_expired", "make_room", "one_of"]

# A statement that changes rows need not look for them among the objects of its session.
NO_OBJECTS = MappingProxyType({"synchronize_session": False})


def make_room(
    session: Session,
    visitor: bytes,
    kept: Sequence[str],
    *,
    total_bytes: int,
    visitor_bytes: int | None,
) -> list[str]:
    """Drop rows until what is there fits beside what was just ``kept``; → their ids.

    What was deleted goes first, then what is no favourite: ``visitor``'s own, then
    everybody's. Of equals, the oldest go.
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
    most: int,
) -> list[str]:
    excess = (session.scalar(select(func.sum(Record.size)).where(whose)) or 0) - most
    if excess <= 0:
        return []
    candidates = (
        select(Record.id, Record.size)
        .where(whose, Record.id.not_in(kept))
        .order_by(Record.deleted.is_not(None).desc(), Record.favourite, ~first, Record.number)
    )
    gone = []
    for take, size in session.execute(candidates):
        if excess <= 0:
            break
        gone.append(take)
        excess -= size
    drop(session, gone)
    return gone


def drop_expired(session: Session, before: float) -> list[str]:
    """Remove rows that were deleted ``before`` then (seconds since 1970); → their ids."""
    expired = delete(Record).where(Record.deleted < before).returning(Record.id)
    return [*session.scalars(expired.execution_options(**NO_OBJECTS))]


def drop(session: Session, ids: Sequence[str]) -> None:
    """Remove rows for good."""
    session.execute(delete(Record).where(one_of(ids)).execution_options(**NO_OBJECTS))


def one_of(ids: Sequence[str]) -> ColumnElement[bool]:
    """Whether a row has one of ``ids``, of which there may be more than SQL has parameters."""
    return Record.id.in_(select(func.json_each(json.dumps(ids)).table_valued("value").c.value))
