"""What is asked for: ``MusicRequest``.

The limits live here, once: sliders, the command line and every backend read them from
``LIMITS``; a backend may have narrower ones. This module knows nothing of how music is made.
"""

from __future__ import annotations

import dataclasses
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen_space.clip import Clip, ClipFacts
from musicgen_space.errors import InvalidRequest

__all__ = [
    "ABOUT",
    "CLIP_LIMITS",
    "DOCUMENTED_DURATION",
    "LIMITS",
    "MAX_PROMPT_CHARACTERS",
    "MAX_TOTAL_SECONDS",
    "RANDOM_SEED",
    "STRETCH_LIMIT",
    "TEXTS",
    "Limit",
    "MusicRequest",
    "checked_number",
    "checked_text",
    "draw_seed",
    "shortened",
    "upgraded",
]

MAX_PROMPT_CHARACTERS = 1000
RANDOM_SEED = -1
TEXTS = ("prompt", "negative_prompt", "blend_prompt")  # only the first must say something


@dataclass(frozen=True, slots=True)
class Limit:
    """The range of one number, ends included."""

    minimum: float
    maximum: float
    default: float
    step: float
    unit: str = ""

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        return isinstance(self.default, int)

    @property
    def range(self) -> str:
        """As in "1 to 30 seconds"."""
        return f"{self.minimum:g} to {self.maximum:g}" + (f" {self.unit}" if self.unit else "")

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"must be {kind} from {self.range}"


# seed, and the least and the usual duration: what Segmind documents for meta-musicgen-medium,
# as DOCUMENTED_DURATION does in full.
# top_k: a codebook has 2048 entries; 250, 1.0 and 3.0 are AudioCraft's defaults
# (audiocraft/models/musicgen.py, set_generation_params).
LIMITS: dict[str, Limit] = {
    "duration": Limit(1.0, 300.0, 10.0, 0.5, "seconds"),
    "seed": Limit(RANDOM_SEED, 9999, 42, 1),
    "top_k": Limit(1, 2048, 250, 1),
    "top_p": Limit(0.0, 1.0, 0.0, 0.01),
    "temperature": Limit(0.1, 2.0, 1.0, 0.05),
    "guidance_scale": Limit(1.0, 10.0, 3.0, 0.1),
    "variations": Limit(1, 4, 1, 1),
}

DOCUMENTED_DURATION = dataclasses.replace(LIMITS["duration"], maximum=30.0)

# Seconds of a clip; of what is to be continued, the model hears the end (engine/windows.py).
CLIP_LIMITS: dict[str, Limit] = {
    "continue_from": Limit(0.5, 300.0, 10.0, 0.1, "seconds"),
    "melody": Limit(0.5, 300.0, 30.0, 0.1, "seconds"),
}
STRETCH_LIMIT = Limit(1.0, 28.0, 8.0, 0.1, "seconds")  # of a piece, made anew
MAX_TOTAL_SECONDS = 360.0  # of a clip that is continued and what is made after it

# What the fields mean besides their limits, in a line each, where their names do not say it.
ABOUT: dict[str, str] = {
    "prompt": "the music, described in words",
    "duration": "length of the music, as far as the backend goes",
    "seed": "same seed, same music; -1 draws one",
    "top_k": "how many codes are in the draw",
    "top_p": "above 0 it replaces top-k",
    "temperature": "below 1 calmer, above 1 wilder",
    "guidance_scale": "how closely to follow the prompt; 1 is off",
    "variations": "takes at once, with the seed and the next ones",
    "negative_prompt": "what the music shall move away from",
    "blend_prompt": "what the music shall become while it goes on",
    "continue_from": "a sound file that the music goes on from, kept as its beginning",
    "melody": "a sound file whose tune the music follows",
}


