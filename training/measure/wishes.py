"""Pieces that no training saw, and prompts that ask for what is true of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from training.music.compose import BASS, COMPING, DRUMS, LEAD, Piece, compose
from training.music.instruments import INSTRUMENTS
from training.music.styles import STYLES

__all__ = ["CALIBRATION", "FAMILIES", "PROMPTS", "choose", "families", "prompt_of", "tempo_band"]

# The first seeds of pieces for two uses, both far from any training's.
PROMPTS, CALIBRATION = 1_000_000, 2_000_000

# General MIDI's own families, of eight programs each (General MIDI System Level 1).
FAMILIES = [
    *("piano", "mallets", "organ", "guitar", "bass", "strings", "ensemble", "brass"),
    *("reed", "pipe", "synth lead", "synth pad", "effects", "ethnic", "percussive", "sounds"),
]

_SPOKEN = {
    program: instrument.names[0]
    for instrument in INSTRUMENTS.values()
    for program in instrument.programs
}


def choose(first: int, count: int) -> list[Piece]:
    """``count`` pieces of seeds from ``first`` on; the styles take turns. More begin the same."""
    waiting: dict[str, list[Piece]] = {style: [] for style in STYLES}
    seeds = itertools.count(first)

    def next_of(style: str) -> Piece:
        while not waiting[style]:
            piece = compose(next(seeds))
            waiting[piece.style].append(piece)
        return waiting[style].pop(0)

    return [next_of(style) for style in itertools.islice(itertools.cycle(STYLES), count)]


def prompt_of(piece: Piece) -> str:
    """What is true of ``piece`` in its captions' words: style, instruments, tempo, mode, drums."""
    return ", ".join(_phrases(piece))


def _phrases(piece: Piece) -> Iterator[str]:
    names = dict.fromkeys(_SPOKEN[program] for program in _named_programs(piece))
    yield f"{STYLES[piece.style].names[0]} music with {' and '.join(names)}"
    yield tempo_band(piece.bpm)
    yield f"{piece.bpm} bpm"
    if piece.mode in ("major", "minor"):
        yield f"{piece.mode} key"
    yield "drums" if piece.has_drums else "no drums"


def _named_programs(piece: Piece) -> list[int]:
    """Programs of the lead and of what accompanies it; the bass only if it plays alone."""
    named = [piece.programs[part] for part in (LEAD, COMPING) if part in piece.programs]
    return named or [piece.programs[BASS]]


def families(piece: Piece, *, named: bool) -> set[str]:
    """Families that play in ``piece`` (drums aside), or only those that its prompt names."""
    programs = (
        _named_programs(piece)
        if named
        else [program for part, program in piece.programs.items() if part != DRUMS]
    )
    return {FAMILIES[program // 8] for program in programs}


def tempo_band(bpm: float) -> str:
    """The word for a tempo; the limits are those of the captions that nano was trained on."""
    return "slow" if bpm < 82 else "mid-tempo" if bpm < 115 else "fast"
