"""What the index knows of a take, in the tags of its file: a lost index costs nothing.

``audio.encode`` writes what made a take. Whose it is, its name, its star and its place in the
list are in a tag beside. The visitor is there as the index has them, as the SHA-256 of a random
secret, and in the same folder: that tells nobody who can read it anything new, and without it
nobody would find their takes again. But it is the same in all files of a visitor, so a file
that leaves the library goes without (``without_tag``).
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from typing import Any

import mutagen
from mutagen.flac import FLAC

from musicgen_space.audio.files import read_settings, read_take
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.library.index import Record
from musicgen_space.library.records import ID, MAX_NAME_CHARACTERS, record_of
from musicgen_space.request import checked_text

__all__ = ["read_record", "with_tag", "without_tag"]

_TAG = "musicgen_library"


def with_tag(data: bytes, record: Record) -> bytes:
    """A FLAC file with what its row says of it, whatever else its tags say."""
    flac = _flac(data)
    known = {
        "id": record.id,
        "visitor": record.visitor.hex(),
        "number": record.number,
        "created": record.created,
        "batch": record.batch,
        "name": record.name,
        "favourite": record.favourite,
        "seconds_taken": record.seconds_taken,
        "stopped": record.stopped,
    }
    flac[_TAG] = json.dumps(known)
    if read_settings(data) is None:  # another program has dropped them
        flac["comment"] = json.dumps(record.settings, ensure_ascii=False)
    return _saved(flac, data)


def without_tag(data: bytes) -> bytes:
    """A FLAC file as it is outside the library."""
    flac = _flac(data)
    flac.pop(_TAG, None)
    return _saved(flac, data)


def read_record(data: bytes) -> Record | None:
    """The row that a file with our tags should have; None for another file.

    Its ``visitor`` is b"" and its ``id`` "" where the file is one that was never in a library.
    Raises ``UnreadableAudio`` for a file that is no FLAC file or can't be played to its end.
    """
    flac = _flac(data)
    take = read_take(data)
    if take is None:
        return None
    if take.samples.shape[-1] != flac.info.total_samples:
        raise UnreadableAudio("The FLAC file is cut short.")
    try:
        known = _checked(json.loads(flac.get(_TAG, [""])[0]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return record_of(b"", take, id="", batch="")
    timed = {name: known.pop(name) for name in ("seconds_taken", "stopped")}
    return record_of(take=dataclasses.replace(take, **timed), **known)


def _checked(known: dict[str, Any]) -> dict[str, Any]:
    """What ``with_tag`` wrote; raises ``ValueError`` and the like for anything else."""
    if not (ID.fullmatch(known["id"]) and ID.fullmatch(known["batch"])):
        raise ValueError("an id is of another kind")
    created, seconds = float(known["created"]), float(known["seconds_taken"])
    if not (math.isfinite(created) and math.isfinite(seconds)):
        raise ValueError("a time is no number")
    return {
        "id": known["id"],
        "visitor": bytes.fromhex(known["visitor"]),
        "number": int(known["number"]) if 0 < int(known["number"]) < 2**62 else None,
        "created": created,
        "batch": known["batch"],
        "name": _name(known["name"]),
        "favourite": bool(known["favourite"]),
        "seconds_taken": seconds,
        "stopped": bool(known["stopped"]),
    }


def _name(name: object) -> str:
    try:
        return checked_text("name", name, required=False, most=MAX_NAME_CHARACTERS)
    except InvalidRequest:
        return ""


def _flac(data: bytes) -> FLAC:
    try:
        flac = FLAC(io.BytesIO(data))
    except mutagen.MutagenError as error:
        raise UnreadableAudio("The file is no FLAC file, or a broken one.") from error
    if flac.tags is None:
        flac.add_tags()
    return flac


def _saved(flac: FLAC, data: bytes) -> bytes:
    file = io.BytesIO(data)
    flac.save(file)
    return file.getvalue()
