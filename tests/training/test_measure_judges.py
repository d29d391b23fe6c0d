"""Who is heard to have asked for what."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="requirements-training.txt is not installed")
pytest.importorskip("librosa", reason="requirements-training.txt is not installed")

from training.measure import judges, report
from training.measure.evidence import Evidence
from training.measure.tagger import TAGS
from training.measure.wishes import PROMPTS, choose, families, prompt_of, tempo_band
from training.music.compose import Piece, compose
from training.music.styles import STYLES

PIECES = choose(PROMPTS, 2 * len(STYLES))


def evidence(piece: Piece, *, tempo: float = 100, percussive: float = 0.5) -> Evidence:
    """Features that say the style and the families, and little else."""
    random = np.random.default_rng(piece.seed)
    features = random.normal(0, 0.1, (3, 400))
    features[:, list(STYLES).index(piece.style)] += 3
    for family in families(piece, named=False):
        features[:, 100 + judges.FAMILIES.index(family)] += 3
    chroma = np.zeros((12, 90))
    chroma[[0, 4 if piece.mode == "major" else 3, 7]] = 1
    tags = np.zeros(len(TAGS))
    tags[TAGS.index("msd:jazz")] = 0.6 if piece.style == "jazz" else 0.2
    return Evidence(tempo, chroma, percussive, tags, features)


def test_a_threshold_parts_two_kinds_best() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.25, 0.6, 0.7])
    positive = np.array([False, False, False, True, True, True])
    assert judges.threshold(values, positive) == 0.25


def test_styles_and_families_are_heard_in_what_has_them() -> None:
    sounds = [evidence(piece) for piece in PIECES]
    judge = judges.StyleJudge(sounds, PIECES)
    heard = judge.heard(sounds, PIECES)
    assert heard.diagonal().mean() == 1
    assert heard.mean() < 0.2
    heard = judges.FamilyJudge(sounds, PIECES).heard(sounds, PIECES)
    assert np.nanmean(heard.diagonal()) > 0.95
    assert np.nanmean(heard) < 0.6


def test_a_tag_must_be_likelier_than_in_other_styles() -> None:
    sounds = [evidence(piece) for piece in PIECES]
    heard = judges.TagJudge(sounds, PIECES).heard(sounds, PIECES)
    jazz = np.array([piece.style == "jazz" for piece in PIECES])
    assert (heard[jazz][:, jazz] == 1).all()
    assert (heard[~jazz][:, jazz] == 0).all()
    waltz = np.array([piece.style == "waltz" for piece in PIECES])
    assert np.isnan(heard[:, waltz]).all()


def test_tempo_counts_with_its_octaves_and_bands_without() -> None:
    piece = next(piece for piece in PIECES if piece.bpm > 120)
    tempi = [piece.bpm * factor for factor in (1, 1.03, 1.06, 0.5, 2, 0.75)]
    sounds = [evidence(piece, tempo=tempo) for tempo in tempi]
    assert judges.TempoJudge().heard(sounds, [piece])[:, 0].tolist() == [1, 1, 0, 1, 1, 0]
    assert judges.TempoBandJudge().heard(sounds, [piece])[0, 0] == 1
    assert judges.TempoBandJudge().heard(sounds, [piece])[3, 0] == 0


def test_mode_is_judged_where_it_was_asked_for() -> None:
    heard = judges.ModeJudge().heard([evidence(piece) for piece in PIECES], PIECES)
    asked = np.array([piece.mode in ("major", "minor") for piece in PIECES])
    assert (heard.diagonal()[asked] == 1).all()
    assert np.isnan(heard[:, ~asked]).all()


def test_drums_are_a_matter_of_percussion() -> None:
    sounds = [evidence(piece, percussive=0.6 if piece.has_drums else 0.1) for piece in PIECES]
    assert (judges.DrumJudge(sounds, PIECES).heard(sounds, PIECES).diagonal() == 1).all()


def test_prompts_say_what_is_true_and_styles_take_turns() -> None:
    assert [piece.style for piece in PIECES[: len(STYLES)]] == list(STYLES)
    assert choose(PROMPTS, 3) == PIECES[:3]
    piece = compose(3)
    prompt = prompt_of(piece)
    assert f"{tempo_band(piece.bpm)}, {piece.bpm} bpm" in prompt
    assert prompt.startswith(STYLES[piece.style].names[0])


def test_the_table_has_every_judge_and_its_prompts() -> None:
    mean = {"value": 0.5, "low": 0.4, "high": 0.62, "count": 30}
    shares = dict.fromkeys(("takes", "floor", "ceiling", "decoded"), mean)
    text = report.table({"adherence": dict.fromkeys(report.JUDGES, shares)})
    assert text.count("50 (40 – 62)") == 4 * len(report.JUDGES)
    assert report.table({}) == "\n"
