"""Any sound file as samples: what a server sends, what somebody chooses or names.

Samples are float32 in −1 … 1, [channels, samples].
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from musicgen_space.audio.kinds import the_file
from musicgen_space.audio.reader import Piece, pieces_of
from musicgen_space.audio.resample import SILENCE, joined, loudest, resampled, to_int16
from musicgen_space.clip import Clip, check_stretch
from musicgen_space.errors import InvalidRequest, UnreadableAudio

__all__ = [
    "CLIP_RATE",
    "MAX_CLIP_BYTES",
    "MAX_CLIP_SECONDS",
    "decode",
    "read_clip",
    "read_upload",
    "told_of",
    "wav",
]

# What is decoded is bounded, so that a small file cannot fill the memory: a 30-second
# stereo take at 48 kHz has 3 million samples.
_MAX_SAMPLES = 32 * 2**20

# Clips are kept as EnCodec hears them: sampling_rate in config.json of facebook/encodec_32khz.
CLIP_RATE = 32_000
MAX_CLIP_SECONDS = 600
MAX_CLIP_BYTES = 50 * 2**20
_AROUND = 1  # seconds before and after a stretch: what a resampler needs to hear of them


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """A take as a hosted server sends it: float32 in −1 … 1, [channels, samples], and its rate.

    Nothing is resampled or mixed; what is above full scale is made quieter as a whole. Raises
    ``UnreadableAudio`` for other files, and for broken, empty or unreasonable ones.
    """
    kept, left, rate = [], _MAX_SAMPLES, 0
    with closing(pieces_of(data)) as pieces:
        for samples, rate, _ in pieces:  # noqa: B007  (the same one throughout a file)
            left -= samples.size
            if left < 0:
                raise UnreadableAudio(f"{the_file(data)} is longer than any take.")
            kept.append(samples)
    if not kept:
        raise UnreadableAudio(f"{the_file(data)} has no sound in it.")
    whole = joined(kept)
    return whole / max(1.0, loudest(whole)), rate


def read_upload(path: Path) -> Clip:
    """A file that somebody sent, as ``read_clip`` reads it, if it is not too big for that."""
    if path.stat().st_size > MAX_CLIP_BYTES:
        limit = MAX_CLIP_BYTES // 2**20
        raise UnreadableAudio(f"The file is too big: {limit} MB are the most that is read.")
    return read_clip(path)


def read_clip(
    source: bytes | Path, name: str = "", stretch: tuple[float, float] | None = None
) -> Clip:
    """Somebody's sound file, or its bytes, as a clip of one or two channels at ``CLIP_RATE``.

    Of more channels a stereo mix is made, and what is above full scale is made quieter as a
    whole. ``name`` is what people call it. Of a ``stretch`` (from, to, in seconds) no more is
    read than it takes, however long the file is. Raises ``InvalidRequest`` for one that the
    file has not, and ``UnreadableAudio`` for what ``pieces_of`` can't read, for silence, and
    for more than ``MAX_CLIP_SECONDS``.
    """
    start, end = stretch or (0.0, math.inf)
    if stretch and not 0 <= start < end <= start + MAX_CLIP_SECONDS:
        limit = f"must be a stretch from one second to a later one, of up to {MAX_CLIP_SECONDS}"
        raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
    clip = _read(source, max(0, math.floor(start) - _AROUND), end + _AROUND)
    if stretch:
        if not clip.samples.size:
            limit = "must be a stretch of the file, which has ended by then"
            raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
        check_stretch(start, end, clip.start + clip.duration)
        clip = clip.cut(start - clip.start, end - clip.start)
    if loudest(clip.samples) < SILENCE:
        where = f"from {start:g} to {end:g} s" if stretch else "in it"
        raise UnreadableAudio(f"There is no sound {where}, or none above −60 dBFS.")
    named = name or (source.name if isinstance(source, Path) else "clip")
    return replace(clip, name=_writable(named))


@contextmanager
def told_of(field: str, named: str = "") -> Iterator[None]:
    """Errors in here say which ``field`` a clip was for; ``named``: as a person calls it."""
    try:
        yield
    except UnreadableAudio as error:
        raise UnreadableAudio(f"{named or field}: {error}") from error
    except InvalidRequest as error:  # "clip", says the clip
        raise InvalidRequest(field, error.value, error.limit) from error


def wav(clip: Clip) -> bytes:
    """``clip`` as a WAV file, to listen to."""
    file = io.BytesIO()
    soundfile.write(file, to_int16(clip.samples).T, clip.sample_rate, "PCM_16", format="WAV")
    return file.getvalue()


def _read(source: bytes | Path, start: int, end: float) -> Clip:
    """What there is of a file from ``start`` to ``end`` seconds.

    From a whole second on, so that its samples are those which the whole file would have
    there: at no other moments do all sample rates have one.
    """
    meter = _Meter()
    with closing(pieces_of(source, start)) as pieces:
        some = _within_limits(pieces) if end == math.inf else _beginning(pieces, end - start)
        samples = joined([*resampled(meter.passing(some), CLIP_RATE)])
    samples /= max(1.0, meter.peak)
    np.clip(samples, -1.0, 1.0, out=samples)  # a filter may ring beyond that
    lowered = max(0.0, 20 * math.log10(meter.peak or 1.0))
    return Clip(samples, CLIP_RATE, start=start, lowered=lowered)


class _Meter:
    """Remembers the loudest sample of all the pieces that it passes on."""

    peak = 0.0

    def passing(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self.peak = max(self.peak, loudest(piece.samples))
            yield piece


def _within_limits(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces; raises ``UnreadableAudio`` when they go on for too long."""
    frames = 0
    for piece in pieces:
        frames += len(piece.samples)
        # A tenth of a second more than allowed: codecs fill their last block.
        if frames > (MAX_CLIP_SECONDS + 0.1) * piece.sample_rate:
            raise UnreadableAudio(f"It is longer than {MAX_CLIP_SECONDS // 60} minutes.")
        yield piece


def _beginning(pieces: Iterator[Piece], seconds: float) -> Iterator[Piece]:
    """The first ``seconds`` of the pieces."""
    frames = 0
    for piece in pieces:
        left = round(seconds * piece.sample_rate) - frames
        yield piece._replace(samples=piece.samples[:left])
        frames += len(piece.samples)
        if len(piece.samples) >= left:
            return


def _writable(name: str) -> str:
    """On Linux any bytes can be a file's name; tags are text."""
    return name.encode(errors="replace").decode()
