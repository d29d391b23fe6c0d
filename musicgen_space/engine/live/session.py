"""A live session: passages that follow each other, heard as one sound.

One passage plays. A wish for other texts begins another one beside it, or two: one that goes on
from what is heard and may *evolve*, and one that begins afresh and may *arrive*. The one that
plays goes on until one of them has so much sound that it can take over::

    plays    ─────────────────────|
    evolves        ·──────────────|────────▶   the same frames at first, then its own
    arrives         ·─────────────|────────▶   begins on a beat

Little is told the listener ahead, so that steering is quick; a little more is made, so that a
window can be read anew meanwhile.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from musicgen_space.engine.live.listener import Listener, Speed
from musicgen_space.engine.live.listening import moved
from musicgen_space.engine.live.passage import WARM_UP_SECONDS, Passage
from musicgen_space.engine.live.track import Track
from musicgen_space.engine.live.transition import BEAT_SECONDS, SEAM_SECONDS, arrive, evolve
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.scheduler.events import Event, Failed, Made
from musicgen_space.engine.scheduler.scheduler import Making, Scheduler
from musicgen_space.live import Heard, LiveWish
from musicgen_space.request import LIMITS

__all__ = ["Live"]

_HELD_SECONDS = 1.0  # made, and not told yet
_RESERVE_SECONDS = 0.4  # that the listener has while another passage is made
_LEAST_PIECE_SECONDS = 0.1

_KEPT_SECONDS = 1.0  # that an evolving passage is given of the music before
_KEPT_OF_SAME_PROMPT = 4.0
_INTRODUCTION_SECONDS = 4.0  # of a clip, which are heard before the music goes on
_CONTEXT_SECONDS = 12.0  # of it, that the music goes on from

_CHANGES_FOR = 0.5  # seconds before an evolving passage can be judged,
_JUDGED_SECONDS = 1.2  # which takes so many more
_HAS_MOVED = 0.7  # of the way
_FAINT = 0.015  # the RMS of a beginning that is next to nothing: another seed may be better
_TRIES = 2  # of other seeds
_BOTH_WAYS = 2.0  # the speed from which there is time to try both
_DECIDED_SECONDS = 1.0  # after a wish: then there is no more time, and what arrives takes over

# Windows share as much as can be read anew before the sound runs out; a column that is given
# costs about 0.4 of one that is drawn.
_SHARED_MIN, _SHARED_MAX, _COST_OF_GIVEN = 2.0, 12.0, 0.4


class Live:
    """Makes ``wish`` in ``scheduler`` until it is closed; the thread of the scheduler uses it.

    Call ``prepare`` before each of the scheduler's steps and ``hear`` after it. ``ahead``: seconds
    of sound that the listener has before they are heard. ``clock``: in seconds; None if the
    listener reads as fast as it comes, and ``fetched`` alone tells what was heard.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        model: MusicGen,
        wish: LiveWish,
        *,
        ahead: float,
        clock: Callable[[], float] | None = time.monotonic,
    ) -> None:
        self._scheduler, self._model, self._ahead = scheduler, model, ahead
        self._rate = model.codec.sample_rate
        self._listener, self._speed = Listener(clock, self._rate), Speed(clock or time.perf_counter)
        self._seeds = itertools.count(wish.request.with_seed_drawn().seed)
        self.wish, self._heard_prompt = wish, wish.request.prompt
        self._evolves: Track | None = None
        self._arrives: Track | None = None
        self._shift = 0  # sample 0 of what evolves is this one of what plays
        self._tries = 0  # that are left
        self._told = 0  # samples
        self._decided = 0  # the sample that is heard when there is no more time to judge
        self._recent = np.empty((model.decoder.config.channels, 0), np.float32)
        self._plays = self._begin(lambda seed: _first(model, wish, seed))

    @property
    def makings(self) -> list[Making]:
        """What it has the scheduler make."""
        return [track.making for track in self._tracks]

    @property
    def turning(self) -> bool:
        """Whether another passage is on its way."""
        return self._evolves is not None or self._arrives is not None

    def steer(self, wish: LiveWish) -> None:
        """From now on this is what is to be heard."""
        before, self.wish = self.wish, wish
        if not wish.same_texts(before):
            self._turn(before)

    def fetched(self, seconds: float, began: float | None = None) -> None:
        """The listener has that much of it, and says that they ``began`` then, on the clock."""
        self._listener.fetched, self._listener.began = round(seconds * self._rate), began

    def prepare(self) -> None:
        """Tell passages what is wished now, and pause those that have made enough."""
        for passage in (track.passage for track in self._tracks):
            if passage is not None:
                passage.wish = self.wish
                passage.shared_seconds = self._shared_seconds
        wanted = self._ahead + _HELD_SECONDS
        if self.turning:
            wanted = min(wanted, _RESERVE_SECONDS + BEAT_SECONDS + SEAM_SECONDS)
        self._plays.making.paused = self._lead >= wanted
        enough = self._samples(_CHANGES_FOR + _JUDGED_SECONDS + self._ahead + _HELD_SECONDS)
        if self._evolves is not None:
            self._evolves.making.paused = self._evolves.waiting - self._behind >= enough
        if self._arrives is not None:
            self._arrives.making.paused = self._arrives.waiting >= enough
        self._speed.tick(not (self.turning or self._plays.making.paused) and self._told > 0)

    def hear(self, events: Sequence[Event]) -> Iterator[Heard]:
        """What of a step's events is heard now; raises what the passage that plays failed of.

        One that was to take over and fails is given up.
        """
        for event in events:
            for track in self._tracks:
                if track.making is event.making:
                    self._hear(track, event)
        if self.turning:
            self._take_over()
        yield from self._tell()

    def close(self) -> None:
        """Make no more."""
        for track in self._tracks:
            track.end()

    def _hear(self, track: Track, event: Event) -> None:
        if isinstance(event, Made):
            samples = event.piece.samples[0]
            track.add(samples)
            if self._told and not self.turning:
                self._speed.made(samples.shape[-1] / self._rate)
        elif isinstance(event, Failed):
            if track is self._plays:
                raise event.error
            self._stay()

    def _tell(self) -> Iterator[Heard]:
        """What the listener gets now: as little as they need while something is on its way."""
        ahead = _RESERVE_SECONDS if self.turning else self._ahead
        wanted = self._listener.position(self._told) + self._samples(ahead) - self._told
        count = min(wanted, self._plays.waiting - self._samples(self._joint_seconds))
        if count < self._samples(_LEAST_PIECE_SECONDS):
            return
        samples = self._plays.take(count)
        kept = self._samples(_CHANGES_FOR + _JUDGED_SECONDS)
        self._recent = np.concatenate([self._recent, samples], axis=-1)[:, -kept:]
        start, self._told = self._told / self._rate, self._told + count
        coming = self.wish.request.prompt if self.turning else None
        yield Heard(samples, self._rate, start, self._heard_prompt, coming, self._speed.known)

    @property
    def _joint_seconds(self) -> float:
        """What is not told of the passage that plays, for the joint with the next one.

        Else a machine that only just keeps up would never have as much as an arrival needs.
        """
        if self._evolves is not None or self._arrives is None:
            return SEAM_SECONDS
        return BEAT_SECONDS if self._can_arrive(self._arrives) else SEAM_SECONDS

    # Another passage takes over.

    def _turn(self, before: LiveWish) -> None:
        """Begin what may take over."""
        self._stay()
        if self._plays.passage is None:  # nothing is made yet
            self._plays.end()
            wish = self.wish
            self._plays = self._begin(lambda seed: _first(self._model, wish, seed))
            self._heard_prompt = wish.request.prompt
            return
        self._decided = self._listener.position(self._told) + self._samples(_DECIDED_SECONDS)
        ways = self._ways(before)
        if "evolve" in ways:
            self._evolves = self._evolving(before)
        if "arrive" in ways:
            self._tries, self._arrives = _TRIES, self._arriving()

    def _ways(self, before: LiveWish) -> tuple[str, ...]:
        """How the music may follow."""
        if self.wish.change != "auto":
            return (self.wish.change,)
        if self.wish.request.prompt == before.request.prompt:
            return ("evolve",)
        fast = (self._speed.known or 0) >= _BOTH_WAYS
        return ("evolve", "arrive") if fast else ("arrive",)

    def _evolving(self, before: LiveWish) -> Track:
        """A passage that goes on from what the listener has of the one that plays."""
        passage, spf = self._plays.passage, self._model.codec.samples_per_frame
        assert passage is not None
        same = self.wish.request.prompt == before.request.prompt
        frame = self._plays.frame(spf)
        given = passage.before(frame, _KEPT_OF_SAME_PROMPT if same else _KEPT_SECONDS)
        against = "" if same else before.request.prompt
        model, wish = self._model, self.wish
        track = self._begin(lambda seed: Passage(model, wish, seed, given, against=against))
        warm_up = min(given.shape[-1], round(WARM_UP_SECONDS * model.codec.frame_rate))
        self._shift = (frame - warm_up - passage.decoded_from) * spf
        return track

    def _arriving(self) -> Track:
        model, wish = self._model, self.wish
        return self._begin(lambda seed: Passage(model, wish, seed))

    def _take_over(self) -> None:
        """Go over to what is on its way, if there is enough of it."""
        if self._arrives is not None and self._tries and self._is_faint(self._arrives):
            self._tries -= 1
            self._arrives.end()
            self._arrives = self._arriving()
        if self._evolves is not None and self._arrives is not None:
            self._judge(self._evolves, self._arrives)
        elif self._evolves is not None:
            self._evolve(self._evolves)
        elif self._arrives is not None:
            self._arrive(self._arrives)

    def _is_faint(self, track: Track) -> bool:
        begun = track.sound[:, : self._samples(2 * BEAT_SECONDS)]
        enough = begun.shape[-1] >= self._samples(2 * BEAT_SECONDS)
        return enough and float(np.sqrt(np.mean(begun**2))) < _FAINT

    def _judge(self, evolves: Track, arrives: Track) -> None:
        """Give one of them up, if it can be told which."""
        if self._can_be_judged(evolves) and self._can_be_judged(arrives):
            follows = self._follows(evolves, arrives)
        elif self._listener.position(self._told) >= self._decided:
            follows = False
        else:
            return
        if follows:
            arrives.end()
            self._arrives = None
        else:
            evolves.end()
            self._evolves = None

    def _can_be_judged(self, track: Track) -> bool:
        enough = self._samples(_CHANGES_FOR + _JUDGED_SECONDS)
        return track.made >= enough and track.made - self._lead_in(track) >= enough

    def _follows(self, evolves: Track, arrives: Track) -> bool:
        """Whether what evolves sounds more like the new music than like the old."""
        judged = self._samples(_JUDGED_SECONDS)
        skipped = self._samples(_CHANGES_FOR)
        first = self._lead_in(evolves) + skipped
        now = evolves.sound[:, first : first + judged]
        goal = arrives.sound[:, skipped : skipped + judged]
        before = self._recent[:, -judged:]
        return before.size == 0 or moved(before, now, goal, self._rate) >= _HAS_MOVED

    def _lead_in(self, track: Track) -> int:
        """Samples of ``track`` before its own music."""
        assert track.passage is not None
        frames = track.passage.known - track.passage.decoded_from
        return frames * self._model.codec.samples_per_frame

    def _evolve(self, track: Track) -> None:
        seam = self._samples(SEAM_SECONDS)
        behind, reserve = self._behind, self._samples(_RESERVE_SECONDS)
        if self._plays.waiting < seam or track.waiting < behind + reserve:
            return
        joined = evolve(self._plays.sound[:, :seam], track.sound[:, behind:])
        track.replace(joined, behind)
        self._go_over(track)

    @property
    def _behind(self) -> int:
        """How much of what evolves lies before what is heard next of the one that plays."""
        return self._plays.first - self._shift

    def _arrive(self, track: Track) -> None:
        beat = self._samples(BEAT_SECONDS)
        if self._plays.waiting < beat or not self._can_arrive(track):
            return
        joined, start = arrive(self._plays.sound[:, :beat], track.sound, self._rate)
        track.replace(joined, -start)
        self._go_over(track)

    def _can_arrive(self, track: Track) -> bool:
        return track.waiting >= self._samples(2 * BEAT_SECONDS)

    def _go_over(self, track: Track) -> None:
        self._plays.end()
        self._plays, self._evolves, self._arrives = track, None, None
        self._recent = self._recent[:, :0]
        self._heard_prompt = self.wish.request.prompt
        self._plays.making.due_at = self._due

    def _stay(self) -> None:
        """Nothing is on its way any more."""
        for track in (self._evolves, self._arrives):
            if track is not None:
                track.end()
        self._evolves = self._arrives = None

    # What the scheduler is told.

    def _begin(self, passage: Callable[[int], Passage]) -> Track:
        seed = next(self._seeds) % (int(LIMITS["seed"].maximum) + 1)
        making = self._scheduler.begin(lambda: passage(seed))
        making.due_at = _at_once if self._told else self._due
        return Track(self._scheduler, making, self._model.decoder.config.channels)

    def _due(self) -> float:
        return self._listener.now + self._lead if self._told else -math.inf

    @property
    def _lead(self) -> float:
        """Seconds of sound that are made and not yet heard."""
        told = self._told - self._listener.position(self._told)
        return (told + self._plays.waiting) / self._rate

    @property
    def _shared_seconds(self) -> float:
        """What windows share."""
        speed = self._speed.known
        if speed is None:
            return _SHARED_MIN
        within = (self._ahead + _HELD_SECONDS) * 0.5
        return min(_SHARED_MAX, max(_SHARED_MIN, within * speed / _COST_OF_GIVEN))

    @property
    def _tracks(self) -> list[Track]:
        tracks = (self._plays, self._evolves, self._arrives)
        return [track for track in tracks if track is not None]

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._rate)


def _at_once() -> float:
    return -math.inf


def _first(model: MusicGen, wish: LiveWish, seed: int) -> Passage:
    """What a session begins with: it goes on from the end of a clip, which is heard."""
    clip = wish.request.continue_from
    if clip is None:
        return Passage(model, wish, seed)
    end = clip.cut(max(0.0, clip.duration - _CONTEXT_SECONDS), clip.duration)
    given = model.encode(end).unsqueeze(0)
    return Passage(model, wish, seed, given, warm_up_seconds=_INTRODUCTION_SECONDS)
