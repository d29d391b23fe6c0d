"""What bass and comping play in one bar: where notes start and how long they last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from training.music.arrangement import Arrangement
from training.music.instruments import INSTRUMENTS
from training.music.theory import chord, scale_note

__all__ = ["BASS_LINES", "PATTERNS", "BassNote", "CompingNote", "bass_bar", "comping_bar"]

BassNote = tuple[float, float, int]  # (start and length in sixteenths, key)
CompingNote = tuple[int, float, float, int, int]  # (start, seconds late, length, key, velocity)


def bass_bar(plan: Arrangement, bar: int, random: Random) -> list[BassNote]:
    """The bass of ``bar``."""
    if plan.bass is None:
        return []
    degree = plan.degree(bar)
    root = 36 + scale_note(plan.root, plan.mode, degree) % 12
    if root > 45:
        root -= 12
    root += INSTRUMENTS[plan.bass.instrument].bass_shift
    notes = BASS_LINES[plan.style.bass_line](plan, degree, root, random)
    return [note for note in notes if note[0] < plan.steps]


def _root(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    if plan.long_roots:
        return [(0, plan.steps * 0.9, root)]
    return [(0, 6, root), (8, 4, root), (14, 2, root + 7)]


def _drone(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    return [(0, plan.steps, root)]


def _eighths(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    return [(start, 1.8, root) for start in range(0, plan.steps, 2)]


def _jumping_eighths(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    return [(start, 1.8, root + (12 if start % 8 == 6 else 0)) for start in range(0, plan.steps, 2)]


def _offbeat(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    if plan.plain_offbeats:
        return [(start, 1.8, root) for start in (2, 6, 10, 14)]
    return [(0, 2, root), (3, 2, root), (6, 2, root + 7), (10, 2, root), (14, 2, root)]


def _funk(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    return [
        (0, 1.5, root),
        (3, 1, root + 12),
        (6, 1.5, root),
        (8, 1, root + 7),
        (10, 1.5, root),
        (13, 1, root + 10),
        (14, 1, root + 12),
    ]


def _walk(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    root += 12 * (root < 34)
    third = scale_note(plan.root, plan.mode, degree + 2) - scale_note(plan.root, plan.mode, degree)
    return [  # the last step is drawn on every beat, though it is played on the fourth only
        (4 * beat, 3.6, root + (0, third, 7, random.choice((5, 9, 11)))[beat])
        for beat in range(plan.beats)
    ]


def _bossa_bass(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    return [(0, 5, root), (6, 1.8, root + 7), (8, 5, root + 7), (14, 1.8, root)]


def _root_and_fifth(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    return [(0, 4, root), (8, 4, root + 7)]


def _waltz_bass(plan: Arrangement, degree: int, root: int, random: Random) -> list[BassNote]:
    return [(0, 3.5, root)]


BASS_LINES: dict[str, Callable[[Arrangement, int, int, Random], list[BassNote]]] = {
    "root": _root,
    "drone": _drone,
    "eighths": _eighths,
    "jumping eighths": _jumping_eighths,
    "offbeat": _offbeat,
    "funk": _funk,
    "walk": _walk,
    "bossa": _bossa_bass,
    "root and fifth": _root_and_fifth,
    "waltz": _waltz_bass,
}


def comping_bar(plan: Arrangement, bar: int) -> Iterator[CompingNote]:
    """The comping of ``bar``."""
    if plan.comping is None:
        return
    lowest = 40 if plan.pattern == "power chords" else 55
    keys = chord(plan.root, plan.mode, plan.degree(bar), seventh=plan.sevenths, lowest=lowest)
    for note in PATTERNS[plan.pattern](plan, bar, keys):
        if note[0] < plan.steps:
            yield note


def _hold(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    return _chords(keys, (0,), plan.steps * 0.97, 68)


def _arpeggio(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    step = plan.arpeggio_step
    for count, start in enumerate(range(0, plan.steps, step)):
        yield start, 0, step * 1.6, keys[plan.arpeggio[count % 4] % len(keys)], 72


def _fast_arpeggio(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    for start in range(plan.steps):
        octave = 12 if (start // 4) % 2 else 0
        yield start, 0, 0.9, keys[plan.arpeggio[start % 4] % len(keys)] + octave, 72


def _stabs(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    return _chords(keys, plan.stabs if bar % 2 == 0 else (2, 8, 14), 1.3, 74)


def _strum(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    for start in (0, 4, 6, 10, 12, 14):
        for string, key in enumerate([*keys, keys[0] + 12]):
            yield start, string * 0.012, 2.2, key, 70 if start else 84


def _power_chords(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    return _chords([keys[0], keys[0] + 7], range(0, plan.steps, 2), 1.7, 88)


def _skank(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    return _chords(keys, (2, 6, 10, 14), 0.9, 78)


def _bossa(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    return _chords(keys, (0, 3, 6, 10, 13), 1.8, 66)


def _ostinato(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    for start in range(0, plan.steps, 2):
        yield start, 0, 1.5, keys[(0, 0, 1, 0, 2, 0, 1, 0)[start // 2 % 8] % len(keys)], 80


def _waltz(plan: Arrangement, bar: int, keys: list[int]) -> Iterator[CompingNote]:
    return _chords(keys, (4, 8), 2, 68)


def _chords(
    keys: list[int], starts: range | tuple[int, ...], length: float, velocity: int
) -> Iterator[CompingNote]:
    for start in starts:
        for key in keys:
            yield start, 0, length, key, velocity


PATTERNS: dict[str, Callable[[Arrangement, int, list[int]], Iterator[CompingNote]]] = {
    "hold": _hold,
    "arpeggio": _arpeggio,
    "fast arpeggio": _fast_arpeggio,
    "stabs": _stabs,
    "strum": _strum,
    "power chords": _power_chords,
    "skank": _skank,
    "bossa": _bossa,
    "ostinato": _ostinato,
    "waltz": _waltz,
}
