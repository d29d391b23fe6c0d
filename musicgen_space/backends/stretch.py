"""A stretch of a piece is made anew, by any backend that continues sound; the rest stays.

A backend hears what is before the stretch, and goes on from there beyond its end. Where what it
made and the piece are most alike, the piece takes over again, in its old place::

    piece       |————————————|—— stretch ——|—————————————|
    continued        |———————|                               what the model hears
    candidate                |—————————————————|
    joint                              ? ? ? ?               within 2 s of the end
    take        |————————————><———— new ————————><———————|

Outside the two crossfades the samples are those of the piece.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from musicgen_space.audio.joint import AROUND_SECONDS, FADE_SECONDS, crossfade, find_joint
from musicgen_space.audio.resample import convert
from musicgen_space.backends.base import Backend, Chunk, Update
from musicgen_space.clip import Clip
from musicgen_space.engine.windows import context_seconds
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import (
    CLIP_LIMITS,
    LIMITS,
    STRETCH_LIMIT,
    Limit,
    MusicRequest,
    checked_number,
    shortened,
)
from musicgen_space.take import Replaced, Take

__all__ = ["Stretch", "replaced"]

_MARGIN = 2.0  # seconds from the end of a stretch to the joint, or a quarter of it if before
_FRAME = 0.02  # seconds: MusicGen's sound is made in these
_NAME = 80  # characters of a prompt that names a piece


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Seconds ``start`` to ``end`` of ``piece``, which are to be made anew.

    Raises ``InvalidRequest``: it lasts 1 to 28 s and lies within the piece, which has one or two
    channels.
    """

    piece: Take | Clip
    start: float
    end: float

    def __post_init__(self) -> None:
        if len(self.piece.samples) > 2:
            limit = "must have one or two channels"
            raise InvalidRequest("piece", f"{len(self.piece.samples)} channels", limit)
        longest = math.ceil(self.piece.duration * 1000) / 1000
        within = Limit(0.0, longest, 0.0, 0.1, "seconds")
        for field in ("start", "end"):
            object.__setattr__(self, field, checked_number(field, getattr(self, field), within))
        least = CLIP_LIMITS["continue_from"].minimum
        if 0 < self.start < least:
            must = f"must be 0, or at least {least:g} seconds, to go on from those"
            raise InvalidRequest("start", self.start, must)
        if not STRETCH_LIMIT.minimum <= round(self.seconds, 3) <= STRETCH_LIMIT.maximum:
            must = f"must be {STRETCH_LIMIT.range} after the start, {self.start:g}"
            raise InvalidRequest("end", self.end, must)

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start

    @property
    def source(self) -> Clip:
        """The piece as a clip; a take is named by its prompt."""
        if isinstance(self.piece, Clip):
            return self.piece
        name = shortened(self.piece.request.prompt, _NAME)
        return Clip(self.piece.samples, self.piece.sample_rate, name)

    @property
    def begins(self) -> float:
        """The second from which on only new sound is heard; what is before is heard by the model.

        At the beginning of a piece there is nothing to go on from.
        """
        return self.start + FADE_SECONDS if self.start else 0.0

    def request(self, wish: MusicRequest) -> MusicRequest:
        """``wish`` with ``duration`` and ``continue_from`` as it takes for this stretch."""
        until = min(self.end + _MARGIN + AROUND_SECONDS, self.piece.duration)
        new = max(LIMITS["duration"].minimum, until - self.begins + _FRAME)
        return replace(wish, duration=new, continue_from=self._context(new))

    def _context(self, new: float) -> Clip | None:
        if not self.start:
            return None
        source, rate = self.source, self.source.sample_rate
        frames = math.floor(context_seconds(self.begins, new) / _FRAME)  # whole ones
        last = round(self.begins * rate)
        first = last - round(frames * _FRAME * rate)
        return Clip(source.samples[:, first:last].copy(), rate, source.name, first / rate)


