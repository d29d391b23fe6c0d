"""Takes as rows, rows as entries."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime

from musicgen_space.audio.files import settings_of
from musicgen_space.audio.peaks import normalised_peaks
from musicgen_space.library.entry import Entry
from musicgen_space.library.index import Record
from musicgen_space.library.search import findable
from musicgen_space.take import Take

__all__ = [
    "ID",
    "MAX_NAME_CHARACTERS",
    "entry_of",
    "key_of",
    "makes_sense",
    "moment",
    "record_of",
]

ID = re.compile(r"[\w-]{22}", re.ASCII)  # what token_urlsafe(16) gives
MAX_NAME_CHARACTERS = 120
_LAST_MOMENT = 253_402_300_799.0  # the end of 9999: dates go no further

_BARS = 120  # of a waveform in the list


def key_of(visitor: str) -> bytes:
    """What is stored of a visitor's secret."""
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
    """The row of a take, before there is a file; ``number`` None: the next one.

    ``created`` is in seconds since 1970.
    """
    return Record(
        number=number,
        id=id,
        visitor=visitor,
        deleted=None,
        favourite=favourite,
        size=0,
        found_by=findable(name, take.request.prompt, take.model),
        name=name,
        prompt=take.request.prompt,
        model=take.model,
        backend=take.backend,
        seed=take.request.seed,
        duration=take.duration,
        seconds_taken=take.seconds_taken,
        cost=_cost_of(take),
        created=moment(created),
        stopped=take.stopped,
        batch=batch,
        peaks=bytes(normalised_peaks(take.samples, _BARS)),
        settings=settings_of(take),
        stamp="",
    )


def entry_of(record: Record) -> Entry:
    """What the list shows of a row."""
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


def moment(seconds: float) -> float:
    """Seconds since 1970, as far as dates go, of what some clock says."""
    return min(max(seconds, 0.0), _LAST_MOMENT)


def makes_sense(record: Record) -> bool:
    """Whether a row can be shown: SQLite keeps whatever a broken disk has made of its values."""
    columns = Record.__table__.columns
    values = [(getattr(record, column.key), column) for column in columns]
    fit = all(
        column.nullable if value is None else isinstance(value, column.type.python_type)
        for value, column in values
    )
    return fit and record.created == moment(record.created) and bool(ID.fullmatch(record.id))


def _cost_of(take: Take) -> float | None:
    """What its receipt says, which may be anything in a file that somebody has changed."""
    cost = take.receipt.cost if take.receipt else None
    return cost if isinstance(cost, int | float) and math.isfinite(cost) else None
