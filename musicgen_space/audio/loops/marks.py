"""Where a file loops, as samplers and players know it: from its first sample to its last.

A WAV gets a ``smpl`` chunk, FLAC and OGG the comments LOOPSTART and LOOPLENGTH, which RPG Maker
made known. An MP3 has nothing of the kind, and encoders put silence around it.
"""

from __future__ import annotations

import io
import struct

from mutagen.flac import FLAC
from mutagen.oggvorbis import OggVorbis

__all__ = ["with_loop"]

_MIDDLE_C = 60  # MIDI
_COMMENTS = {"flac": FLAC, "ogg": OggVorbis}


def with_loop(data: bytes, format_name: str, samples: int, sample_rate: int) -> bytes:
    """The file in ``data``, of so many ``samples`` per channel, marked as one endless loop."""
    if format_name == "wav":
        return _with_chunk(data, b"smpl", _sampler(samples, sample_rate))
    if format_name in _COMMENTS:
        return _with_comments(data, format_name, samples)
    return data


def _with_comments(data: bytes, format_name: str, samples: int) -> bytes:
    tags = _COMMENTS[format_name](io.BytesIO(data))
    tags["LOOPSTART"], tags["LOOPLENGTH"] = "0", str(samples)
    file = io.BytesIO(data)
    tags.save(file)
    return file.getvalue()


def _sampler(samples: int, sample_rate: int) -> bytes:
    """A ``smpl`` chunk's content (Multimedia Data Standards Update, April 1994).

    Nine words: manufacturer, product, nanoseconds a sample, MIDI note, its fraction, SMPTE format
    and offset, loops, bytes after them. Of each loop six: id, type (0: forwards), first and last
    sample, fraction, how often (0: for ever).
    """
    period = round(1e9 / sample_rate)
    words = (0, 0, period, _MIDDLE_C, 0, 0, 0, 1, 0, 0, 0, 0, samples - 1, 0, 0)
    return struct.pack(f"<{len(words)}I", *words)


def _with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """A RIFF file with a chunk more, at its end; ``content`` is of even length."""
    padded = data + bytes(len(data) % 2)
    whole = padded + name + struct.pack("<I", len(content)) + content
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
