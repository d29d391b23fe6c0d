"""``Clip``: audio from the user, to be continued or used as a melody."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from musicgen_space.errors import InvalidRequest
from musicgen_space.message import Message

__all__ = ["Clip", "ClipFacts", "check_stretch"]

_MAX_SECONDS = 3600.0  # max clip length accepted from untrusted tags
_MAX_CHANNELS = 64  # more are samples in the wrong place
_NOTICEABLE = 1.0  # dB; a smaller change in level goes unnoticed


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """Identifies a clip that a take was made with, without its audio.

    ``name`` is the file's display name, ``start`` the position in it and ``seconds`` the
    length, both in seconds. ``digest`` is a short fingerprint, "" if unknown.
    """

    name: str
    start: float
    seconds: float
    digest: str

    @classmethod
    def read(cls, settings: object) -> ClipFacts | None:
        """The facts in a file's untrusted settings; None if there are no valid ones."""
        if not isinstance(settings, Mapping):
            return None
        name, digest = settings.get("name"), settings.get("digest", "")
        start, seconds = settings.get("start", 0.0), settings.get("seconds")
        if not isinstance(name, str) or not isinstance(digest, str):
            return None
        if not isinstance(start, int | float) or not isinstance(seconds, int | float):
            return None
        valid = 0 <= start <= _MAX_SECONDS and 0 < seconds <= _MAX_SECONDS  # also False for NaN
        return cls(name, start, seconds, digest) if valid else None


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Decoded audio: float32 in −1 … 1, [channels, samples], at ``sample_rate`` Hz.

    ``name`` is the file's display name, ``start`` the position in it in seconds. ``lowered``
    is the attenuation in dB that was needed to avoid clipping.
    """

    samples: np.ndarray
    sample_rate: int
    name: str = "clip"
    start: float = 0.0
    lowered: float = 0.0

    def __post_init__(self) -> None:
        """Take what other libraries have: one channel as [samples], integers, doubles.

        Raises ``InvalidRequest`` for what is no sound.
        """
        rate = self.sample_rate
        if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate < 1:
            raise InvalidRequest("sample_rate", rate, "must be a whole number of Hz above 0")
        object.__setattr__(self, "samples", _as_float32(np.asarray(self.samples)))

    @classmethod
    def from_file(
        cls, path: str | PathLike[str], start: float = 0.0, end: float | None = None
    ) -> Clip:
        """A file of sound, from ``start`` to ``end`` seconds (None: its end); a video's sound too.

        Of no more than two channels, at 32 kHz. Raises ``UnreadableAudio``, and
        ``InvalidRequest`` for a stretch that the file has not.
        """
        from musicgen_space.audio.clips import read_clip

        if end is not None:
            return read_clip(Path(path), stretch=(start, end))
        clip = read_clip(Path(path))
        return clip.cut(start, clip.duration) if start else clip

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.samples.shape[-1] / self.sample_rate)

    @property
    def digest(self) -> str:
        """A short fingerprint of the samples."""
        return hashlib.sha256(np.ascontiguousarray(self.samples).tobytes()).hexdigest()[:16]

    def cut(self, start: float, end: float) -> Clip:
        """The stretch from ``start`` to ``end`` seconds; raises ``InvalidRequest``."""
        check_stretch(start, end, self.duration)
        first, last = round(start * self.sample_rate), round(end * self.sample_rate)
        # A copy, so that the whole clip can be freed.
        return replace(self, samples=self.samples[:, first:last].copy(), start=self.start + start)

    @property
    def note(self) -> Message | None:
        """A note for the user about how it was decoded, if there is anything to say."""
        if self.lowered < _NOTICEABLE:
            return None
        return Message(
            "Its peaks were {high:.1f} dB above full scale, so all of it was made quieter.",
            high=self.lowered,
        )

    @property
    def facts(self) -> ClipFacts:
        """Its ``ClipFacts``, rounded to milliseconds."""
        return ClipFacts(self.name, round(self.start, 3), round(self.duration, 3), self.digest)

    def described(self) -> dict[str, str | float]:
        """Its facts as a JSON object, for a take's settings."""
        return asdict(self.facts)


def _as_float32(samples: np.ndarray) -> np.ndarray:
    """[channels, samples]; raises ``InvalidRequest`` for another shape or kind of numbers."""
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2 or samples.shape[0] > _MAX_CHANNELS:
        limit = f"must be [channels, samples] with up to {_MAX_CHANNELS} channels"
        raise InvalidRequest("samples", f"the shape {samples.shape}", limit)
    if samples.dtype.kind == "i":
        samples = samples / -float(np.iinfo(samples.dtype).min)
    if samples.dtype.kind != "f" or not np.isfinite(samples).all():
        raise InvalidRequest("samples", f"numbers of {samples.dtype}", "must be finite numbers")
    return samples.astype(np.float32, copy=False)


def check_stretch(start: float, end: float, seconds: float) -> None:
    """Raise ``InvalidRequest`` unless 0 ≤ ``start`` < ``end`` ≤ ``seconds``."""
    if not 0 <= start < end <= seconds + 0.01:
        limit = f"must be a stretch within 0 to {seconds:.2f} seconds"
        raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
