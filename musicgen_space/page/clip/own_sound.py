"""Visitors' own sounds: which stretch of which one is to be continued or followed."""

from __future__ import annotations

import math
from typing import Any

from musicgen_space.audio.peaks import normalised_peaks
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.message import Message, as_json
from musicgen_space.page.visitors.kept import Kept
from musicgen_space.request import CLIP_LIMITS

__all__ = ["CONTINUE", "FOLLOW", "NOTHING_PICKED", "Picked", "clip_fields", "new_sounds", "picked"]

CONTINUE, FOLLOW = CLIP_LIMITS  # the fields of a request that a clip can be

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
    """A clip as the picker first shows it for ``use``, one of ``CONTINUE`` and ``FOLLOW``.

    To be continued: its end, or all of it (``whole``). To be followed: its beginning.
    """
    limit = CLIP_LIMITS[use]
    if clip.duration < limit.minimum:
        raise UnreadableAudio(f"{clip.name} is too short: {limit.minimum:g} s are the least.")
    length = min(limit.maximum if whole else limit.default, clip.duration)
    start = clip.duration - length if use == CONTINUE else 0.0
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
    choice = choice if isinstance(choice, dict) else {}
    key = choice.get("clip")
    if not key:
        return {}
    if use not in CLIP_LIMITS:
        raise InvalidRequest("your own sound", use, f"is for one of {[*CLIP_LIMITS]}")
    clip = sounds.get(str(key))
    if clip is None:
        raise UnreadableAudio(Message("Your own sound is not kept here any more: choose it again."))
    return {use: clip.cut(_seconds("from", choice), _seconds("to", choice))}


def _seconds(end: str, choice: Picked) -> float:
    value = choice.get(end)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest(f'"{end}" of your own sound', value, "must be a number of seconds")
    return float(value)
