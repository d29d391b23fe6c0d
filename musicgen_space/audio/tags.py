"""Every text in the tags of a file of sound, whoever wrote them.

Other programs move a comment: ffmpeg makes it DESCRIPTION in a FLAC, TXXX in an MP3, ©cmt in
an M4A. So no place is better than another. The tags of takes as this program writes them are
read here, piece by piece and never beyond a bound; all others by ffmpeg, in its own process.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from musicgen_space.audio.ffmpeg import Bounds, output_of
from musicgen_space.audio.reader import opened
from musicgen_space.errors import UnreadableAudio

__all__ = ["texts_in"]

_MOST = 2**20  # bytes of all texts together, from each way of reading
_MOST_CHUNKS = 10_000  # of a WAV
_MOST_BLOCKS = 128  # of a FLAC
_COMMENTS = 4  # the type of the block that has them (RFC 9639, 8.1)
_BOUNDS = Bounds(seconds=10, memory=256 * 2**20)


def texts_in(source: bytes | Path) -> Iterator[str]:
    """The texts, one by one, the quickest to be found first; none where nothing can be read.

    Raises ``UnreadableAudio`` for a file that can't be opened.
    """
    with opened(source) as file:
        for texts in (_in_a_wav, _in_a_flac, _by_ffmpeg):
            file.seek(0)
            yield from texts(file)


def _in_a_wav(file: BinaryIO) -> Iterator[str]:
    """The texts of a WAV's list INFO; libsndfile reads no more than 2 kB of each.

    Chunks follow each other, padded to even lengths: 4 letters, uint32 length, content.
    """
    start = file.read(12)
    if start[:4] not in (b"RIFF", b"RF64", b"BW64") or start[8:] != b"WAVE":
        return
    inside, left = False, _MOST
    for _ in range(_MOST_CHUNKS):
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


def _in_a_flac(file: BinaryIO) -> Iterator[str]:
    """The values of a FLAC's comments: RFC 9639, 8.1 (blocks) and 8.6 (comments).

    A block is one byte (its type, and whether it is the last one), uint24 length, content.
    """
    if file.read(4) != b"fLaC":
        return
    for _ in range(_MOST_BLOCKS):
        header = file.read(4)
        if len(header) < 4:
            return
        kind, size = header[0], int.from_bytes(header[1:])
        if kind & 127 == _COMMENTS and size <= _MOST:
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


def _by_ffmpeg(file: BinaryIO) -> Iterator[str]:
    """The tags of the file and of its first track, as ffmpeg lists them: key=value, a line each.

    A backslash makes the letter after it, or the line's end, a part of the value.
    """
    writing = ["-map", "0:a:0", "-c", "copy", "-t", "0", "-f", "ffmetadata"]
    try:
        with output_of(file, [], writing, _BOUNDS) as stream:
            listed = stream.read(_MOST).decode(errors="replace")
    except (UnreadableAudio, subprocess.SubprocessError):
        return
    values: Iterable[str] = re.findall(r"=((?:[^\\\n]++|\\.)*+)", listed, re.DOTALL)
    for value in values:
        yield re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
