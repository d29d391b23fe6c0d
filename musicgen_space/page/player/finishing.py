"""Takes of the shelf as they are heard: with a finish, and as loud as each other."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from cachetools import LRUCache

from musicgen_space.audio.mastering.finish import apply_finish
from musicgen_space.audio.mastering.loudness import LOUDNESS, gains_to_match, loudness
from musicgen_space.audio.peaks import waveform
from musicgen_space.errors import InvalidRequest
from musicgen_space.message import Message, as_json
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.request import LIMITS
from musicgen_space.take import Finish, Loop, Take

__all__ = ["MOST_TAKES", "Finishing", "finish_of"]

MOST_TAKES = int(LIMITS["variations"].maximum)  # heard together: as many as are made so
_BYTES_KEPT = 128 * 2**20  # a five-minute take in stereo is 77 MB

# A take that is hardly heard must not silence the others: no more than 20 dB are taken off.
_LEAST_GAIN = 0.1


class Finishing:
    """Finishes takes when they are asked for, and keeps the latest.

    One at a time: that is work for a processor that may be making music.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lock = threading.Lock()
        self._done: LRUCache[tuple[str, Finish, bool], Take] = LRUCache(
            _BYTES_KEPT, getsizeof=lambda take: take.samples.nbytes
        )

    def take(self, address: object, finish: Finish, *, loop: bool = False) -> Take | None:
        """A take of the shelf with ``finish``, made a ``loop`` if wanted: then without fades.

        ``address`` is "key/variation". None: unknown. Raises ``InvalidRequest`` for what is too
        short for a loop.
        """
        raw = self._shelf.take_at(address)
        if loop:
            finish = dataclasses.replace(finish, fade_in=0, fade_out=0)
        if raw is None or (finish == Finish() and not loop):
            return raw
        with self._lock:
            key = (str(address), finish, loop)
            take = self._done.get(key) or _finished(raw, finish, loop)
            with suppress(ValueError):  # larger than all that is kept
                self._done[key] = take
        return take

    def heard(
        self, addresses: Sequence[object], finish: Finish, *, loop: bool = False
    ) -> list[dict[str, Any]] | None:
        """What differs from the raw takes, for the player: of each its ``wanted`` (seconds),
        ``peaks``, ``peaks_per_second``, ``gain`` (which makes it as loud as the quietest) and
        ``notes`` (what was done to it, for ``told``). None when one of them is not there any more.
        """
        raw = [self._shelf.take_at(address) for address in addresses]
        takes = [take for address in addresses if (take := self.take(address, finish, loop=loop))]
        if len(takes) < len(raw):
            return None
        # Only where somebody hears or reads it: pyloudnorm takes more than a second to import.
        measured = finish.normalise or len(takes) > 1
        levels = [loudness(take.samples, take.sample_rate) for take in takes if measured]
        gains = gains_to_match(levels) if len(takes) > 1 else [1.0] * len(takes)
        return [
            {
                **waveform(take),
                "gain": max(gain, _LEAST_GAIN),
                "notes": as_json(
                    _notes(before, take, finish, levels[index] if measured else math.nan)
                ),
            }
            for index, (before, take, gain) in enumerate(zip(raw, takes, gains, strict=True))
            if before is not None
        ]


def _finished(take: Take, finish: Finish, loop: bool) -> Take:
    finished = apply_finish(take, finish)
    return finished.looped() if loop else finished


def finish_of(settings: object) -> Finish:
    """The finish that a page asks for, None for none; raises ``InvalidRequest``."""
    if settings is None:
        return Finish()
    known = {field.name for field in dataclasses.fields(Finish)}
    if not isinstance(settings, dict) or not known.issuperset(settings):
        raise InvalidRequest("finish", settings, f"must have fields of {sorted(known)}")
    return Finish(**settings)


def _notes(before: Take, take: Take, finish: Finish, level: float) -> list[Message]:
    """What a finish did, as far as it did something."""
    cut = before.duration - take.duration
    notes = _loop_notes(take.loop) if take.loop else []
    if take.loop is None and cut > 0.05:
        notes.append(Message("{seconds:.1f} s of its tail cut off", seconds=cut))
    elif take.loop is None and finish.trim:
        notes.append(Message("no tail to cut off"))
    if finish.fade_in and take.loop is None:
        notes.append(Message("fade-in {seconds:g} s", seconds=finish.fade_in))
    if finish.fade_out and take.loop is None:
        notes.append(Message("fade-out {seconds:g} s", seconds=finish.fade_out))
    if finish.normalise and math.isfinite(level):
        notes.append(_level(level, take.limited))
    return notes


_JOINTS = {
    "seamless": Message("a seamless joint"),
    "good": Message("a good joint"),
    "audible": Message("a joint that is heard"),
}


def _loop_notes(loop: Loop) -> list[Message]:
    """What a loop is of, and how well it fits."""
    beat = (
        Message("a loop without a steady beat")
        if loop.bpm is None
        else Message("a loop of {bars} bars at {bpm:.0f} bpm", bars=loop.bars, bpm=loop.bpm)
    )
    if loop.key is None:
        return [beat, _JOINTS[loop.joint]]
    note, _, mode = loop.key.partition(" ")
    major = mode == "major"
    key = Message("{note} major", note=note) if major else Message("{note} minor", note=note)
    return [beat, key, _JOINTS[loop.joint]]


def _level(level: float, limited: float) -> Message:
    if level < LOUDNESS - 0.5:
        return Message(
            "now {level:.1f} LUFS, as far as its peaks allow: limited by {limited:.1f} dB",
            level=level,
            limited=limited,
        )
    if limited >= 0.05:
        return Message(
            "now {level:.1f} LUFS, peaks limited by {limited:.1f} dB", level=level, limited=limited
        )
    return Message("now {level:.1f} LUFS", level=level)
