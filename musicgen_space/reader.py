"""Sound files as stretches of samples: libsndfile and ffmpeg behind one door.

A file is never held as a whole once decoded, so a small one cannot fill the memory. What
it is called counts for nothing: its first bytes say what it is. Nothing is mixed or
resampled here.
"""

from __future__ import annotations

import io
import struct
import subprocess
import tempfile
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import IO, NamedTuple

import imageio_ffmpeg
import numpy as np
import soundfile

from musicgen_space.errors import UnreadableAudio

__all__ = ["Piece", "format_of", "pieces_of"]

_FRAMES = 2**16  # a piece: a second or two
_MAX_CHANNELS = 8
_SAMPLE_RATES = range(8_000, 192_001)

# What libsndfile does not read, and ffmpeg's demuxer for it.
_DEMUXERS = MappingProxyType({"m4a": "mov", "webm": "matroska"})
_FFMPEG_SECONDS = 60
_FFMPEG_BLOCK = 256 * 2**20  # bytes; the most it may ask for at once


class Piece(NamedTuple):
    """The next stretch of a file: float32 in −1 … 1, [samples, channels], at so many Hz."""

    samples: np.ndarray
    sample_rate: int


def format_of(data: bytes) -> str | None:
    """wav, mp3, flac, ogg, m4a (MP4) or webm, told by the first bytes; None: none of these."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] in (b"fLaC", b"OggS"):
        return "flac" if data[:4] == b"fLaC" else "ogg"
    if data[4:8] == b"ftyp":
        return "m4a"
    if data[:4] == b"\x1a\x45\xdf\xa3":  # EBML, RFC 8794
        return "webm"
    return "mp3" if data[:3] == b"ID3" or _is_mpeg_frame(data[:4]) else None


def pieces_of(data: bytes) -> Generator[Piece]:
    """The sound of a file, piece after piece; of a video, its first sound track.

    Close the iterator if it is left early. Raises ``UnreadableAudio`` for other formats, and
    for broken or unreasonable files. One that just ends early is as long as it is, where its
    format can't tell.
    """
    kind = format_of(data)
    if kind is None:
        raise UnreadableAudio("This is no WAV, MP3, FLAC, OGG, M4A or WebM file.")
    through = _through_ffmpeg if kind in _DEMUXERS else _through_libsndfile
    try:
        with closing(through(data, kind)) as pieces:
            for samples, sample_rate in pieces:
                if not np.isfinite(samples).all():
                    what = f"The {kind.upper()} file"
                    raise UnreadableAudio(f"{what} has samples that are no numbers.")
                yield Piece(np.clip(samples, -1.0, 1.0), sample_rate)
    except UnreadableAudio:
        raise
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
        raise _broken(kind) from error


def _is_mpeg_frame(header: bytes) -> bool:
    """Whether these four bytes can start an MPEG audio frame (ISO 11172-3, 2.4.2.3)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return False
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, sample_rate = header[2] >> 4, header[2] >> 2 & 3
    return version != 1 and layer != 0 and bit_rate not in (0, 15) and sample_rate != 3


def _through_libsndfile(data: bytes, kind: str) -> Generator[Piece]:
    with soundfile.SoundFile(io.BytesIO(data)) as reader:
        _check_claims(kind, reader.channels, reader.samplerate)
        while len(samples := reader.read(_FRAMES, dtype="float32", always_2d=True)):
            yield Piece(samples, reader.samplerate)


def _through_ffmpeg(data: bytes, kind: str) -> Generator[Piece]:
    try:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()  # comes in a wheel: nobody has to install it
    except RuntimeError:
        raise UnreadableAudio(
            f"{kind.upper()} files need ffmpeg, and there is none here."
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        # In by a file, not a pipe: an M4A may keep its table of contents at the end.
        source = Path(folder, "sound")
        source.write_bytes(data)
        # The forced demuxer and the protocol list keep a crafted file from opening others.
        command = [ffmpeg, "-nostdin", "-v", "quiet", "-max_alloc", str(_FFMPEG_BLOCK)]
        command += ["-protocol_whitelist", "file", "-f", _DEMUXERS[kind], "-i", str(source)]
        # A bad packet is passed over, as players do; a file that is full of them is not.
        command += ["-map", "0:a:0", "-max_error_rate", "0.1", "-c:a", "pcm_f32be"]
        with subprocess.Popen([*command, "-f", "au", "pipe:1"], stdout=subprocess.PIPE) as process:
            alarm = threading.Timer(_FFMPEG_SECONDS, process.kill)
            alarm.start()
            try:
                assert process.stdout is not None  # it was asked for
                yield from _au_pieces(process.stdout, kind)
                if process.wait() != 0:
                    raise _broken(kind)
            finally:
                alarm.cancel()
                process.kill()


def _au_pieces(stream: IO[bytes], kind: str) -> Generator[Piece]:
    """The samples of Sun's AU format, which needs no length ahead; nothing if it is empty.

    Its header is six big-endian words: magic, where the samples start, their bytes, their
    encoding, Hz, channels (https://en.wikipedia.org/wiki/Au_file_format).
    """
    header = stream.read(24)
    if len(header) < 24:
        return
    _, start, _, _, sample_rate, channels = struct.unpack(">6I", header)
    _check_claims(kind, channels, sample_rate)
    stream.read(start - len(header))
    frame = 4 * channels
    while block := stream.read(_FRAMES * frame):
        whole = len(block) // frame * frame  # a killed ffmpeg may stop anywhere
        samples = np.frombuffer(block[:whole], ">f4").astype(np.float32)
        yield Piece(samples.reshape(-1, channels), sample_rate)


def _check_claims(kind: str, channels: int, sample_rate: int) -> None:
    if not 1 <= channels <= _MAX_CHANNELS or sample_rate not in _SAMPLE_RATES:
        raise UnreadableAudio(
            f"The {kind.upper()} file claims {channels} channels at {sample_rate} Hz; up to "
            f"{_MAX_CHANNELS} at {_SAMPLE_RATES[0]} to {_SAMPLE_RATES[-1]} Hz can be read."
        )


def _broken(kind: str) -> UnreadableAudio:
    """What the libraries say themselves (seeks that failed, internal errors) helps nobody."""
    what = "it is broken, cut short or of an unusual kind"
    return UnreadableAudio(f"The {kind.upper()} file can't be read: {what}.")
