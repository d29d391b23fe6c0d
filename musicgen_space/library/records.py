"""Converts takes to rows, and rows to entries."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime

from musicgen_space.audio.files import settings_of
from musicgen_space.audio.peaks import normalised_peaks
from musicgen_space.library.entry import Entry
from musicgen_space.library.index import Record
from musicgen_space.library.search import searchable_text
from musicgen_space.take import Take

__all__ = [
    "ID",
    "MAX_NAME_CHARACTERS",
    "clamp_time",
    "entry_of",
    "hash_visitor",
    "is_valid",
    "record_of",
]

ID = re.compile(r"[\w-]{22}", re.ASCII)  # as from secrets.token_urlsafe(16)
MAX_NAME_CHARACTERS = 120
_MAX_TIME = 253_402_300_799.0  # the end of the year 9999, datetime's maximum

_PEAKS = 120  # of a waveform in the list


def hash_visitor(visitor: str) -> bytes:
    """The SHA-256 of a visitor's secret, which is all that is stored of it."""
    return hashlib.sha256(visitor.encode("utf-8", "surrogatepass")).digest()


def record_of(
    visitor: bytes,
    take: Take,
    *,
    id: str,
    batch: str,
    number: int | None = None,
    created: float = 0.0,
    name: str = "",
    favourite: bool = False,
) -> Record:
    """The row of a take that has no file yet; ``number`` None: the next one.

    ``created`` is a Unix time.
    """
    return Record(
        number=number,
        id=id,
        visitor=visitor,
        deleted=None,
        favourite=favourite,
        size=0,
        found_by=searchable_text(name, take.request.prompt, take.model),
        name=name,
        prompt=take.request.prompt,
        model=take.model,
        backend=take.backend,
        seed=take.request.seed,
        duration=take.duration,
        seconds_taken=take.seconds_taken,
        cost=_cost_of(take),
        created=clamp_time(created),
        stopped=take.stopped,
        batch=batch,
        peaks=bytes(normalised_peaks(take.samples, _PEAKS)),
        settings=settings_of(take),
        stamp="",
    )


def entry_of(record: Record) -> Entry:
    """The entry of a row."""
    return Entry(
        id=record.id,
        name=record.name or record.prompt,
        prompt=record.prompt,
        model=record.model,
        backend=record.backend,
        seed=record.seed,
        duration=record.duration,
        seconds_taken=record.seconds_taken,
        cost=record.cost,
        created=datetime.fromtimestamp(record.created, UTC),
        favourite=record.favourite,
        stopped=record.stopped,
        batch=record.batch,
        bytes=record.size,
        peaks=tuple(record.peaks),
        settings=record.settings,
    )


def clamp_time(seconds: float) -> float:
    """A Unix time, clamped to what ``datetime`` can represent."""
    return min(max(seconds, 0.0), _MAX_TIME)


def is_valid(record: Record) -> bool:
    """Whether a row's values have valid types: SQLite does not check them after disk damage."""
    columns = Record.__table__.columns
    values = [(getattr(record, column.key), column) for column in columns]
    fit = all(
        column.nullable if value is None else isinstance(value, column.type.python_type)
        for value, column in values
    )
    return fit and record.created == clamp_time(record.created) and bool(ID.fullmatch(record.id))


def _cost_of(take: Take) -> float | None:
    """The receipt's cost, which in a manipulated file may be anything; None if invalid."""
    cost = take.receipt.cost if take.receipt else None
    return cost if isinstance(cost, int | float) and math.isfinite(cost) else None
