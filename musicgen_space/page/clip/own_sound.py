"""Visitors' own sounds: which stretch of which one is continued, followed or made anew."""

from __future__ import annotations

import math
from typing import Any

from musicgen_space.audio.peaks import normalised_peaks
from musicgen_space.backends.stretch import Stretch
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.message import Message, as_json
from musicgen_space.page.visitors.kept import Kept
from musicgen_space.request import CLIP_LIMITS, STRETCH_LIMIT, Limit

__all__ = [
    "CONTINUE",
    "FOLLOW",
    "NOTHING_PICKED",
    "REPLACE",
    "Picked",
    "clip_fields",
    "new_sounds",
    "picked",
    "picked_stretch",
]

CONTINUE, FOLLOW = CLIP_LIMITS  # the fields of a request that a clip can be
REPLACE = "replace"  # no field: the request is for a stretch of the sound
_USES: dict[str, Limit] = {**CLIP_LIMITS, REPLACE: STRETCH_LIMIT}

# What the picker shows and sends back: ``clip`` (id, "" for none), ``name``, ``note`` (what was
# done to it, for the scripts' ``told``), ``seconds``, ``peaks`` (percent), ``from`` and ``to``
# (seconds), ``least`` and ``most`` (seconds from ``from`` to ``to``).
Picked = dict[str, Any]

NOTHING_PICKED: Picked = {"clip": "", "name": "", "note": "", "seconds": 0.0, "peaks": []}

_BYTES_KEPT = 512 * 2**20  # three minutes in stereo are 46 MB
_BYTES_EACH = 256 * 2**20
_BARS = 300  # in the picker's waveform, at its widest


def new_sounds() -> Kept[Clip]:
    """Room for visitors' sounds."""
    return Kept(_BYTES_KEPT, _BYTES_EACH)


def picked(key: str, clip: Clip, use: str, *, whole: bool = False) -> Picked:
    """A clip as the picker first shows it for ``use``: ``CONTINUE``, ``FOLLOW`` or ``REPLACE``.

    To be continued: its end, or all of it (``whole``). To be followed: its beginning. To be
    made anew: from its middle.
    """
    limit = _USES[use]
    if clip.duration < limit.minimum:
        raise UnreadableAudio(f"{clip.name} is too short: {limit.minimum:g} s are the least.")
    length = min(limit.maximum if whole else limit.default, clip.duration)
    if use == REPLACE:
        length = max(limit.minimum, min(length, round(clip.duration / 2, 1)))
    over = clip.duration - length
    start = {CONTINUE: over, FOLLOW: 0.0, REPLACE: round(over / 2, 1)}[use]
    return {
        "clip": key,
        "name": clip.name,
        "note": as_json(clip.note or ""),
        "seconds": clip.duration,
        "peaks": normalised_peaks(clip.samples, _BARS),
        "from": start,
        "to": start + length,
        "least": limit.minimum,
        "most": limit.maximum,
    }


def clip_fields(sounds: Kept[Clip], choice: Picked | None, use: str) -> dict[str, Clip]:
    """The clip field that a visitor asks for, if any; nothing in ``choice`` is trusted.

    Raises ``InvalidRequest`` and ``UnreadableAudio``.
    """
    clip = _clip(sounds, choice, use)
    if clip is None or use == REPLACE:
        return {}
    return {use: clip.cut(*_ends(choice))}


def picked_stretch(sounds: Kept[Clip], choice: Picked | None, use: str) -> Stretch | None:
    """What a visitor asks to have made anew, if anything; nothing in ``choice`` is trusted.

    Raises ``InvalidRequest`` and ``UnreadableAudio``.
    """
    clip = _clip(sounds, choice, use)
    if clip is None or use != REPLACE:
        return None
    start, end = _ends(choice)
    # Too little to go on from: then from its beginning.
    return Stretch(clip, start if start >= CLIP_LIMITS[CONTINUE].minimum else 0.0, end)


def _clip(sounds: Kept[Clip], choice: Picked | None, use: str) -> Clip | None:
    key = choice.get("clip") if isinstance(choice, dict) else None
    if not key:
        return None
    if use not in _USES:
        raise InvalidRequest("your own sound", use, f"is for one of {[*_USES]}")
    clip = sounds.get(str(key))
    if clip is None:
        raise UnreadableAudio(Message("Your own sound is not kept here any more: choose it again."))
    return clip


def _ends(choice: Picked | None) -> tuple[float, float]:
    return _seconds("from", choice or {}), _seconds("to", choice or {})


def _seconds(end: str, choice: Picked) -> float:
    value = choice.get(end)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest(f'"{end}" of your own sound', value, "must be a number of seconds")
    return float(value)
