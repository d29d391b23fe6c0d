"""Decodes audio files block by block, with libsndfile or else ffmpeg.

What either can decode is an audio file, whatever its name and magic bytes. Decoded samples
are streamed, so a small file cannot exhaust memory. Nothing is mixed or resampled here.
"""

from __future__ import annotations

import io
import math
import struct
import subprocess
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import numpy as np
import soundfile

from musicgen_space.audio.ffmpeg import run_ffmpeg
from musicgen_space.audio.resample import DEFAULT_ORDER, OGG_ORDER
from musicgen_space.audio.sniff import (
    HEAD,
    describe_non_audio,
    file_label,
    id3_length,
    is_encrypted,
)
from musicgen_space.errors import UnreadableAudio

__all__ = ["Block", "open_source", "read_blocks"]

_FRAMES = 2**14  # per block: about a third of a second
_MAX_CHANNELS = 8
_SAMPLE_RATES = range(8_000, 192_001)
_MAX_SAMPLE = 1e30  # larger ones overflow in later computations
_READ_BUDGET = 8 * 2**20  # bytes for the headers, with cover art, and per block
_MAX_PIPED = 50 * 2**20  # bytes from a pipe, which is buffered
_ERROR_RATE_EXCEEDED = 69  # ffmpeg's exit status


class Block(NamedTuple):
    """Consecutive samples of a file: float32 [samples, channels] at ``sample_rate`` Hz.

    Full scale is −1 … 1; float files may exceed it. ``order`` is the channel layout of files
    with more than two channels.
    """

    samples: np.ndarray
    sample_rate: int
    order: tuple[str, ...] = DEFAULT_ORDER


@contextmanager
def open_source(source: bytes | Path) -> Iterator[BinaryIO]:
    """A seekable file object of a file or its bytes; raises ``UnreadableAudio``."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        file = _NamelessFile(io.FileIO(source))
    except OSError as error:
        raise UnreadableAudio(f"The file can't be opened: {error.strerror}.") from error
    with file:
        yield file if file.seekable() else _buffered(file)


def read_blocks(source: bytes | Path, start: int = 0) -> Generator[Block]:
    """Decode a file from second ``start`` on; of a video, the first audio track.

    Close the iterator if it is left early. Raises ``UnreadableAudio`` for files that are not
    audio, broken, or outside the limits. A truncated file whose format can't tell ends early.
    """
    with open_source(source) as file:
        head = file.read(HEAD)
        if not head:
            raise UnreadableAudio("The file is empty.")
        seconds = float(start)
        try:
            with closing(_decoded(file, head, start)) as blocks:
                for block in blocks:
                    _check(block, head)
                    yield block
                    seconds += len(block.samples) / block.sample_rate
        except UnreadableAudio:
            if is_encrypted(file):  # encrypted data may look like anything
                raise _encrypted(head) from None
            raise
        except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
            raise _broken(head, seconds if seconds > start else 0) from error
        except subprocess.SubprocessError as error:
            raise _ffmpeg_error(error, file, head, seconds if seconds > start else 0) from error


class _NamelessFile(io.BufferedReader):
    """Hides the name from soundfile, which reads ``*.raw`` as headerless samples."""

    @property
    def name(self) -> str:
        return ""


def _buffered(file: BinaryIO) -> BinaryIO:
    """The content of a pipe, which is not seekable."""
    data = file.read(_MAX_PIPED + 1)
    if len(data) > _MAX_PIPED:
        limit = _MAX_PIPED // 2**20
        raise UnreadableAudio(f"Too much comes from a pipe: {limit} MB are the most that is read.")
    return io.BytesIO(data)


class _BudgetedFile:
    """A file that returns no more than its read budget until ``renew`` is called.

    libsndfile parses headers of any size: 45 MB of comments in an OGG take 600 MB of memory.
    Only a leading ID3 tag, which is skipped, does not count.
    """

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self._file, self._free = file, id3_length(head)
        self.seek, self.tell = file.seek, file.tell
        self.renew()

    def renew(self, budget: float = _READ_BUDGET) -> None:
        """Reset the budget."""
        self._left = budget

    @property
    def is_used_up(self) -> bool:
        """Whether a read exceeded the budget."""
        return self._left < 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none beyond the budget."""
        if self._file.tell() >= self._free:
            self._left -= size
        return b"" if self.is_used_up else self._file.read(size)


class _Reader(soundfile.SoundFile):
    """libsndfile, read sequentially.

    soundfile seeks after every read of a seekable file, and libsndfile's MP3 decoder is
    silent for up to 0.1 s after a seek.
    """

    def seekable(self) -> bool:
        return False


