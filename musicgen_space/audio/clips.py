"""Decodes any audio file to samples: results of a hosted API, uploads, clips.

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

from musicgen_space.audio.reader import Block, read_blocks
from musicgen_space.audio.resample import (
    SILENCE,
    concatenate,
    peak_level,
    resample_blocks,
    to_int16,
)
from musicgen_space.audio.sniff import file_label
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

# Decoded samples are bounded, so that a small file cannot exhaust memory: a 30-second stereo
# take at 48 kHz has 3 million.
_MAX_SAMPLES = 32 * 2**20

# EnCodec's rate: sampling_rate in config.json of facebook/encodec_32khz.
CLIP_RATE = 32_000
MAX_CLIP_SECONDS = 600
MAX_CLIP_BYTES = 50 * 2**20
_CONTEXT = 1  # seconds around an excerpt, for the resampler's filter


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """The samples of an audio file (float32 in −1 … 1, [channels, samples]) and its rate in Hz.

    Not resampled or mixed; scaled down as a whole if it peaks above full scale. Raises
    ``UnreadableAudio`` for broken, empty or too long files, and for other kinds.
    """
    kept, left, rate = [], _MAX_SAMPLES, 0
    with closing(read_blocks(data)) as blocks:
        for samples, rate, _ in blocks:  # noqa: B007  (constant throughout a file)
            left -= samples.size
            if left < 0:
                raise UnreadableAudio(f"{file_label(data)} is longer than any take.")
            kept.append(samples)
    if not kept:
        raise UnreadableAudio(f"{file_label(data)} has no sound in it.")
    whole = concatenate(kept)
    return whole / max(1.0, peak_level(whole)), rate


def read_upload(path: Path) -> Clip:
    """``read_clip`` for an upload; raises ``UnreadableAudio`` above ``MAX_CLIP_BYTES``."""
    if path.stat().st_size > MAX_CLIP_BYTES:
        limit = MAX_CLIP_BYTES // 2**20
        raise UnreadableAudio(f"The file is too big: {limit} MB are the most that is read.")
    return read_clip(path)


def read_clip(
    source: bytes | Path, name: str = "", stretch: tuple[float, float] | None = None
) -> Clip:
    """An audio file, or its bytes, as a clip of one or two channels at ``CLIP_RATE``.

    More channels are mixed to stereo; a clip that peaks above full scale is scaled down as a
    whole. ``name`` is the display name. Only the ``stretch`` (start, end, in seconds) is
    decoded, if given. Raises ``InvalidRequest`` for a stretch outside the file, and
    ``UnreadableAudio`` for what ``read_blocks`` can't read, for silence, and for more than
    ``MAX_CLIP_SECONDS``.
    """
    start, end = stretch or (0.0, math.inf)
    if stretch and not 0 <= start < end <= start + MAX_CLIP_SECONDS:
        limit = f"must be a stretch from one second to a later one, of up to {MAX_CLIP_SECONDS}"
        raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
    clip = _read(source, max(0, math.floor(start) - _CONTEXT), end + _CONTEXT)
    if stretch:
        if not clip.samples.size:
            limit = "must be a stretch of the file, which has ended by then"
            raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
        check_stretch(start, end, clip.start + clip.duration)
        clip = clip.cut(start - clip.start, end - clip.start)
    if peak_level(clip.samples) < SILENCE:
        where = f"from {start:g} to {end:g} s" if stretch else "in it"
        raise UnreadableAudio(f"There is no sound {where}, or none above −60 dBFS.")
    named = name or (source.name if isinstance(source, Path) else "clip")
    return replace(clip, name=_printable(named))


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
    """``clip`` as a 16-bit WAV file."""
    file = io.BytesIO()
    soundfile.write(file, to_int16(clip.samples).T, clip.sample_rate, "PCM_16", format="WAV")
    return file.getvalue()


def _read(source: bytes | Path, start: int, end: float) -> Clip:
    """A file from ``start`` to ``end`` seconds, or to its end.

    ``start`` is in whole seconds, where samples of all rates coincide, so that resampling an
    excerpt gives the same samples as resampling the whole file.
    """
    meter = _PeakMeter()
    with closing(read_blocks(source, start)) as blocks:
        bounded = _within_limits(blocks) if end == math.inf else _truncate(blocks, end - start)
        samples = concatenate([*resample_blocks(meter.measure(bounded), CLIP_RATE)])
    samples /= max(1.0, meter.peak)
    np.clip(samples, -1.0, 1.0, out=samples)  # the resampler may overshoot
    lowered = max(0.0, 20 * math.log10(meter.peak or 1.0))
    return Clip(samples, CLIP_RATE, start=start, lowered=lowered)


class _PeakMeter:
    """Measures the peak of the blocks that pass through."""

    peak = 0.0

    def measure(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            self.peak = max(self.peak, peak_level(block.samples))
            yield block


def _within_limits(blocks: Iterator[Block]) -> Iterator[Block]:
    """The same blocks; raises ``UnreadableAudio`` beyond ``MAX_CLIP_SECONDS``."""
    frames = 0
    for block in blocks:
        frames += len(block.samples)
        # With a tolerance of 0.1 s, since codecs pad their last block.
        if frames > (MAX_CLIP_SECONDS + 0.1) * block.sample_rate:
            raise UnreadableAudio(f"It is longer than {MAX_CLIP_SECONDS // 60} minutes.")
        yield block


def _truncate(blocks: Iterator[Block], seconds: float) -> Iterator[Block]:
    """The first ``seconds`` of the blocks."""
    frames = 0
    for block in blocks:
        left = round(seconds * block.sample_rate) - frames
        yield block._replace(samples=block.samples[:left])
        frames += len(block.samples)
        if len(block.samples) >= left:
            return


def _printable(name: str) -> str:
    """``name`` without surrogates: on Linux file names are bytes, tags are text."""
    return name.encode(errors="replace").decode()
