"""A backend's updates become views of the player: what is said while music is made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicgen_space.audio.peaks import peaks, peaks_per_second
from musicgen_space.backends.base import Chunk, Loading, Progress, Waiting
from musicgen_space.message import Message, Text, as_json
from musicgen_space.page.player.player import View, clock, view, view_of_takes
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take

__all__ = ["TakeProgress", "status"]

_LONG = 60  # seconds from which on lengths are told in minutes


class TakeProgress:
    """What the player shows of one wish, from pressing Generate to the finished takes.

    The one before has ``ended``, which the page may not have been told yet.
    """

    def __init__(
        self, request: MusicRequest, shelf: Shelf, visitor: str = "", ended: str = ""
    ) -> None:
        self._shelf = shelf
        self._unseen: np.ndarray | None = None  # sound that does not fill a peak yet
        self.view: View = view(
            "busy",
            Message("Getting ready"),
            take=shelf.start(visitor),
            wanted=request.total_seconds,
            begins=request.given_seconds,
            peaks_per_second=peaks_per_second(request.total_seconds),
            title=request.prompt,
            variations=request.variations,
            ended=ended,
        )

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear yet."""
        return not self.view["chunks"]

    def add(self, update: Waiting | Loading | Progress | Chunk) -> View:
        """Take in one update; → the view after it."""
        if isinstance(update, Chunk):
            # Of variations, the first is heard while they are made.
            return self.view if update.variation else self._add_chunk(update)
        self.view = {**self.view, "status": as_json(status(update, self.view["variations"]))}
        if isinstance(update, Progress):
            self.view["speed"] = round(update.real_time_factor, 3)
        return self.view

    def finish(self, takes: Sequence[Take], kept: Sequence[str] = (), note: Text = "") -> View:
        """Take in what came of it, at least one take; → the view of it.

        ``kept`` are their ids in the library, ``note`` is what there is to say of them.
        """
        self._shelf.finish(self.view["take"], takes)
        self.view = view_of_takes(
            takes, self.view["take"], kept=kept, chunks=self.view["chunks"], status=note
        )
        return self.view

    def give_up(self) -> None:
        """Nothing came of it: keep nothing."""
        self._shelf.give_up(self.view["take"])

    def _add_chunk(self, chunk: Chunk) -> View:
        self.view = {
            **self.view,
            "rate": chunk.sample_rate,
            "channels": chunk.samples.shape[0],
            "chunks": self._shelf.append(self.view["take"], chunk.samples),
            "peaks": self.view["peaks"] + self._peaks(chunk),
        }
        return self.view

    def _peaks(self, chunk: Chunk) -> list[int]:
        """The peaks that a chunk completes: chunks need not end where peaks do."""
        before = [] if self._unseen is None else [self._unseen]
        sound = np.concatenate([*before, chunk.samples], axis=1)
        a_second = self.view["peaks_per_second"]
        step = chunk.sample_rate // a_second
        seen = sound.shape[1] // step * step
        self._unseen = sound[:, seen:]
        return peaks(sound[:, :seen], chunk.sample_rate, a_second) if seen else []


def status(update: Waiting | Loading | Progress, takes: int = 1) -> list[Message]:
    """An update in a musician's words, in one line."""
    if isinstance(update, Waiting):
        return _waiting(update)
    if isinstance(update, Loading):
        return [Message("{what} …", what=update.what)]
    parts = [Message("{takes} takes at once", takes=takes)] if takes > 1 else []
    parts.append(_made(update))
    if update.seconds_left is not None:
        speed = Message("{speed:.1f}× real time", speed=update.real_time_factor)
        parts += [speed, _left(update.seconds_left)]
    return parts


def _waiting(update: Waiting) -> list[Message]:
    is_next, seconds = update.place == 1, update.seconds
    if seconds is None:
        place = Message("Place {place} in the queue.", place=update.place)
        return [Message("You are next.") if is_next else place]
    time = Message("{seconds} s", seconds=seconds)
    if seconds >= _LONG:
        time = Message("{minutes} min", minutes=round(seconds / 60))
    if is_next:
        return [Message("You are next, in about {time}.", time=time)]
    return [
        Message(
            "Place {place} in the queue: your turn in about {time}.",
            place=update.place,
            time=time,
        )
    ]


def _made(progress: Progress) -> Message:
    made, wanted = progress.seconds_made, progress.seconds_wanted
    if wanted < _LONG:
        return Message("{made:.1f} of {wanted:g} s", made=made, wanted=wanted)
    return Message("{at} of {whole}", at=clock(made), whole=clock(wanted))


def _left(seconds: float) -> Message:
    if round(seconds) < _LONG:
        return Message("{seconds:.0f} s left", seconds=seconds)
    return Message("{time} left", time=clock(round(seconds)))
