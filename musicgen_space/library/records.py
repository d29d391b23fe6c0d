"""Takes as rows, rows as entries."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime

from musicgen_space.audio import settings_of
from musicgen_space.library.entry import Entry
from musicgen_space.library.index import Record
from musicgen_space.library.words import findable
from musicgen_space.outline import outline
from musicgen_space.request import Take

__all__ = ["entry_of", "key_of", "record_of"]

_BARS = 120  # of a waveform in the list


def key_of(visitor: str) -> bytes:
    """What is stored of a visitor's secret."""
    return hashlib.sha256(visitor.encode("utf-8", "surrogatepass")).digest()


def record_of(visitor: str, take: Take, *, id: str, batch: str, size: int) -> Record:
    """The row of a new take, whose file has ``size`` bytes."""
    return Record(
        id=id,
        visitor=key_of(visitor),
        deleted=None,
        favourite=False,
        size=size,
        found_by=findable("", take.request.prompt, take.model),
        name="",
        prompt=take.request.prompt,
        model=take.model,
        backend=take.backend,
        seed=take.request.seed,
        duration=take.duration,
        seconds_taken=take.seconds_taken,
        cost=take.receipt.cost if take.receipt else None,
        created=time.time(),
        stopped=take.stopped,
        batch=batch,
        peaks=bytes(outline(take.samples, _BARS)),
        settings=settings_of(take),
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