def replaced(
    backend: Backend,
    stretch: Stretch,
    wish: MusicRequest,
    stop: threading.Event,
    visitor: str = "",
) -> Iterator[Update]:
    """The piece with ``stretch`` made anew, once for each variation, as updates of ``backend``.

    What ``wish`` says of ``duration`` and ``continue_from`` does not count. There are no
    ``Chunk``s: nothing can be heard before the end of the new part is found. The takes come last,
    the one with the best joint first; their ``replaced`` tells of it, and their ``request`` of
    the stretch alone. There are none if ``stop`` was set before the end of the stretch was made.
    Raises ``InvalidRequest`` where the backend can't continue sound, and what it raises.
    """
    request = stretch.request(wish)
    backend.check(request)
    takes: list[Take] = []
    for update in backend.generate(request, stop, visitor):
        if isinstance(update, Take):
            takes += _exchanged(stretch, update)
        elif not isinstance(update, Chunk):
            yield update
    yield from sorted(takes, key=_quality, reverse=True)


def _quality(take: Take) -> float:
    return take.replaced.match or 0.0 if take.replaced else 0.0


def _exchanged(stretch: Stretch, candidate: Take) -> Iterator[Take]:
    """The piece with what was made for its stretch; nothing if that is too short."""
    source = stretch.source
    old, rate = source.samples, source.sample_rate
    new = _in_place(stretch, candidate)
    facts = Replaced(source.name, source.digest, stretch.start, stretch.end)
    start, end = round(stretch.start * rate), old.shape[-1]
    samples = old.copy()
    if stretch.end < stretch.piece.duration - _FRAME:
        search = _joint_range(stretch, new.shape[-1] / rate)
        if search is None:
            return
        first, last = (round(second * rate) for second in search)
        joint = find_joint(new[:, first:last], old[:, first:last], rate)
        end = first + joint.at
        fade = slice(end - round(FADE_SECONDS * rate), end)
        new[:, fade] = crossfade(new[:, fade], old[:, fade])
        facts = replace(
            facts,
            joint=round(end / rate, 3),
            match=round(joint.match, 3),
            level_jump=round(joint.level_jump, 1),
        )
    elif new.shape[-1] < end:
        return
    samples[:, start:end] = new[:, start:end]
    yield _take(stretch, candidate, samples, facts)


def _in_place(stretch: Stretch, candidate: Take) -> np.ndarray:
    """The piece up to the stretch, and what was made from there on: [channels, n]."""
    source, heard = stretch.source, candidate.request.continue_from
    rate, channels = source.sample_rate, len(source.samples)
    made = convert(Clip(candidate.samples, candidate.sample_rate), rate, channels)
    start, begins = round(stretch.start * rate), round(stretch.begins * rate)
    if heard is not None:
        made = made[:, heard.samples.shape[-1] - (begins - start) :]
    old = source.samples[:, :begins]
    faded = crossfade(old[:, start:], made[:, : begins - start])
    whole = np.concatenate([old[:, :start], faded, made[:, begins - start :]], axis=1)
    return whole[:, : source.samples.shape[-1]]


def _joint_range(stretch: Stretch, made_until: float) -> tuple[float, float] | None:
    """The seconds to look for the joint in; None if what was made ends before the stretch."""
    end, until = stretch.end, stretch.piece.duration
    if made_until < min(end + AROUND_SECONDS, until) - _FRAME:
        return None
    latest = min(end + _MARGIN, made_until - AROUND_SECONDS, until - AROUND_SECONDS)
    earliest = min(end - min(_MARGIN, stretch.seconds / 4), latest - FADE_SECONDS)
    return earliest - AROUND_SECONDS, latest + AROUND_SECONDS


def _take(stretch: Stretch, candidate: Take, samples: np.ndarray, facts: Replaced) -> Take:
    """The piece as a take, made by the wish for its stretch."""
    before = stretch.piece if isinstance(stretch.piece, Take) else None
    request = replace(candidate.request, duration=round(stretch.seconds, 3), continue_from=None)
    return replace(
        candidate,
        samples=samples,
        sample_rate=stretch.piece.sample_rate,
        request=request,
        stopped=False,
        finish=before.finish if before else None,
        clips={**(before.clips if before else {}), **request.clips},
        replaced=facts,
    )
