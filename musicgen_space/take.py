"""What comes back: ``Take``, what it cost and what was done to its sound since."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from musicgen_space.clip import ClipFacts
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import CLIP_LIMITS, Limit, MusicRequest, checked_number

__all__ = ["FINISH_LIMITS", "OWN_SOUNDS", "Finish", "Loop", "Receipt", "Replaced", "Take"]

FINISH_LIMITS: dict[str, Limit] = {
    "fade_in": Limit(0.0, 10.0, 0.0, 0.1, "seconds"),
    "fade_out": Limit(0.0, 10.0, 0.0, 0.1, "seconds"),
}
# The settings of a take that name a sound it was made with, which they don't bring back.
OWN_SOUNDS = (*CLIP_LIMITS, "replaced")
_SWITCHES = ("normalise", "trim")
_MOST = 2**40  # samples of a loop, to be believed


@dataclass(frozen=True, slots=True)
class Finish:
    """What is done to a take; raises ``InvalidRequest`` when a field is outside its limits.

    ``normalise`` brings it to −14 LUFS, or as near as −1 dBTP lets it come: by one gain for
    the whole take, so that loud and quiet keep their distance, and a limiter that takes up to
    6 dB off the peaks above. ``fade_in`` and ``fade_out`` are in seconds. ``trim`` cuts off a
    tail of silence or noise, half of the take at most.
    """

    normalise: bool = False
    fade_in: float = FINISH_LIMITS["fade_in"].default
    fade_out: float = FINISH_LIMITS["fade_out"].default
    trim: bool = False

    def __post_init__(self) -> None:
        for field in _SWITCHES:
            if not isinstance(getattr(self, field), bool):
                raise InvalidRequest(field, getattr(self, field), "must be true or false")
        for field, limit in FINISH_LIMITS.items():
            object.__setattr__(self, field, checked_number(field, getattr(self, field), limit))

    def settings(self) -> dict[str, Any]:
        """All fields as JSON knows them."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Loop:
    """A stretch of a take that plays seamlessly, one time after the other.

    ``start`` and ``end`` are samples of the take that it was cut from, ``crossfade`` the seconds
    of its joint. ``bars`` is 0 and ``bpm`` None where no steady beat was found, ``key`` ("A minor")
    None where no key is clear. ``quality`` is how well the joint fits, 0 … 1.
    """

    start: int
    end: int
    crossfade: float
    bars: int
    bpm: float | None
    key: str | None
    quality: float

    @classmethod
    def read(cls, settings: object) -> Loop | None:
        """The loop in a file's untrusted settings; None if there is no valid one."""
        if not isinstance(settings, Mapping):
            return None
        try:
            loop = cls(**settings)
            numbers = (loop.start, loop.end, loop.crossfade, loop.bars, loop.quality, loop.bpm or 0)
            valid = all(0 <= number <= _MOST for number in numbers)  # False for NaN
        except TypeError:
            return None
        return loop if valid and isinstance(loop.key, str | None) else None

    @property
    def joint(self) -> Literal["seamless", "good", "audible"]:
        """``quality`` in a word: at the joint the sound changes hardly more than the take does
        there on its own; by up to the take's median change more; by more than that.
        """
        return "seamless" if self.quality > 0.8 else "good" if self.quality >= 0.5 else "audible"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a hosted take cost, as far as the server said so; None where it did not.

    ``cost`` and ``credits_left`` are in the account's credits, ``generation_seconds`` is
    the time on the server, ``request_id`` is what its support asks for.
    """

    cost: float | None = None
    credits_left: float | None = None
    request_id: str | None = None
    generation_seconds: float | None = None


_SECONDS = Limit(0.0, 3600.0, 0.0, 0.001, "seconds")
_REPLACED_LIMITS: dict[str, Limit] = {
    "start": _SECONDS,
    "end": _SECONDS,
    "joint": _SECONDS,
    "match": Limit(0.0, 1.0, 0.0, 0.001),
    "level_jump": Limit(-200.0, 200.0, 0.0, 0.1, "dB"),
}


@dataclass(frozen=True, slots=True)
class Replaced:
    """Which seconds of a piece were made anew, and how the new ones go over into the old ones.

    ``name`` and ``digest`` are those of the piece, as in ``ClipFacts``. It was to be new from
    ``start`` to ``end``, and is again as it was from second ``joint`` on. There both are alike to
    a degree ``match`` of 0 … 1, and the old one is ``level_jump`` dB louder. The last three are
    None where the new part is the end.
    """

    name: str
    digest: str
    start: float
    end: float
    joint: float | None = None
    match: float | None = None
    level_jump: float | None = None

    @classmethod
    def read(cls, settings: object) -> Replaced | None:
        """The facts in a file's untrusted settings; None if there are no valid ones."""
        try:
            return cls(**settings) if isinstance(settings, Mapping) else None
        except (InvalidRequest, TypeError):
            return None

    def __post_init__(self) -> None:
        for field in ("name", "digest"):
            if not isinstance(getattr(self, field), str):
                raise InvalidRequest(field, getattr(self, field), "must be text")
        for field, limit in _REPLACED_LIMITS.items():
            value = getattr(self, field)
            if value is not None or field in ("start", "end"):
                object.__setattr__(self, field, checked_number(field, value, limit))


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """A piece of music and where it came from.

    ``samples`` is float32 in −1 … 1, shape [channels, samples], at ``sample_rate`` Hz.
    ``request`` holds the seed that was really used. ``seconds_taken`` is the time it
    took to make. ``stopped`` says that it ends early because somebody pressed Stop.
    ``base_model`` is what ``model`` was applied to, where that is an adapter.
    ``receipt`` is there when somebody else's machine made it for credits. ``finish`` says
    what was done to the sound since, None: nothing; ``limited`` by how many decibels that took
    the highest peak down, 0: peaks are as they were (a file doesn't tell).
    ``loop`` is there when the sound is a loop, and says what of.
    ``name`` is what somebody calls it, "" for its prompt.
    ``clips`` says by field which clips it was made with: those of ``request``, unless it was
    read from a file, which holds no more of them than that. ``replaced`` says which part of it
    was made by ``request``, where the rest is from another piece.
    """

    samples: np.ndarray
    sample_rate: int
    request: MusicRequest
    backend: str
    model: str
    seconds_taken: float
    stopped: bool = False
    receipt: Receipt | None = None
    finish: Finish | None = None
    limited: float = 0.0
    loop: Loop | None = None
    base_model: str | None = None
    clips: Mapping[str, ClipFacts] = dataclasses.field(default_factory=dict)
    replaced: Replaced | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.clips:
            object.__setattr__(self, "clips", self.request.clips)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a file, with its prompt, seed and settings in the tags; → its path.

        The ending says the format: .wav, .flac, .ogg or .mp3. Raises ``InvalidRequest`` for
        another one, or one that can't hold its sample rate or channels, and ``OSError``.
        """
        from musicgen_space.audio.files import save

        save(self, Path(path))
        return Path(path)

    def finished(self, finish: Finish) -> Take:
        """A copy that is louder, faded or trimmed, as ``finish`` says; its ``finish`` tells so."""
        from musicgen_space.audio.mastering.finish import apply_finish

        return apply_finish(self, finish)

    def looped(self) -> Take:
        """A copy that loops: the bars whose ends fit best; its ``loop`` tells which, and how well.

        Finish a take before: fades have no place in a loop. Raises ``InvalidRequest`` for a
        take of less than a second.
        """
        from musicgen_space.audio.loops.loop import loop_take

        return loop_take(self)

    @property
    def title(self) -> str:
        """What it is called: its name, or its prompt."""
        return self.name or self.request.prompt

    @property
    def made_by(self) -> str:
        """The model, and the one that it was applied to."""
        return f"{self.model} + {self.base_model}" if self.base_model else self.model

    @property
    def duration(self) -> float:
        """Length of the sound in seconds."""
        return float(self.samples.shape[-1] / self.sample_rate)

    @property
    def given_seconds(self) -> float:
        """Seconds of the clip that it goes on from, where the new music begins; 0 without one."""
        clip = self.clips.get("continue_from")
        return clip.seconds if clip else 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of music made per second of waiting; above 1 is faster than playback.

        What a take continues, or is a part of, was there already.
        """
        made = self.duration - self.given_seconds
        if self.replaced is not None:
            made = self.replaced.end - self.replaced.start
        return made / max(self.seconds_taken, 1e-9)
