"""Sound files as stretches of samples: libsndfile and ffmpeg behind one door.

What either of them can play is a sound file, whatever it is called and however it begins.
A file is never held as a whole once decoded, so a small one cannot fill the memory. Nothing
is mixed or resampled here.
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

from musicgen_space.audio.ffmpeg import output_of
from musicgen_space.audio.kinds import HEAD, id3_length, is_protected, no_sound, the_file
from musicgen_space.audio.resample import OGG_ORDER, USUAL_ORDER
from musicgen_space.errors import UnreadableAudio

__all__ = ["Piece", "opened", "pieces_of"]

_FRAMES = 2**14  # a piece: a third of a second or so
_MAX_CHANNELS = 8
_SAMPLE_RATES = range(8_000, 192_001)
_HIGHEST = 1e30  # a sample above it is no number that can be counted with
_RATION = 8 * 2**20  # bytes of a file's headers, or for a piece: covers of albums are in there
_MOST_PIPED = 50 * 2**20  # bytes of what can only be read once
_ERROR_RATE_EXCEEDED = 69  # what ffmpeg's process returns then


class Piece(NamedTuple):
    """The next stretch of a file: float32 [samples, channels], at so many Hz.

    Full scale is −1 … 1; files of floats may go beyond it. ``order`` says which channel is
    what, where there are more than two.
    """

    samples: np.ndarray
    sample_rate: int
    order: tuple[str, ...] = USUAL_ORDER


@contextmanager
def opened(source: bytes | Path) -> Iterator[BinaryIO]:
    """A file or its bytes, to read from anywhere; raises ``UnreadableAudio`` if it can't be."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        file = _Nameless(io.FileIO(source))
    except OSError as error:
        raise UnreadableAudio(f"The file can't be opened: {error.strerror}.") from error
    with file:
        yield file if file.seekable() else _piped(file)


def pieces_of(source: bytes | Path, start: int = 0) -> Generator[Piece]:
    """The sound of a file from second ``start`` on, piece after piece; of a video, its first track.

    Close the iterator if it is left early. Raises ``UnreadableAudio`` for what is no sound
    file, and for broken or unreasonable ones. One that just ends early is as long as it is,
    where its format can't tell.
    """
    with opened(source) as file:
        head = file.read(HEAD)
        if not head:
            raise UnreadableAudio("The file is empty.")
        seconds = float(start)
        try:
            with closing(_decoded(file, head, start)) as pieces:
                for piece in pieces:
                    _check(piece, head)
                    yield piece
                    seconds += len(piece.samples) / piece.sample_rate
        except UnreadableAudio:
            if is_protected(file):  # what is encrypted can be taken for anything
                raise _encrypted(head) from None
            raise
        except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
            raise _broken(head, seconds if seconds > start else 0) from error
        except subprocess.SubprocessError as error:
            raise _not_played(error, file, head, seconds if seconds > start else 0) from error


class _Nameless(io.BufferedReader):
    """A file without a name: soundfile takes what is called ``.raw`` for samples without header."""

    @property
    def name(self) -> str:
        return ""


def _piped(file: BinaryIO) -> BinaryIO:
    """All that comes out of a pipe, which can be read only once."""
    data = file.read(_MOST_PIPED + 1)
    if len(data) > _MOST_PIPED:
        limit = _MOST_PIPED // 2**20
        raise UnreadableAudio(f"Too much comes from a pipe: {limit} MB are the most that is read.")
    return io.BytesIO(data)


class _Rationed:
    """A file that gives no more than a ration, and then only what is asked for after ``renew``.

    libsndfile takes whatever a file says is its header for one: 45 MB of comments in an OGG
    are 600 MB in memory. Only a tag of ID3, which can stand before any file, is passed over
    at any length.
    """

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self._file, self._free = file, id3_length(head)
        self.seek, self.tell = file.seek, file.tell
        self.renew()

    def renew(self, ration: float = _RATION) -> None:
        """Begin a ration."""
        self._left = ration

    @property
    def is_used_up(self) -> bool:
        """Whether more was asked for."""
        return self._left < 0

    def read(self, size: int) -> bytes:
        """So many bytes; none beyond the ration."""
        if self._file.tell() >= self._free:
            self._left -= size
        return b"" if self.is_used_up else self._file.read(size)


class _Reader(soundfile.SoundFile):
    """libsndfile, from front to back.

    soundfile seeks after every stretch that it reads of a seekable file, and libsndfile's MP3
    decoder is silent for up to a tenth of a second after every place that was sought.
    """

    def seekable(self) -> bool:
        return False


def _decoded(file: BinaryIO, head: bytes, start: int) -> Generator[Piece]:
    """By libsndfile, which reads the formats it knows to the sample; all others by ffmpeg."""
    file.seek(0)
    rationed = _Rationed(file, head)
    try:
        reader = _Reader(rationed)
    except soundfile.SoundFileError:
        reader = None
    # A recorder that crashed leaves a length of 0.
    if reader is None or not reader.frames or rationed.is_used_up:
        other = no_sound(head)
        if other:
            raise UnreadableAudio(f"This is {other} and no sound.")
        yield from _through_ffmpeg(file, head, start)
        return
    with reader:
        yield from _through_libsndfile(reader, rationed, head, start)


