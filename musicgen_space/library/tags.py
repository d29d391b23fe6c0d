"""Index data of a take in its file's tags, so that a lost index can be rebuilt.

``audio.files.encode`` writes the settings. Visitor, name, favourite and position are in a tag
of our own. The visitor is the SHA-256 of a random secret, as in the index in the same folder,
so the tag reveals nothing new to whoever can read the files; of a person who has signed in it is
that of their id. It links all files of a visitor, so files that leave the library have it removed
(``without_tag``).
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

__all__ = ["Marks", "read_marks", "read_record", "with_marks", "with_tag", "without_tag"]

_TAG = "musicgen_library"


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """What can change of a kept take. In a library's own folder its file's name says ``deleted``.

    ``visitor`` is that of ``Record``, in hexadecimal.
    """

    visitor: str
    name: str
    favourite: bool
    deleted: bool

    def merged(self, before: Marks, other: Marks) -> Marks:
        """What was changed since ``before`` here, and the rest as in ``other``."""
        fields = [field.name for field in dataclasses.fields(self)]
        changed = {name for name in fields if getattr(self, name) != getattr(before, name)}
        return dataclasses.replace(other, **{name: getattr(self, name) for name in changed})


def with_tag(data: bytes, record: Record) -> bytes:
    """The FLAC file with our tag set from its row; other tags are kept."""
    flac = _open_flac(data)
    values = {
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
    flac[_TAG] = json.dumps(values)
    if read_settings(data) is None:  # another program has removed them
        flac["comment"] = json.dumps(record.settings, ensure_ascii=False)
    return _save(flac, data)


def without_tag(data: bytes) -> bytes:
    """The FLAC file without our tag, for use outside the library."""
    flac = _open_flac(data)
    flac.pop(_TAG, None)
    return _save(flac, data)


def read_record(data: bytes) -> Record | None:
    """The row of a file by its tags; None if it has no settings of ours.

    ``visitor`` is b"" and ``id`` "" if the file was never in a library. Raises
    ``UnreadableAudio`` if it is not a FLAC file or can't be decoded to its end.
    """
    flac = _open_flac(data)
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


def read_marks(data: bytes) -> tuple[str, Marks] | None:
    """A take's id and marks by our tag; None for any other file."""
    try:
        values = json.loads(_open_flac(data).get(_TAG, [""])[0])
        known = _checked(values)
        deleted = bool(values.get("deleted", False))
    except (UnreadableAudio, ValueError, TypeError, KeyError, RecursionError):
        return None
    return known["id"], Marks(known["visitor"].hex(), known["name"], known["favourite"], deleted)


def with_marks(data: bytes, marks: Marks) -> bytes:
    """The FLAC file of a kept take with other marks in our tag."""
    flac = _open_flac(data)
    flac[_TAG] = json.dumps({**json.loads(flac[_TAG][0]), **dataclasses.asdict(marks)})
    return _save(flac, data)


def _checked(known: dict[str, Any]) -> dict[str, Any]:
    """Validated values of our tag; raises ``ValueError``, ``TypeError`` or ``KeyError``."""
    if not (ID.fullmatch(known["id"]) and ID.fullmatch(known["batch"])):
        raise ValueError("invalid id")
    created, seconds = float(known["created"]), float(known["seconds_taken"])
    if not (math.isfinite(created) and math.isfinite(seconds)):
        raise ValueError("invalid time")
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


def _open_flac(data: bytes) -> FLAC:
    try:
        flac = FLAC(io.BytesIO(data))
    except mutagen.MutagenError as error:
        raise UnreadableAudio("The file is no FLAC file, or a broken one.") from error
    if flac.tags is None:
        flac.add_tags()
    return flac


def _save(flac: FLAC, data: bytes) -> bytes:
    file = io.BytesIO(data)
    flac.save(file)
    return file.getvalue()
