"""Scales, chords and progressions. Keys are MIDI's; a degree counts the notes of a scale from 0."""

from __future__ import annotations

__all__ = ["PROGRESSIONS", "SCALES", "chord", "scale_note"]

# Semitones above the root.
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "pentatonic": (0, 2, 4, 7, 9),
}
# Degrees of four chords. Modes that are not listed take those of major.
PROGRESSIONS = {
    "major": (
        (0, 4, 5, 3),
        (0, 5, 3, 4),
        (0, 3, 4, 3),
        (0, 3, 0, 4),
        (0, 5, 1, 4),
        (3, 4, 2, 5),
        (0, 2, 3, 4),
    ),
    "minor": (
        (0, 5, 2, 6),
        (0, 6, 5, 6),
        (0, 3, 6, 2),
        (0, 3, 4, 0),
        (0, 5, 3, 4),
        (0, 0, 5, 6),
    ),
    "dorian": ((0, 3, 0, 3), (0, 6, 3, 0), (0, 1, 0, 3)),
    "mixolydian": ((0, 6, 3, 0), (0, 6, 0, 3)),
}


def scale_note(root: int, mode: str, degree: int) -> int:
    """The key of a ``degree``, which may be negative or beyond the octave."""
    scale = SCALES[mode]
    octave, step = divmod(degree, len(scale))
    return root + 12 * octave + scale[step]


def chord(root: int, mode: str, degree: int, *, seventh: bool, lowest: int) -> list[int]:
    """Stacked thirds on ``degree``, inverted into the octave above the key ``lowest``."""
    thirds = (0, 2, 4, 6) if seventh else (0, 2, 4)
    return sorted(
        lowest + (scale_note(root, mode, degree + third) - lowest) % 12 for third in thirds
    )
