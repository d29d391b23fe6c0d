"""Files that would fill the memory of whoever takes their word for what is in them.

All are read in one process, which tells the most memory that it had by then.
"""

from __future__ import annotations

import copy
import io
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mutagen.ogg import OggPage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")

MB = 2**20
ROOM = 150  # MB above what a plain file takes
PLAIN = "plain.ogg"

READ = """
import resource, sys
from pathlib import Path
from musicgen_space.audio.clips import read_clip
from musicgen_space.audio.files import read_settings
from musicgen_space.errors import UnreadableAudio

def tell(path, found):
    ours = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(path.name, int(ours) // 1024, theirs // 1024, found, sep="\\t")

paths = [Path(name) for name in sys.argv[1:]]
for path in paths:
    tell(path, read_settings(path))
for path in paths:
    try:
        tell(path, f"{read_clip(path).duration:.0f} s")
    except UnreadableAudio as error:
        tell(path, error)
"""


def sound(kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    samples = np.sin(np.arange(8_000) / 20) / 2
    soundfile.write(file, samples, 8_000, subtype, format=kind)
    return file.getvalue()


def settings_of(size: int) -> bytes:
    """JSON that takes many times its size once it is read."""
    return b'{"prompt": "jazz", "more": [' + b"[]," * (size // 3) + b"[]]}"


def nested() -> bytes:
    return b'{"prompt": ' + b"[" * 60_000


def inflating(size: int) -> bytes:
    """So many bytes of 0, a whole number of MB, as zlib writes them."""
    packer = zlib.compressobj()
    start = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(wbits=-15).flush()
    return start + block * (size // MB - 1) + end + struct.pack(">HH", size % 65521, 1)


def synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def id3(frame: bytes, flags: int, content: bytes) -> bytes:
    """An MP3 with one frame of ID3v2.4."""
    header = frame + synchsafe(len(content)) + struct.pack(">H", flags)
    return b"ID3\4\0\0" + synchsafe(10 + len(content)) + header + content + sound("MP3")


def compressed_frame(frame: bytes) -> bytes:
    size = 1500 * MB
    return id3(frame, 0x0009, synchsafe(size % 2**28) + inflating(size))


def riff(chunk: bytes, content: bytes) -> bytes:
    """A WAV with ``content`` in its list INFO."""
    content += b"\0" * (len(content) % 2)
    listed = b"INFO" + chunk + struct.pack("<I", len(content)) + content
    body = sound("WAV")[12:] + b"LIST" + struct.pack("<I", len(listed)) + listed
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def vorbis_comment(*texts: bytes) -> bytes:
    return struct.pack("<II", 0, len(texts)) + b"".join(
        struct.pack("<I", len(text)) + text for text in texts
    )


def empty_comments(size: int) -> bytes:
    return struct.pack("<II", 0, size // 4) + bytes(size)


def flac(kind: int, content: bytes) -> bytes:
    """A FLAC with a block of this kind after the first."""
    whole = sound("FLAC")
    return whole[:42] + bytes([kind]) + len(content).to_bytes(3) + content + whole[42:]


def ogg(comment: bytes) -> bytes:
    """A Vorbis stream with this comment in its header, which takes as many pages as it needs."""
    file = io.BytesIO(sound("OGG", "VORBIS"))
    first, headers, *others = iter_pages(file)
    packet = b"\3vorbis" + comment + b"\1"
    most = 255 * 255
    pages = []
    for place in range(0, len(packet), most):
        page = OggPage()
        page.packets = [packet[place : place + most]]
        page.continued, page.complete = place > 0, place + most >= len(packet)
        page.position = 0 if page.complete else -1
        pages.append(page)
    headers.packets = headers.packets[1:]
    whole = [first, *pages, headers, *others]
    for number, page in enumerate(whole):
        page.serial, page.sequence = first.serial, number
    return b"".join(page.write() for page in whole)


def iter_pages(file: io.BytesIO) -> Iterator[OggPage]:
    while file.tell() < len(file.getbuffer()):
        yield OggPage(file)


def atom(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def mp4(tags: bytes) -> bytes:
    return atom(b"ftyp", b"M4A \0\0\0\0") + atom(b"moov", tags)


def deep_atoms() -> bytes:
    depth = 200_000
    return mp4(b"".join(struct.pack(">I", 8 * level) + b"udta" for level in range(depth, 0, -1)))


def long_atom() -> bytes:
    data = atom(b"data", struct.pack(">II", 1, 0) + settings_of(45 * MB))
    listed = atom(b"ilst", atom(b"\xa9cmt", data))
    handler = atom(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    return mp4(atom(b"udta", atom(b"meta", bytes(4) + handler + listed)))


def element(name: bytes, content: bytes) -> bytes:
    return name + (2**56 + len(content)).to_bytes(8) + content


def matroska() -> bytes:
    text = element(b"\x44\x87", settings_of(45 * MB))
    tag = element(b"\x67\xc8", element(b"\x45\xa3", b"COMMENT") + text)
    tags = element(b"\x12\x54\xc3\x67", element(b"\x73\x73", tag))
    head = element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"webm"))
    return head + element(b"\x18\x53\x80\x67", tags)


def hours() -> bytes:
    """Two hours of silence after a click, in 7 kB a minute."""
    file = io.BytesIO()
    second = np.zeros(8_000)
    second[0] = 0.5
    with soundfile.SoundFile(file, "w", 8_000, 1, format="FLAC") as writer:
        for _ in range(7200):
            writer.write(second)
    return file.getvalue()


def hours_of_vorbis(seconds: int) -> bytes:
    """A second of silence again and again, in a few bytes each."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(8_000), 8_000, "VORBIS", format="OGG")
    first, headers, *second = iter_pages(io.BytesIO(file.getvalue()))
    pages = [first, headers]
    for number in range(seconds):
        for page in second:
            again = copy.copy(page)
            again.last, again.position = False, page.position + number * 8_000
            pages.append(again)
    for number, page in enumerate(pages):
        page.sequence = number
    return b"".join(page.write() for page in pages)


BOMBS: dict[str, Callable[[], bytes]] = {
    "inflates.mp3": lambda: compressed_frame(b"COMM"),
    "cover.mp3": lambda: compressed_frame(b"APIC"),
    "comment.mp3": lambda: id3(b"COMM", 0, b"\3eng\0" + settings_of(45 * MB)),
    "comment.wav": lambda: riff(b"ICMT", settings_of(48 * MB)),
    "depth.wav": lambda: riff(b"ICMT", nested()),
    "comment.flac": lambda: flac(4, vorbis_comment(b"comment=" + settings_of(15 * MB))),
    "comments.flac": lambda: flac(4, empty_comments(15 * MB)),
    "cover.flac": lambda: flac(6, struct.pack(">II", 3, 2**31) + bytes(15 * MB)),
    "comment.ogg": lambda: ogg(vorbis_comment(b"comment=" + settings_of(45 * MB))),
    "comments.ogg": lambda: ogg(empty_comments(45 * MB)),
    "deep.m4a": deep_atoms,
    "long.m4a": long_atom,
    "long.webm": matroska,
    "hours.flac": hours,
    "hours.ogg": lambda: hours_of_vorbis(7200),
}


@dataclass(frozen=True)
class Told:
    """The most memory after a file, in MB: of the process, of ffmpeg; and what was found."""

    ours: int
    theirs: int
    found: str


@pytest.fixture(scope="module")
def told() -> list[tuple[str, Told]]:
    """Of each file, the plain one first: its settings are read, then all of them as sounds."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in (PLAIN, *BOMBS)]
        for path, make in zip(paths, (lambda: sound("OGG"), *BOMBS.values()), strict=True):
            path.write_bytes(make())
        ran = subprocess.run(
            [sys.executable, "-c", READ, *paths],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    lines = [line.split("\t") for line in ran.stdout.splitlines()]
    return [(name, Told(int(ours), int(theirs), found)) for name, ours, theirs, found in lines]


def test_no_tag_fills_the_memory(told: list[tuple[str, Told]]) -> None:
    (name, plain), *others = told[: 1 + len(BOMBS)]
    assert name == PLAIN
    for name, after in others:
        assert after.ours < plain.ours + ROOM, name
        assert after.theirs < 300, name
        assert after.found == "None", name


def test_no_sound_fills_the_memory(told: list[tuple[str, Told]]) -> None:
    (name, plain), *others = told[1 + len(BOMBS) :]
    assert name == PLAIN
    for name, after in others:
        assert after.ours < plain.ours + ROOM, name
        assert after.theirs < 1100, name
        # Those with a sound are played in spite of their tags, but for too long ones.
        expected = "longer than 10 minutes" if name.startswith("hours") else "1 s"
        assert expected in after.found or name.endswith(("m4a", "webm")), name
