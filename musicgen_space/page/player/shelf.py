"""The sound of takes for their players: bit by bit while they are made, whole when they are."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from musicgen_space.audio.resample import to_int16
from musicgen_space.page.visitors.kept import Kept
from musicgen_space.request import CLIP_LIMITS
from musicgen_space.take import Take

__all__ = ["Shelf", "whole"]

# Four variations of five minutes in stereo are 350 MB, a usual take is 2.
_BYTES_KEPT = 640 * 2**20
_BYTES_EACH = 512 * 2**20
_CHUNKS_AT_ONCE = 8  # a megabyte in stereo


@dataclass(slots=True)
class _Making:
    """What one press of Generate has given so far."""

    chunks: list[bytes] = field(default_factory=list)
    takes: Sequence[Take] = ()


class Shelf:
    """The latest takes and those being made, each wish for music under an unguessable id.

    ``examples`` finds the takes that everybody may have, by ids of their own.
    """

    def __init__(self, examples: Callable[[str], Take | None] = lambda key: None) -> None:
        self._made: Kept[_Making] = Kept(_BYTES_KEPT, _BYTES_EACH)
        self._examples = examples

    def start(self, visitor: str = "") -> str:
        """Begin to make something for ``visitor``; → its id. The oldest takes are forgotten."""
        return self._made.add(_Making(), visitor=visitor)

    def append(self, key: str, samples: np.ndarray) -> int:
        """Add float samples [channels, n] to what can be heard; → how many chunks there are."""
        making = self._made.get(key) or _Making()
        chunk = to_int16(samples).T.tobytes()
        making.chunks.append(chunk)
        self._made.grow(key, len(chunk))
        return len(making.chunks)

    def finish(self, key: str, takes: Sequence[Take]) -> None:
        """Keep what came of it: a take or its variations."""
        making = self._made.get(key)
        if making is not None:
            making.takes = takes
            self._made.grow(key, _bytes_of(takes))

    def give_up(self, key: str) -> None:
        """Nothing came of it."""
        self._made.forget(key)

    def chunks(self, key: str, first: int) -> list[str] | None:
        """The next few chunks from ``first`` on, each as base64 of interleaved little-endian int16.

        None if there is none.
        """
        making = self._made.get(key)
        if making is None or not 0 <= first < len(making.chunks):
            return None
        few = making.chunks[first : first + _CHUNKS_AT_ONCE]
        return [base64.b64encode(chunk).decode("ascii") for chunk in few]

    def take(self, key: str, variation: int) -> Take | None:
        """A finished take; None when it is unknown or forgotten."""
        making = self._made.get(key)
        if making is None:
            return None if variation else self._examples(key)
        return making.takes[variation] if 0 <= variation < len(making.takes) else None

    def take_at(self, address: object) -> Take | None:
        """The same by its address in one piece, "key/variation", which nobody need trust."""
        key, _, index = str(address).rpartition("/")
        return self.take(key, whole(index)) if key else None


def whole(text: str) -> int:
    """A number that a page sends; −1 for anything that is no small whole number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else -1


def _bytes_of(takes: Sequence[Take]) -> int:
    """Memory that ``takes`` hold: their own, and that of the clips they share."""
    clips = [getattr(take.request, field) for take in takes[:1] for field in CLIP_LIMITS]
    samples = [take.samples for take in takes] + [clip.samples for clip in clips if clip]
    return sum(each.nbytes for each in samples)
