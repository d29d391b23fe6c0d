"""What a file is, told by its bytes: for what people are told, and for what is never tried.

It decides nothing of what can be played: ``reader`` finds that out by playing it.
"""

from __future__ import annotations

import codecs
import os
from types import MappingProxyType
from typing import BinaryIO

__all__ = ["HEAD", "format_of", "id3_length", "is_protected", "no_sound", "the_file"]

HEAD = 4096  # bytes; as many as these functions look at

# What people call the formats of sound and video → what is where in their first bytes.
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

# Of a song that only its shop's own player decrypts: the boxes of ISO/IEC 14496-12, 8.12.1
# (MP4), those of Audible's books, and the objects of ASF, 3.14 and 3.15.
_LOCKS = (
    (b"sinf", b"frma", b"schm"),
    (b"aavd", b"adrm"),
    (b"\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e",),
    (b"\x14\xe6\x8a\x29\x22\x26\x17\x4c\xb9\x35\xda\xe0\x7e\xe9\x28\x9c",),
)
_LOCKED_WITHIN = 8 * 2**20  # bytes from either end of a file: its table of contents


def format_of(data: bytes) -> str | None:
    """What a file of sound is called (wav, mp3, m4a, …), by its first bytes; None: not known."""
    for name, marks in _FORMATS.items():
        if all(data[place : place + len(mark)] == mark for place, mark in marks):
            return name
    if data[:2] in (b"\xff\xf1", b"\xff\xf9"):  # ADTS, ISO/IEC 13818-7, 6.2
        return "aac"
    return "mp3" if data[:3] == b"ID3" or _is_mpeg_frame(data[:4]) else None


def the_file(head: bytes) -> str:
    """How a sentence about the file begins."""
    kind = format_of(head)
    return f"The {kind.upper()} file" if kind else "The file"


def no_sound(head: bytes) -> str:
    """What a file is that can be no sound, as in "This is … and no sound"; "" if it may be one."""
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
    """The bytes of the tag of ID3v2 that a file begins with: 7 bits of each of four bytes."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 127) << 7 * place for place, byte in enumerate(head[9:5:-1]))


def is_protected(file: BinaryIO) -> bool:
    """Whether an MP4 or WMA says that it is encrypted; moves the position in ``file``."""
    size = file.seek(0, os.SEEK_END)
    for start in {0, max(0, size - _LOCKED_WITHIN)}:
        file.seek(start)
        data = file.read(_LOCKED_WITHIN)
        if any(all(part in data for part in parts) for parts in _LOCKS):
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
    """The first bytes as text in small letters, if that is what they are; else ""."""
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
    try:
        text = decoder.decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return ""
    readable = all(letter.isprintable() or letter.isspace() for letter in text)
    return text.strip().lower() if readable else ""