def _through_libsndfile(
    reader: _Reader, file: _Rationed, head: bytes, start: int
) -> Generator[Piece]:
    rate = reader.samplerate
    _check_claims(head, reader.channels, rate)
    if start * rate >= reader.frames:
        return
    file.renew(math.inf)  # to find a place, an MP3 is read up to there
    reader.seek(start * rate)
    file.renew()
    order = OGG_ORDER if reader.format == "OGG" else USUAL_ORDER
    while len(samples := reader.read(_FRAMES, dtype="float32", always_2d=True)):
        yield Piece(samples, rate, order)
        file.renew()
    if file.is_used_up:
        raise _broken(head, reader.tell() / rate)


def _through_ffmpeg(file: BinaryIO, head: bytes, start: int) -> Generator[Piece]:
    # A bad packet is passed over, as players do; a file that is full of them is not.
    writing = ["-map", "0:a:0", "-max_error_rate", "0.1", "-map_metadata", "-1"]
    writing += ["-c:a", "pcm_f32be", "-f", "au"]
    reading: list[str] = []
    if start:
        reading = ["-ss", str(start)]
        # Where the first packet after it is dropped, the sound still begins at its time.
        writing += ["-af", "aresample=first_pts=0"]
    with output_of(file, reading, writing) as stream:
        yield from _au_pieces(stream, head)


def _au_pieces(stream: IO[bytes], head: bytes) -> Generator[Piece]:
    """The samples of Sun's AU format, which needs no length ahead; nothing if it is empty.

    Its header is six big-endian words: magic, where the samples start, their bytes, their
    encoding, Hz, channels (https://en.wikipedia.org/wiki/Au_file_format).
    """
    header = stream.read(24)
    if len(header) < 24:
        return
    _, start, _, _, sample_rate, channels = struct.unpack(">6I", header)
    _check_claims(head, channels, sample_rate)
    stream.read(start - len(header))
    frame = 4 * channels
    while block := stream.read(_FRAMES * frame):
        whole = len(block) // frame * frame  # a killed ffmpeg may stop anywhere
        samples = np.frombuffer(block[:whole], ">f4").astype(np.float32)
        yield Piece(samples.reshape(-1, channels), sample_rate)


def _check(piece: Piece, head: bytes) -> None:
    if not (np.abs(piece.samples) < _HIGHEST).all():  # a NaN is not
        raise UnreadableAudio(f"{the_file(head)} has samples that are no numbers.")


def _check_claims(head: bytes, channels: int, sample_rate: int) -> None:
    if not 1 <= channels <= _MAX_CHANNELS or sample_rate not in _SAMPLE_RATES:
        raise UnreadableAudio(
            f"{the_file(head)} claims {channels} channels at {sample_rate} Hz; up to "
            f"{_MAX_CHANNELS} at {_SAMPLE_RATES[0]} to {_SAMPLE_RATES[-1]} Hz can be read."
        )


def _not_played(
    error: subprocess.SubprocessError, file: BinaryIO, head: bytes, seconds: float
) -> UnreadableAudio:
    """Why ffmpeg gave up, as far as people can do something about it."""
    what = the_file(head)
    if isinstance(error, subprocess.TimeoutExpired):
        return UnreadableAudio(f"{what} takes longer than {error.timeout:.0f} s to read.")
    assert isinstance(error, subprocess.CalledProcessError)
    if "matches no streams" in error.stderr:
        return UnreadableAudio(f"{what} has no sound track.")
    if is_protected(file):
        return _encrypted(head)
    if "no decoder found for" in error.stderr:
        codec = error.stderr.split("no decoder found for")[1].strip(": \n").splitlines()[0]
        return UnreadableAudio(f"{what} has its sound as {codec[:40]}, which can't be read here.")
    if error.returncode == _ERROR_RATE_EXCEEDED:
        return UnreadableAudio(f"{what} is broken: more than a tenth of it can't be read.")
    return _broken(head, seconds)


def _encrypted(head: bytes) -> UnreadableAudio:
    return UnreadableAudio(
        f"{the_file(head)} is encrypted: only the player it was sold for can read it."
    )


def _broken(head: bytes, seconds: float) -> UnreadableAudio:
    """What the libraries say themselves (seeks that failed, internal errors) helps nobody.

    ``seconds`` is how far it could be read.
    """
    if seconds:
        return UnreadableAudio(f"{the_file(head)} is broken or cut short after {seconds:.1f} s.")
    if the_file(head) == the_file(b""):
        return UnreadableAudio("This is no sound file of any format that can be read here.")
    return UnreadableAudio(f"{the_file(head)} can't be read: it is broken or cut short.")
