"""Every text in the tags of a file of sound, whoever wrote them.

Other programs move a comment: ffmpeg makes it DESCRIPTION in a FLAC, TXXX in an MP3, ©cmt in
an M4A. So no place is better than another. mutagen reads most formats, ffmpeg the others.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import mutagen

from musicgen_space.errors import UnreadableAudio
from musicgen_space.ffmpeg import output_of
from musicgen_space.reader import opened

__all__ = ["texts_in"]

_MOST = 2**20  # bytes of one text, or of all that ffmpeg finds
_MOST_CHUNKS = 10_000  # of a WAV


def texts_in(source: bytes | Path) -> Iterator[str]:
    """The texts, one by one, the quickest to be found first; none where nothing can be read.

    Raises ``UnreadableAudio`` for a file that can't be opened.
    """
    with opened(source) as file:
        for texts in (_in_a_wav, _by_mutagen, _by_ffmpeg):
            file.seek(0)
            yield from texts(file)


def _in_a_wav(file: BinaryIO) -> Iterator[str]:
    """The texts of a WAV's list INFO; libsndfile reads no more than 2 kB of each.

    Chunks follow each other, padded to even lengths: 4 letters, uint32 length, content.
    """
    start = file.read(12)
    if start[:4] not in (b"RIFF", b"RF64", b"BW64") or start[8:] != b"WAVE":
        return
    inside = False
    for _ in range(_MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return
        name, size = struct.unpack("<4sI", header)
        if name == b"LIST" and file.read(4) == b"INFO":
            inside = True
        elif name == b"LIST":
            file.seek(size + size % 2 - 4, 1)
        elif inside and name[:1] == b"I" and size <= _MOST:
            yield file.read(size + size % 2).rstrip(b"\0").decode(errors="replace")
        else:
            file.seek(size + size % 2, 1)


def _by_mutagen(file: BinaryIO) -> Iterator[str]:
    try:
        tags = getattr(mutagen.File(file), "tags", None)
        values = [] if tags is None else [*tags.values()]
    except Exception:  # of whatever kind: it fell over what somebody wrote
        return
    for value in values:
        yield from _texts_of(value)


def _texts_of(value: Any) -> Iterator[str]:
    """The texts in what mutagen found: a frame, a list, bytes, …: each format has its own type."""
    value = getattr(value, "text", getattr(value, "value", value))
    if isinstance(value, list):
        for each in value:
            yield from _texts_of(each)
    elif isinstance(value, bytes):
        yield value[:_MOST].decode(errors="replace")
    elif isinstance(value, str):
        yield value


def _by_ffmpeg(file: BinaryIO) -> Iterator[str]:
    """The tags of the file and of its first track, as ffmpeg lists them: key=value, a line each.

    A backslash makes the letter after it, or the line's end, a part of the value.
    """
    writing = ["-map", "0:a:0", "-c", "copy", "-t", "0", "-f", "ffmetadata"]
    try:
        with output_of(file, [], writing) as stream:
            listed = stream.read(_MOST).decode(errors="replace")
            stream.read()
    except (UnreadableAudio, subprocess.SubprocessError):
        return
    values: Iterable[str] = re.findall(r"=((?:\\.|[^\\\n])*)", listed, re.DOTALL)
    for value in values:
        yield re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
