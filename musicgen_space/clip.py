"""A stretch of somebody's own sound, to be continued or followed."""

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

_LONGEST = 3600.0  # seconds that are believed of a clip which isn't there
_HEARD = 1.0  # dB; nobody notices when a sound is quieter by less


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What a take tells of a clip that it was made with: which one it was, without its sound.

    ``name`` says to a person which file it came from, ``start`` where in it, and ``seconds``
    how long it was, both in seconds. ``digest`` is a short fingerprint, "" for none.
    """

    name: str
    start: float
    seconds: float
    digest: str

    @classmethod
    def read(cls, settings: object) -> ClipFacts | None:
        """The facts in a file's settings, which anybody may have written; None: there are none."""
        if not isinstance(settings, Mapping):
            return None
        name, digest = settings.get("name"), settings.get("digest", "")
        start, seconds = settings.get("start", 0.0), settings.get("seconds")
        if not isinstance(name, str) or not isinstance(digest, str):
            return None
        if not isinstance(start, int | float) or not isinstance(seconds, int | float):
            return None
        possible = 0 <= start <= _LONGEST and 0 < seconds <= _LONGEST  # and neither is NaN
        return cls(name, start, seconds, digest) if possible else None


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Sound as it was read: float32 in −1 … 1, [channels, samples], at ``sample_rate`` Hz.

    ``name`` says to a person which file it came from, and ``start`` where in it, in seconds.
    ``lowered`` is by how many dB it had to be made quieter to fit in there.
    """

    samples: np.ndarray
    sample_rate: int
    name: str = "clip"
    start: float = 0.0
    lowered: float = 0.0

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
        """A short fingerprint of the sound: which clip it was, without keeping it."""
        return hashlib.sha256(np.ascontiguousarray(self.samples).tobytes()).hexdigest()[:16]

    def cut(self, start: float, end: float) -> Clip:
        """The stretch from ``start`` to ``end`` seconds; raises ``InvalidRequest``."""
        check_stretch(start, end, self.duration)
        first, last = round(start * self.sample_rate), round(end * self.sample_rate)
        # A copy: the stretch must not keep the whole in memory.
        return replace(self, samples=self.samples[:, first:last].copy(), start=self.start + start)

    @property
    def note(self) -> Message | None:
        """What a person should know of how it was read, if anything."""
        if self.lowered < _HEARD:
            return None
        return Message(
            "Its peaks were {high:.1f} dB above full scale, so all of it was made quieter.",
            high=self.lowered,
        )

    @property
    def facts(self) -> ClipFacts:
        """What a take says about it, to the millisecond."""
        return ClipFacts(self.name, round(self.start, 3), round(self.duration, 3), self.digest)

    def described(self) -> dict[str, str | float]:
        """The same as JSON knows it, for the settings of a take."""
        return asdict(self.facts)


def check_stretch(start: float, end: float, seconds: float) -> None:
    """Raise ``InvalidRequest`` where a sound of ``seconds`` has no stretch from start to end."""
    if not 0 <= start < end <= seconds + 0.01:
        limit = f"must be a stretch within 0 to {seconds:.2f} seconds"
        raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
