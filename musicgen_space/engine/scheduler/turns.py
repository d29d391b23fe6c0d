"""Who is advanced by a step of the decoder, and how far. Nothing here waits or computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

__all__ = ["FAR_AHEAD", "Turn", "choose"]

FAR_AHEAD = 2.0  # seconds of sound that its listener has yet to hear
_SHORT = 0.5  # seconds of it, that a paced listener should not have less than
# Activations (rows · columns) of a step for columns that were given or made before: a prompt,
# or what a window shares with the one before. Where others are decoding, their step shall not
# last much longer for it.
_ALONE, _BESIDE = 64, 8


class Turn(Protocol):
    """What decides about somebody's turn."""

    @property
    def rows(self) -> int:
        """Of the batch."""

    @property
    def columns(self) -> int:
        """To be read until the next code is drawn, 1 or more."""

    @property
    def paced(self) -> bool:
        """Whether no more is made than the listener hears soon, so that it must not be late."""

    def ahead(self, now: float) -> float:
        """Seconds of sound that are made and not yet heard; −∞ before there is any."""


_T = TypeVar("_T", bound=Turn)


def choose(candidates: Sequence[_T], now: float, step: int) -> list[tuple[_T, int]]:
    """Who reads how many columns in step number ``step``; who has the least sound ahead is first.

    All together cost little more than one, so everybody takes part. But while somebody hears
    nothing yet, or soon no more, whoever is far ahead waits: that is a second or so, and they
    have more. Beside a newcomer the others then take part in every second step, unless the
    newcomer still reads a prompt.
    """
    order = sorted(candidates, key=lambda each: each.ahead(now))
    new = [each for each in order if each.ahead(now) == -math.inf]
    if new or any(each.paced and each.ahead(now) < _SHORT for each in order):
        order = [each for each in order if each.ahead(now) < FAR_AHEAD]
        if new and step % 2 and all(each.columns == 1 for each in new):
            order = new
    spare = _BESIDE if any(each.columns == 1 for each in order) else _ALONE
    turns = []
    for each in order:
        more = min(each.columns - 1, spare // each.rows)
        spare -= more * each.rows
        turns.append((each, 1 + more))
    return turns
