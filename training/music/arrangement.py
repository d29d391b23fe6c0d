"""What is decided before the first note of a piece: tempo, key, who plays, and how."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from training.music.captions import DRUM_WORDS, caption
from training.music.instruments import INSTRUMENTS
from training.music.styles import STYLES, Style
from training.music.theory import PROGRESSIONS

__all__ = ["Arrangement", "Motif", "Part", "arrange"]

Motif = tuple[tuple[int, int, int], ...]  # (sixteenth it starts at, sixteenths it lasts, degree)


@dataclass(frozen=True, slots=True)
class Part:
    """One player: a key of ``INSTRUMENTS``, the program of General MIDI, and its spoken name."""

    instrument: str
    program: int
    name: str


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The plan of a piece. A part that is None does not play. ``root`` is 0 for C … 11 for B."""

    style_name: str
    style: Style
    bpm: int
    mode: str
    root: int
    progression: tuple[int, ...]
    bars_per_chord: int
    solo: bool
    kit: str
    has_drums: bool
    bass: Part | None
    comping: Part | None
    lead: Part | None
    spoken: tuple[str, ...]  # what the caption may name
    pattern: str  # of the comping
    sevenths: bool
    intro: int  # bars before drums, bass and lead come in
    loudness: float
    motifs: tuple[Motif, Motif]
    arpeggio: tuple[int, ...]  # which note of the chord comes when
    arpeggio_step: int  # in sixteenths
    stabs: tuple[int, ...]  # sixteenths
    long_roots: bool
    plain_offbeats: bool

    @property
    def beats(self) -> int:
        """Quarters in a bar."""
        return 3 if self.style.patterns[0] == "waltz" else 4

    @property
    def steps(self) -> int:
        """Sixteenths in a bar."""
        return self.beats * 4

    @property
    def sixteenth(self) -> float:
        """In seconds."""
        return 60.0 / self.bpm / 4

    def degree(self, bar: int) -> int:
        """The degree of the chord in ``bar``."""
        return self.progression[(bar // self.bars_per_chord) % 4]

    def caption(self, random: Random) -> str:
        """A caption for the piece."""
        return caption(
            random,
            self.style,
            self.bpm,
            self.mode,
            list(self.spoken),
            solo=self.solo,
            drums=self.has_drums,
        )


def arrange(random: Random) -> Arrangement:
    """Draw a plan. The order of the draws is part of what a seed means."""
    style_name = random.choice(list(STYLES))
    style = STYLES[style_name]
    bpm = random.randint(*style.bpm)
    mode = random.choice(style.modes)
    root = random.randint(0, 11)
    progression = random.choice(PROGRESSIONS.get(mode, PROGRESSIONS["major"]))
    bars_per_chord = 1 if random.random() < 0.8 else 2
    solo = random.random() < (0.15 if style.drums[0] != "none" else 0.35)
    kit = random.choice(style.drums)
    has_drums = kit != "none" and not solo
    has_bass, has_comping, has_lead = _who_plays(random, style, solo=solo)
    bass, comping, lead = _players(random, style, solo=solo)
    spoken = [lead.name] * has_lead + [comping.name] * has_comping
    if has_bass and random.random() < 0.5:
        spoken.append(bass.name)
    if has_drums and random.random() < 0.5:
        spoken.append(random.choice(DRUM_WORDS))
    beats = 3 if style.patterns[0] == "waltz" else 4
    return Arrangement(  # arguments are evaluated, so drawn, in the order they stand in
        style_name=style_name,
        style=style,
        bpm=bpm,
        mode=mode,
        root=root,
        progression=progression,
        bars_per_chord=bars_per_chord,
        solo=solo,
        kit=kit,
        has_drums=has_drums,
        bass=bass if has_bass else None,
        comping=comping if has_comping else None,
        lead=lead if has_lead else None,
        spoken=tuple(spoken),
        pattern=random.choice(style.patterns),
        sevenths=style.sevenths and random.random() < 0.8,
        intro=random.choice((0, 0, 0, 1, 2)),
        loudness=random.uniform(0.8, 1.05),
        motifs=(_motif(random, beats * 4, bpm), _motif(random, beats * 4, bpm)),
        arpeggio=random.choice(((0, 1, 2, 1), (0, 2, 1, 2), (0, 1, 2, 3), (2, 1, 0, 1))),
        arpeggio_step=random.choice((2, 2, 4)),
        stabs=random.choice(((2, 10), (0, 6, 12), (3, 8, 11), (4, 12), (2, 6, 10, 14))),
        long_roots=random.random() < 0.4,
        plain_offbeats=random.random() < 0.7,
    )


def _who_plays(random: Random, style: Style, *, solo: bool) -> tuple[bool, bool, bool]:
    """Whether there is a bass, a comping and a lead; at least one of them plays."""
    bass, comping = random.random() < 0.92, random.random() < 0.95
    lead = random.random() < style.lead_chance
    if solo:
        bass = False
        comping, lead = random.choice(((True, True), (True, False), (False, True)))
    return bass, comping or not (bass or lead), lead


def _players(random: Random, style: Style, *, solo: bool) -> tuple[Part, Part, Part]:
    """Bass, comping and lead; a soloist is comping and lead in one."""
    roles = [random.choice(group) for group in (style.bass, style.comping, style.lead)]
    if solo:
        roles[1] = roles[2]
    bass, comping, lead = (_part(random, role) for role in roles)
    return bass, (lead if solo else comping), lead


def _part(random: Random, instrument: str) -> Part:
    kind = INSTRUMENTS[instrument]
    return Part(instrument, random.choice(kind.programs), random.choice(kind.names))


def _motif(random: Random, steps: int, bpm: int) -> Motif:
    """A melodic idea of two bars, reused so that the music repeats as music does."""
    lengths = (2, 2, 4, 4, 4, 6, 8) if bpm < 140 else (2, 4, 4, 8)
    notes: list[tuple[int, int, int]] = []
    start, degree = 0, random.choice((0, 2, 4, 7))
    while start < 2 * steps:
        length = min(random.choice(lengths), 2 * steps - start)
        if random.random() < 0.82:
            notes.append((start, length, degree))
        degree = max(-4, min(9, degree + random.choice((-2, -1, -1, 1, 1, 2, 0, 3, -3))))
        start += length
    return tuple(notes)
