"""Putting a library in order that was left in the middle of something."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from musicgen_space.audio import decode
from musicgen_space.errors import UnreadableAudio
from musicgen_space.library.files import found_in, remove
from musicgen_space.library.index import Record
from musicgen_space.library.room import drop

__all__ = ["mend", "set_aside_unlisted"]

log = logging.getLogger(__name__)

_LEFTOVER_SECONDS = 600  # a younger file may be one that is just being kept
_OURS = re.compile(r"[\w-]{22}\.flac(\.part)?", re.ASCII)  # others in there are somebody's own


def mend(session: Session, sounds: Path, now: float) -> list[str]:
    """Drop rows whose file isn't there as it was written (→ their ids), and our files without one.

    ``session`` must be a writing one: then no other process lists anything meanwhile.
    """
    found = found_in(sounds)
    rows = [*session.execute(select(Record.id, Record.size))]
    broken = [take for take, size in rows if not _is_whole(sounds / f"{take}.flac", found, size)]
    drop(session, broken)
    listed = {f"{take}.flac" for take, _ in rows}
    for name, file in found.items():
        ours = _OURS.fullmatch(name) and name not in listed
        if ours and file.st_mtime < now - _LEFTOVER_SECONDS:
            remove(sounds / name)
    return broken


def set_aside_unlisted(sounds: Path, index: Path, now: float) -> None:
    """Where the index was lost, move the folder of sounds: a new index would clear them away."""
    # In this order: another process may just make both, and it makes the index first.
    unlisted = any(map(_OURS.fullmatch, found_in(sounds)))
    if unlisted and not index.exists():
        aside = sounds.with_name(f"{sounds.name}-without-index-{now:.0f}")
        sounds.rename(aside)
        sounds.mkdir(mode=0o700)
        log.warning("The index of the takes is gone: their sound is in %s now", aside)


def _is_whole(path: Path, found: Mapping[str, os.stat_result], size: int) -> bool:
    if path.name not in found:
        return False
    return found[path.name].st_size == size or _plays_longer(path, size)


def _plays_longer(path: Path, size: int) -> bool:
    """Whether a file that has changed is one to which somebody has added tags or a picture."""
    try:
        return path.stat().st_size > size and decode(path.read_bytes())[0].size > 0
    except (OSError, UnreadableAudio):
        return False
