"""Detects file types by their magic bytes, for error messages and to reject other kinds.

Whether a file can be decoded is not decided here: ``reader`` tries.
"""

from __future__ import annotations

import codecs
import os
from types import MappingProxyType
from typing import BinaryIO

__all__ = ["HEAD", "describe_non_audio", "file_label", "format_of", "id3_length", "is_encrypted"]

HEAD = 4096  # bytes that these functions need

# Format name → magic bytes with their offsets.
_FORMATS = MappingProxyType(
    {
        "wav": ((0, b"RIFF"), (8, b"WAVE")),
        "rf64": ((0, b"RF64"), (8, b"WAVE")),
        "bw64": ((0, b"BW64"), (8, b"WAVE")),
        "w64": ((0, b"riff\x2e\x91\xcf\x11"),),
        "avi": ((0, b"RIFF"), (8, b"AVI ")),
        "flac": ((0, b"fLaC"),),
        "ogg": ((0, b"OggS"),),
        "m4a": ((4, b"ftypM4A"),),
        "mp4": ((4, b"ftyp"),),
        "webm": ((0, b"\x1a\x45\xdf\xa3"),),  # EBML, RFC 8794: Matroska, too
        "aiff": ((0, b"FORM"), (8, b"AIF")),
        "caf": ((0, b"caff"),),
        "au": ((0, b".snd"),),
        "wma": ((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),),  # ASF: WMV, too
        "amr": ((0, b"#!AMR"),),
        "flv": ((0, b"FLV\x01"),),
        "ape": ((0, b"MAC "),),
        "wv": ((0, b"wvpk"),),
        "tta": ((0, b"TTA1"),),
    }
)
_OTHERS = MappingProxyType(
    {
        "a picture": (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*"),
        "a PDF document": (b"%PDF-",),
        "an archive": (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ"),
        "a MIDI file, which has notes,": (b"MThd",),
        "a program": (b"MZ", b"\x7fELF"),
    }
)
_PLAYLISTS = ("#extm3u", "[playlist]", "ffconcat ", "<asx", "<smil", "<mpd", "v=0")
_PAGES = ("<!doctype html", "<html")

# DRM: the boxes of ISO/IEC 14496-12, 8.12.1 (MP4), those of Audible, and the objects of ASF,
# 3.14 and 3.15.
_DRM_MARKERS = (
    (b"sinf", b"frma", b"schm"),
    (b"aavd", b"adrm"),
    (b"\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e",),
    (b"\x14\xe6\x8a\x29\x22\x26\x17\x4c\xb9\x35\xda\xe0\x7e\xe9\x28\x9c",),
)
_DRM_SEARCH = 8 * 2**20  # bytes from either end of a file, where its index is


def format_of(data: bytes) -> str | None:
    """The format (wav, mp3, m4a, …) of an audio file by its first bytes; None if unknown."""
    for name, marks in _FORMATS.items():
        if all(data[offset : offset + len(magic)] == magic for offset, magic in marks):
            return name
    if data[:2] in (b"\xff\xf1", b"\xff\xf9"):  # ADTS, ISO/IEC 13818-7, 6.2
        return "aac"
    return "mp3" if data[:3] == b"ID3" or _is_mpeg_frame(data[:4]) else None


def file_label(head: bytes) -> str:
    """The subject of an error message: "The MP3 file", "The file"."""
    kind = format_of(head)
    return f"The {kind.upper()} file" if kind else "The file"


def describe_non_audio(head: bytes) -> str:
    """The kind of a file that can't be audio, for "This is … and no sound"; "" if it may be."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a picture"
    for what, starts in _OTHERS.items():
        if head.startswith(starts):
            return what
    text = _text(head)
    if text.startswith(_PLAYLISTS):
        return "a playlist, which only names other files,"
    if text.startswith(_PAGES):
        return "a web page"
    return "a picture" if "<svg" in text else "text" if text else ""


def id3_length(head: bytes) -> int:
    """The length of the ID3v2 tag at the start of a file: a synchsafe integer (7 bits a byte)."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 127) << 7 * place for place, byte in enumerate(head[9:5:-1]))


def is_encrypted(file: BinaryIO) -> bool:
    """Whether an MP4 or WMA has DRM markers; moves the position in ``file``."""
    size = file.seek(0, os.SEEK_END)
    for start in {0, max(0, size - _DRM_SEARCH)}:
        file.seek(start)
        data = file.read(_DRM_SEARCH)
        if any(all(part in data for part in parts) for parts in _DRM_MARKERS):
            return True
    return False


def _is_mpeg_frame(header: bytes) -> bool:
    """Whether these four bytes can start an MPEG audio frame (ISO 11172-3, 2.4.2.3)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return False
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, sample_rate = header[2] >> 4, header[2] >> 2 & 3
    return version != 1 and layer != 0 and bit_rate not in (0, 15) and sample_rate != 3


def _text(head: bytes) -> str:
    """The first bytes as lower-case text; "" if they are not text."""
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
    try:
        text = decoder.decode(head)  # incremental: the last character may be cut off
    except UnicodeDecodeError:
        return ""
    readable = all(letter.isprintable() or letter.isspace() for letter in text)
    return text.strip().lower() if readable else ""
