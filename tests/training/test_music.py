"""What training's music owes to its seed, and where its sounds come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.music.compose import DRUMS, SECONDS, compose
from training.music.dataset import Dataset, write
from training.music.drums import KITS
from training.music.instruments import INSTRUMENTS
from training.music.parts import BASS_LINES, PATTERNS
from training.music.render import SAMPLE_RATE, render
from training.music.soundfont import SoundfontMissing, find
from training.music.styles import STYLES
from training.music.theory import SCALES


def test_a_seed_is_a_piece() -> None:
    assert compose(7) == compose(7)
    assert compose(7) != compose(8)


def test_seeds_keep_their_pieces() -> None:
    """musicgen-nano was trained on these; a draw more or less would change every one."""
    piece = compose(5999)
    assert piece.caption == "salsa music with a danceable melody, 110 bpm"
    assert (piece.style, piece.bpm, piece.mode, piece.root) == ("latin", 110, "major", 2)
    assert len(piece.events) == 56
    assert piece.events[0].start == pytest.approx(0.0011556420882579)


def test_facts_agree_with_the_notes() -> None:
    for seed in range(40):
        piece = compose(seed)
        channels = {note.channel for note in piece.events}
        assert (DRUMS in channels) == piece.has_drums
        assert channels - {DRUMS} == set(piece.programs)
        assert all(0 <= note.start < note.end and 0 <= note.key < 128 for note in piece.events)
        assert max(note.start for note in piece.events) > SECONDS - 5


def test_styles_name_only_what_there_is() -> None:
    for style in STYLES.values():
        assert {*style.bass, *style.comping, *style.lead} <= set(INSTRUMENTS)
        assert set(style.drums) <= set(KITS)
        assert set(style.modes) <= set(SCALES)
        assert set(style.patterns) <= set(PATTERNS)
        assert style.bass_line in BASS_LINES


def test_a_piece_sounds_the_same_whatever_was_played_before(font: Path) -> None:
    sounds = [render(compose(seed), 1, font) for seed in (1, 2, 1)]
    assert np.array_equal(sounds[0], sounds[2])
    assert not np.array_equal(sounds[0], sounds[1])
    assert sounds[0].shape == (SAMPLE_RATE,)
    assert sounds[0].dtype == np.float32
    assert 0.1 < sounds[0].std() < 0.15


def test_what_is_rendered_already_is_kept(font: Path, tmp_path: Path) -> None:
    write(tmp_path, [3, 4], 1, font, processes=1)
    before = (tmp_path / "000000.npy").stat().st_mtime_ns
    for processes in (1, 2):
        write(tmp_path, [3, 4], 1, font, processes)
    assert (tmp_path / "000000.npy").stat().st_mtime_ns == before
    music = Dataset(tmp_path)
    assert music.captions == [compose(3).caption, compose(4).caption]
    sound = render(compose(4), 1, font)
    assert np.allclose(music.clip(1, 0, SAMPLE_RATE) / 32767, sound, atol=1e-4)


def test_a_missing_soundfont_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSICGEN_SOUNDFONT", str(tmp_path / "none.sf2"))
    with pytest.raises(SoundfontMissing, match=r"none\.sf2, which is no file"):
        find()
    monkeypatch.delenv("MUSICGEN_SOUNDFONT")
    monkeypatch.setattr("training.music.soundfont._DEBIAN", tmp_path / "none.sf3")
    with pytest.raises(SoundfontMissing, match="apt-get install fluidr3mono-gm-soundfont"):
        find()
