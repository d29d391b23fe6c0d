"""Putting a library in order that was left in the middle of something."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from musicgen_space.audio import decode
from musicgen_space.errors import UnreadableAudio
from musicgen_space.library.files import found_in, remove
from musicgen_space.library.index import Record
from musicgen_space.library.room import NO_OBJECTS, drop

__all__ = ["mend", "set_aside_unlisted"]

log = logging.getLogger(__name__)

_LEFTOVER_SECONDS = 600  # a younger file may be one that is just being kept
_OURS = re.compile(r"[\w-]{22}\.flac(\.part)?", re.ASCII)  # others in there are somebody's own
_TOLERANCE = 0.1  # seconds


def mend(session: Session, sounds: Path, now: float) -> None:
    """Drop rows whose sound isn't there any more, and remove our files without a row.

    A file that something else has changed stays listed, with its new size, if it plays as
    long as it did: somebody has tagged it, or packed it tighter. If not, it is set aside.
    ``session`` must be a writing one: then no other process lists anything meanwhile.
    """
    found = found_in(sounds)
    rows = [*session.execute(select(Record.id, Record.size, Record.duration))]
    broken = []
    for take, size, seconds in rows:
        path = sounds / f"{take}.flac"
        file = found.pop(path.name, None)
        if file is not None and file.st_size == size:
            continue
        if file is not None and _lasts(path, seconds):
            resized = update(Record).where(Record.id == take).values(size=file.st_size)
            session.execute(resized.execution_options(**NO_OBJECTS))
            continue
        broken.append(take)
        if file is not None:
            _set_aside(path, now)
    drop(session, broken)
    for name, file in found.items():
        if _OURS.fullmatch(name) and file.st_mtime < now - _LEFTOVER_SECONDS:
            remove(sounds / name)


def set_aside_unlisted(sounds: Path, index: Path, now: float) -> None:
    """Where the index was lost, move the folder of sounds: a new index would clear them away."""
    # In this order: another process may just make both, and it makes the index first.
    unlisted = any(map(_OURS.fullmatch, found_in(sounds)))
    if unlisted and not index.exists():
        aside = sounds.with_name(f"{sounds.name}-without-index-{now:.0f}")
        sounds.rename(aside)
        sounds.mkdir(mode=0o700)
        log.warning("The index of the takes is gone: their sound is in %s now", aside)


def _set_aside(path: Path, now: float) -> None:
    """Move a file out of the folder of sounds, to where its owner may find and repair it."""
    aside = path.parent.with_name(f"{path.parent.name}-unreadable-{now:.0f}")
    aside.mkdir(mode=0o700, exist_ok=True)
    path.rename(aside / path.name)
    log.warning("A take can't be played any more: its file is in %s now", aside)


def _lasts(path: Path, seconds: float) -> bool:
    """Whether a file can be played and is about so long."""
    try:
        samples, rate = decode(path.read_bytes())
    except (OSError, UnreadableAudio):
        return False
    return bool(abs(samples.shape[1] / rate - seconds) <= _TOLERANCE)
