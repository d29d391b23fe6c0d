"""A seed becomes a piece: a caption, and the notes of up to four players.

The same seed gives the same piece, bit for bit, on any machine. So nothing here may draw in
another order than it does: every piece after the change would be another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from training.music.arrangement import Arrangement, arrange
from training.music.drums import ACCENTED, CRASH, KITS, WITH_CRASH
from training.music.instruments import INSTRUMENTS
from training.music.parts import bass_bar, comping_bar
from training.music.theory import scale_note

__all__ = ["BASS", "COMPING", "DRUMS", "LEAD", "SECONDS", "Note", "Piece", "compose"]

SECONDS = 30.0  # of every piece: what MusicGen has in view
BASS, COMPING, LEAD, DRUMS = 0, 1, 2, 9  # MIDI channels


@dataclass(frozen=True, slots=True)
class Note:
    """A note from ``start`` to ``end`` (seconds); ``key`` and ``velocity`` are MIDI's."""

    start: float
    end: float
    channel: int
    key: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A composition and what is true of it.

    ``style`` is a key of ``STYLES``, ``mode`` of ``SCALES``; ``root`` is 0 for C … 11 for B.
    ``instruments`` are the spoken names of all that play, drums aside, of which the caption
    names some. ``programs`` gives each channel its program of General MIDI. ``events`` stand
    in the order they were written in, not in that of time; the last ones may end late.
    """

    seed: int
    caption: str
    style: str
    bpm: int
    mode: str
    root: int
    instruments: tuple[str, ...]
    has_drums: bool
    programs: dict[int, int]
    events: tuple[Note, ...]


def compose(seed: int) -> Piece:
    """The piece of ``seed``, ``SECONDS`` long."""
    random = Random(seed)
    plan = arrange(random)
    events = _Score(plan, random).write()
    players = {BASS: plan.bass, COMPING: plan.comping, LEAD: plan.lead}
    playing = {channel: part for channel, part in players.items() if part}
    return Piece(
        seed=seed,
        caption=plan.caption(random),
        style=plan.style_name,
        bpm=plan.bpm,
        mode=plan.mode,
        root=plan.root,
        instruments=tuple(dict.fromkeys(part.name for part in playing.values())),
        has_drums=plan.has_drums,
        programs={channel: part.program for channel, part in playing.items()},
        events=events,
    )


class _Score:
    """The notes of one piece, as they are written bar after bar."""

    def __init__(self, plan: Arrangement, random: Random) -> None:
        self._plan, self._random = plan, random
        self._notes: list[Note] = []

    def write(self) -> tuple[Note, ...]:
        bars = int(SECONDS / (self._plan.beats * (60.0 / self._plan.bpm))) + 2
        for bar in range(bars):
            after_intro = bar >= self._plan.intro
            if self._plan.has_drums and after_intro:
                self._drums(bar)
            if after_intro or not self._plan.has_drums:
                self._bass(bar)
            self._comping(bar)
            if (after_intro or self._plan.solo) and bar % 2 == 0:
                self._lead(bar)
        return tuple(self._notes)

    def _drums(self, bar: int) -> None:
        kit = KITS[self._plan.kit]
        for drum, row in (kit.fill if bar % 4 == 3 else kit.usual).items():
            for step, mark in enumerate(row[: self._plan.steps]):
                if mark == "x":
                    loudness = 100 if drum in ACCENTED else 70 if step % 4 else 82
                    self._add(DRUMS, self._time(bar, step), 0.1, drum, loudness)
        if bar % 8 == self._plan.intro and self._plan.kit in WITH_CRASH:
            self._add(DRUMS, self._time(bar, 0), 1, CRASH, 90)

    def _bass(self, bar: int) -> None:
        for start, length, key in bass_bar(self._plan, bar, self._random):
            self._add(BASS, self._time(bar, start), length * self._plan.sixteenth, key, 92)

    def _comping(self, bar: int) -> None:
        for start, late, length, key, velocity in comping_bar(self._plan, bar):
            time = self._time(bar, start) + late
            self._add(COMPING, time, length * self._plan.sixteenth, key, velocity)

    def _lead(self, bar: int) -> None:
        """Two bars of a motif; on the strong beats it moves to a note of the chord."""
        plan = self._plan
        if plan.lead is None:
            return
        tonic = 60 + plan.root - (12 if plan.root > 6 else 0)
        tonic += INSTRUMENTS[plan.lead.instrument].lead_shift
        for start, length, degree in plan.motifs[(bar // 2) % 4 == 3]:
            ahead, step = divmod(start, plan.steps)
            if start % (plan.steps // 2) == 0:
                degree = _nearest_of_chord(plan.degree(bar + ahead), degree)
            key = scale_note(tonic, plan.mode, degree)
            time = self._time(bar + ahead, step)
            self._add(LEAD, time, length * plan.sixteenth * 0.92, key, 86)

    def _time(self, bar: int, step: float) -> float:
        """When a sixteenth is played, in seconds: swung, and not quite in time."""
        plan = self._plan
        swing = plan.style.swing * plan.sixteenth
        late = swing * 2 if step % 4 == 2 else swing if step % 2 else 0
        return (bar * plan.steps + step) * plan.sixteenth + late + self._random.gauss(0, 0.004)

    def _add(self, channel: int, time: float, seconds: float, key: int, velocity: float) -> None:
        velocity = velocity * self._plan.loudness + self._random.gauss(0, 5)
        start = max(0, time)
        loudness = int(min(127, max(20, velocity)))
        self._notes.append(Note(start, start + seconds, channel, key, loudness))


def _nearest_of_chord(root: int, degree: int) -> int:
    """The degree nearest to ``degree`` in the chord on ``root``."""
    return min((root + step for step in (0, 2, 4, 7, 9, -3, -5)), key=lambda d: abs(d - degree))
