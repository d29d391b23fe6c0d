"""Every text in an audio file's tags, whichever tag it is in.

Other programs move comments: ffmpeg makes them DESCRIPTION in a FLAC, TXXX in an MP3, ©cmt in
an M4A. So every tag is looked at. The formats that this program writes are parsed here, within
bounds; all others by ffmpeg, in its own process.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from musicgen_space.audio.ffmpeg import ResourceLimits, run_ffmpeg
from musicgen_space.audio.reader import open_source
from musicgen_space.errors import UnreadableAudio

__all__ = ["tag_texts"]

_MAX_BYTES = 2**20  # of all texts together, per parser
_MAX_CHUNKS = 10_000  # of a WAV
_MAX_BLOCKS = 128  # of a FLAC
_VORBIS_COMMENT = 4  # block type (RFC 9639, 8.1)
_LIMITS = ResourceLimits(seconds=10, memory=256 * 2**20)


def tag_texts(source: bytes | Path) -> Iterator[str]:
    """The texts, lazily, the cheapest parser first; none if there are no tags.

    Raises ``UnreadableAudio`` for a file that can't be opened.
    """
    with open_source(source) as file:
        for texts in (_wav_texts, _flac_texts, _ffmpeg_texts):
            file.seek(0)
            yield from texts(file)


def _wav_texts(file: BinaryIO) -> Iterator[str]:
    """The texts of a WAV's INFO list, of which libsndfile reads only 2 kB each.

    Chunks follow each other, padded to even lengths: 4 letters, uint32 length, content.
    """
    start = file.read(12)
    if start[:4] not in (b"RIFF", b"RF64", b"BW64") or start[8:] != b"WAVE":
        return
    inside, left = False, _MAX_BYTES
    for _ in range(_MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return
        name, size = struct.unpack("<4sI", header)
        if name == b"LIST" and file.read(4) == b"INFO":
            inside = True
        elif name == b"LIST":
            file.seek(size + size % 2 - 4, 1)
        elif inside and name[:1] == b"I" and size <= left:
            left -= size
            yield file.read(size + size % 2).rstrip(b"\0").decode(errors="replace")
        else:
            file.seek(size + size % 2, 1)


def _flac_texts(file: BinaryIO) -> Iterator[str]:
    """The values of a FLAC's comments: RFC 9639, 8.1 (blocks) and 8.6 (comments).

    A block is one byte (its type, and whether it is the last one), uint24 length, content.
    """
    if file.read(4) != b"fLaC":
        return
    for _ in range(_MAX_BLOCKS):
        header = file.read(4)
        if len(header) < 4:
            return
        kind, size = header[0], int.from_bytes(header[1:])
        if kind & 127 == _VORBIS_COMMENT and size <= _MAX_BYTES:
            yield from _comments(file.read(size))
        else:
            file.seek(size, 1)
        if kind & 128:
            return


def _comments(block: bytes) -> Iterator[str]:
    """The values of name=value, each after its length: uint32, as is the number of all."""
    (vendor,) = struct.unpack_from("<I", block) if len(block) >= 4 else (len(block),)
    place = 4 + vendor + 4
    while place + 4 <= len(block):
        (size,) = struct.unpack_from("<I", block, place)
        place += 4 + size
        yield block[place - size : place].partition(b"=")[2].decode(errors="replace")


def _ffmpeg_texts(file: BinaryIO) -> Iterator[str]:
    """The tags of the file and of its first audio track in ffmpeg's ffmetadata: key=value lines.

    A backslash escapes the next character or line break.
    """
    writing = ["-map", "0:a:0", "-c", "copy", "-t", "0", "-f", "ffmetadata"]
    try:
        with run_ffmpeg(file, [], writing, _LIMITS) as stream:
            listed = stream.read(_MAX_BYTES).decode(errors="replace")
    except (UnreadableAudio, subprocess.SubprocessError):
        return
    values: Iterable[str] = re.findall(r"=((?:[^\\\n]++|\\.)*+)", listed, re.DOTALL)
    for value in values:
        yield re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
