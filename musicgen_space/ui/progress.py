"""A backend's updates become views of the player: what is said while music is made."""

from __future__ import annotations

from musicgen_space.backends.base import Chunk, Loading, Progress, Update, Waiting
from musicgen_space.request import MusicRequest, Take
from musicgen_space.ui import pictures
from musicgen_space.ui.live import LiveSound
from musicgen_space.ui.player import View, view, view_of_take

__all__ = ["TakeProgress"]


class TakeProgress:
    """What the player shows of one take, from pressing Generate to the finished file."""

    def __init__(self, request: MusicRequest, live: LiveSound, cache_folder: str) -> None:
        self._live = live
        self._cache_folder = cache_folder
        self.view: View = view(
            "busy",
            "Getting ready",
            take=live.start(),
            wanted=request.duration,
            title=request.prompt,
        )

    def add(self, update: Update) -> View:
        """Take in one update; → the view after it."""
        if isinstance(update, Take):
            self.view = view_of_take(
                update, self._cache_folder, take=self.view["take"], chunks=self.view["chunks"]
            )
        elif isinstance(update, Chunk):
            self._add_chunk(update)
        else:
            self.view = {**self.view, "status": words(update)}
            if isinstance(update, Progress):
                self.view["speed"] = round(update.real_time_factor, 3)
        return self.view

    def _add_chunk(self, chunk: Chunk) -> None:
        self.view = {
            **self.view,
            "rate": chunk.sample_rate,
            "channels": chunk.samples.shape[0],
            "chunks": self._live.append(self.view["take"], chunk.samples),
            "peaks": self.view["peaks"] + pictures.peaks(chunk.samples, chunk.sample_rate),
        }


def words(update: Waiting | Loading | Progress) -> str:
    """An update in a musician's words."""
    if isinstance(update, Waiting):
        return "You are next." if update.place == 1 else f"Place {update.place} in the queue."
    if isinstance(update, Loading):
        return f"{update.what} …"
    made = f"{update.seconds_made:.1f} of {update.seconds_wanted:g} s"
    if update.seconds_left is None:
        return made
    return f"{made} · {update.real_time_factor:.1f}× real time · {update.seconds_left:.0f} s left"