@dataclass(frozen=True, slots=True)
class MusicRequest:
    """One wish for music; raises ``InvalidRequest`` when a field is outside its limits.

    ``duration`` is in seconds, without a clip that is continued; a backend may make less.
    ``seed`` −1 means "draw one": see ``with_seed_drawn``.
    ``top_p`` 0 means off; above 0 it is used instead of ``top_k``. ``guidance_scale``
    1 means off. ``model`` names a checkpoint of the backend, None its default.

    The music moves away from ``negative_prompt`` and over to ``blend_prompt`` while it goes
    on; "" is neither. It starts after the sound of ``continue_from``, which is the beginning of
    the take, and follows the tune of ``melody``. ``variations`` are made at once, with the seeds
    ``seed``, ``seed`` + 1, …
    """

    prompt: str
    duration: float = LIMITS["duration"].default
    seed: int = int(LIMITS["seed"].default)
    top_k: int = int(LIMITS["top_k"].default)
    top_p: float = LIMITS["top_p"].default
    temperature: float = LIMITS["temperature"].default
    guidance_scale: float = LIMITS["guidance_scale"].default
    model: str | None = None
    variations: int = int(LIMITS["variations"].default)
    negative_prompt: str = ""
    blend_prompt: str = ""
    continue_from: Clip | None = None
    melody: Clip | None = None

    def __post_init__(self) -> None:
        for field in TEXTS:
            text = checked_text(field, getattr(self, field), required=field == "prompt")
            object.__setattr__(self, field, text)
        for field, limit in LIMITS.items():
            object.__setattr__(self, field, checked_number(field, getattr(self, field), limit))
        for field, limit in CLIP_LIMITS.items():
            _check_clip(field, getattr(self, field), limit)
        _check_total(self.given_seconds, self.duration)
        if self.model is not None and not isinstance(self.model, str):
            raise InvalidRequest("model", self.model, "must be text")

    def with_seed_drawn(self) -> MusicRequest:
        """The same request with a seed of 0 … 9999 in place of −1."""
        if self.seed != RANDOM_SEED:
            return self
        return dataclasses.replace(self, seed=draw_seed())

    @property
    def total_seconds(self) -> float:
        """Seconds of the whole take: the clip that it continues, then what is made."""
        return self.duration + self.given_seconds

    @property
    def given_seconds(self) -> float:
        """Seconds of the clip that the music goes on from; 0 without one."""
        return self.continue_from.duration if self.continue_from else 0.0

    @property
    def clips(self) -> dict[str, ClipFacts]:
        """What its clips are, by field."""
        given = {name: getattr(self, name) for name in CLIP_LIMITS}
        return {name: clip.facts for name, clip in given.items() if clip is not None}

    def variation(self, index: int) -> MusicRequest:
        """What would make variation ``index`` (0, 1, …) alone; the seed must be drawn already."""
        seeds = int(LIMITS["seed"].maximum) + 1
        return dataclasses.replace(self, seed=(self.seed + index) % seeds, variations=1)

    def settings(self) -> dict[str, Any]:
        """All fields as JSON knows them; of a clip, what it was."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: value.described() if isinstance(value, Clip) else value
            for name, value in values.items()
        }


def draw_seed(other_than: object = None) -> int:
    """A random seed, 0 … 9999, and not ``other_than``."""
    seeds = int(LIMITS["seed"].maximum) + 1
    if not isinstance(other_than, int) or not 0 <= other_than < seeds:
        return secrets.randbelow(seeds)
    drawn = secrets.randbelow(seeds - 1)
    return drawn + (drawn >= other_than)


def upgraded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a take, a link or a file as this version writes them; unchecked.

    Until 0.1 there were two lengths: ``extend_to``, unless it was 30, went before ``duration``.
    """
    newer = dict(settings)
    extended = newer.pop("extend_to", None)
    if extended is not None and extended != 30:
        newer["duration"] = extended
    return newer


def checked_text(
    field: str, given: object, *, required: bool, most: int = MAX_PROMPT_CHARACTERS
) -> str:
    """``given`` as one line of up to ``most`` characters; raises ``InvalidRequest``."""
    if not isinstance(given, str):
        raise InvalidRequest(field, given, "must be text")
    text = " ".join(given.split())  # line breaks and tabs are just spaces to a prompt
    if all(unicodedata.category(character) in ("Cf", "Zs") for character in text):
        text = ""  # nothing of it can be seen
    if required and not text:
        raise InvalidRequest(field, given, "must not be empty: describe the music in words")
    if len(text) > most:
        limit = f"must be at most {most} characters"
        raise InvalidRequest(field, f"{len(text)} characters", limit)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise InvalidRequest(field, text, "must not contain control characters")
    return text


def shortened(text: str, most: int) -> str:
    """``text`` in up to ``most`` characters, the last of which tells if there were more."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _check_clip(field: str, clip: object, limit: Limit) -> None:
    if clip is None:
        return
    if not isinstance(clip, Clip):
        raise InvalidRequest(field, clip, "must be a clip")
    # A hundredth more than allowed: a clip is cut to whole samples.
    if not limit.minimum - 0.01 <= clip.duration <= limit.maximum + 0.01:
        must = f"must last {limit.minimum:g} to {limit.maximum:g} {limit.unit}"
        raise InvalidRequest(field, f"{clip.duration:.2f} seconds", must)


def _check_total(given: float, new: float) -> None:
    if given + new > MAX_TOTAL_SECONDS + 0.01:
        most = f"{MAX_TOTAL_SECONDS - given:.4g} seconds after a clip of {given:.4g}"
        raise InvalidRequest("duration", new, f"must be at most {most}")


def checked_number(field: str, value: object, limit: Limit) -> float | int:
    """``value`` as the plain number it is; raises ``InvalidRequest`` outside ``limit``."""
    # The comparison also refuses NaN, the infinities and integers too large for a float.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.integer | np.floating)
        or not limit.minimum <= value <= limit.maximum
        or (limit.whole and value != int(value))
    ):
        raise InvalidRequest(field, value, str(limit))
    return int(value) if limit.whole else float(value)
