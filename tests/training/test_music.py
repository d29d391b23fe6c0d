"""What training's music owes to its seed."""

from __future__ import annotations

import pytest

from training.music.arrangement import Part
from training.music.compose import DRUMS, compose
from training.music.drums import KITS
from training.music.instruments import INSTRUMENTS
from training.music.parts import BASS_LINES, PATTERNS
from training.music.soundfont import SoundfontMissing, find
from training.music.styles import STYLES


def test_a_seed_is_a_piece() -> None:
    assert compose(7) == compose(7)
    assert compose(7) != compose(8)


def test_seeds_keep_their_pieces() -> None:
    """musicgen-nano was trained on these; a draw more or less would make all others."""
    piece = compose(0)
    assert piece.caption == "waltz, graceful, fast, music box"