def _decoded(file: BinaryIO, head: bytes, start: int) -> Generator[Block]:
    """Decode with libsndfile, which is sample-exact, else with ffmpeg."""
    file.seek(0)
    budgeted = _BudgetedFile(file, head)
    try:
        reader = _Reader(budgeted)
    except soundfile.SoundFileError:
        reader = None
    # A crashed recorder leaves a length of 0, which ffmpeg ignores.
    if reader is None or not reader.frames or budgeted.is_used_up:
        kind = describe_non_audio(head)
        if kind:
            raise UnreadableAudio(f"This is {kind} and no sound.")
        yield from _through_ffmpeg(file, head, start)
        return
    with reader:
        yield from _through_libsndfile(reader, budgeted, head, start)


def _through_libsndfile(
    reader: _Reader, file: _BudgetedFile, head: bytes, start: int
) -> Generator[Block]:
    rate = reader.samplerate
    _check_header(head, reader.channels, rate)
    if start * rate >= reader.frames:
        return
    file.renew(math.inf)  # seeking in an MP3 reads up to the position
    reader.seek(start * rate)
    file.renew()
    order = OGG_ORDER if reader.format == "OGG" else DEFAULT_ORDER
    while len(samples := reader.read(_FRAMES, dtype="float32", always_2d=True)):
        yield Block(samples, rate, order)
        file.renew()
    if file.is_used_up:
        raise _broken(head, reader.tell() / rate)


def _through_ffmpeg(file: BinaryIO, head: bytes, start: int) -> Generator[Block]:
    # Skip bad packets, as players do, unless there are too many.
    writing = ["-map", "0:a:0", "-max_error_rate", "0.1", "-map_metadata", "-1"]
    writing += ["-c:a", "pcm_f32be", "-f", "au"]
    reading: list[str] = []
    if start:
        reading = ["-ss", str(start)]
        # Keeps the timing if the first packet after the seek is dropped.
        writing += ["-af", "aresample=first_pts=0"]
    with run_ffmpeg(file, reading, writing) as stream:
        yield from _au_blocks(stream, head)


def _au_blocks(stream: IO[bytes], head: bytes) -> Generator[Block]:
    """Parse a stream in Sun's AU format, which needs no length in advance.

    The header is six big-endian words: magic, offset and size of the samples, encoding, rate,
    channels (https://en.wikipedia.org/wiki/Au_file_format).
    """
    header = stream.read(24)
    if len(header) < 24:
        return
    _, start, _, _, sample_rate, channels = struct.unpack(">6I", header)
    _check_header(head, channels, sample_rate)
    stream.read(start - len(header))
    frame = 4 * channels
    while block := stream.read(_FRAMES * frame):
        whole = len(block) // frame * frame  # a killed ffmpeg may stop within a frame
        samples = np.frombuffer(block[:whole], ">f4").astype(np.float32)
        yield Block(samples.reshape(-1, channels), sample_rate)


def _check(block: Block, head: bytes) -> None:
    if not (np.abs(block.samples) < _MAX_SAMPLE).all():  # a NaN is not
        raise UnreadableAudio(f"{file_label(head)} has samples that are no numbers.")


def _check_header(head: bytes, channels: int, sample_rate: int) -> None:
    if not 1 <= channels <= _MAX_CHANNELS or sample_rate not in _SAMPLE_RATES:
        raise UnreadableAudio(
            f"{file_label(head)} claims {channels} channels at {sample_rate} Hz; up to "
            f"{_MAX_CHANNELS} at {_SAMPLE_RATES[0]} to {_SAMPLE_RATES[-1]} Hz can be read."
        )


def _ffmpeg_error(
    error: subprocess.SubprocessError, file: BinaryIO, head: bytes, seconds: float
) -> UnreadableAudio:
    """A user-facing error for ffmpeg's failure."""
    what = file_label(head)
    if isinstance(error, subprocess.TimeoutExpired):
        return UnreadableAudio(f"{what} takes longer than {error.timeout:.0f} s to read.")
    assert isinstance(error, subprocess.CalledProcessError)
    if "matches no streams" in error.stderr:
        return UnreadableAudio(f"{what} has no sound track.")
    if is_encrypted(file):
        return _encrypted(head)
    if "no decoder found for" in error.stderr:
        codec = error.stderr.split("no decoder found for")[1].strip(": \n").splitlines()[0]
        return UnreadableAudio(f"{what} has its sound as {codec[:40]}, which can't be read here.")
    if error.returncode == _ERROR_RATE_EXCEEDED:
        return UnreadableAudio(f"{what} is broken: more than a tenth of it can't be read.")
    return _broken(head, seconds)


def _encrypted(head: bytes) -> UnreadableAudio:
    return UnreadableAudio(
        f"{file_label(head)} is encrypted: only the player it was sold for can read it."
    )


def _broken(head: bytes, seconds: float) -> UnreadableAudio:
    """A generic error: the libraries' own messages (failed seeks) don't help users.

    ``seconds`` is how far the file could be decoded.
    """
    if seconds:
        return UnreadableAudio(f"{file_label(head)} is broken or cut short after {seconds:.1f} s.")
    if file_label(head) == file_label(b""):
        return UnreadableAudio("This is no sound file of any format that can be read here.")
    return UnreadableAudio(f"{file_label(head)} can't be read: it is broken or cut short.")
