"""Whether a sound is what a prompt asked for.

Each judge answers for every sound and every prompt at once: ``heard`` [sounds, prompts] is 1
where it hears what the prompt asks for, 0 where not, NaN where the prompt doesn't ask for it.
So the same answers tell how often a take is what its own prompt asked for, and how often it is
what another one did. What a judge has to learn or to choose, it does on the calibration pieces,
rendered, which are neither the takes nor the references they are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from training.measure.evidence import Evidence
from training.measure.hearing import mode_of
from training.measure.tagger import TAGS
from training.measure.wishes import FAMILIES, families, tempo_band
from training.music.compose import Piece

__all__ = [
    "DrumJudge",
    "FamilyJudge",
    "Judge",
    "ModeJudge",
    "StyleJudge",
    "TagJudge",
    "TempoBandJudge",
    "TempoJudge",
    "threshold",
]

_TEMPO_TOLERANCE = 0.04  # of the tempo: Gouyon et al. 2006
_OCTAVES = (1 / 3, 1 / 2, 1, 2, 3)  # "accuracy 2" of Gouyon et al. 2006
_RANKS = 3  # a style is heard among the likeliest of 29
_FEWEST = 10  # calibration pieces that play a family
_STRENGTH = 0.01  # of the logistic regressions: 400 features, a few hundred pieces

# What musicnn's tags call a style; it has no word for the others.
_TAGS = {
    "lofi": ("msd:chillout", "msd:chill"),
    "ambient": ("mtt:ambient", "msd:ambient"),
    "house": ("msd:House", "msd:dance", "mtt:dance"),
    "techno": ("mtt:techno", "msd:electro", "msd:electronic"),
    "synthwave": ("mtt:synth", "msd:electronic", "msd:80s"),
    "rock": ("mtt:rock", "msd:rock"),
    "metal": ("mtt:metal", "msd:metal", "msd:heavy metal"),
    "trap": ("msd:Hip-Hop",),
    "funk": ("msd:funk", "msd:soul"),
    "jazz": ("msd:jazz",),
    "blues": ("msd:blues",),
    "country": ("mtt:country", "msd:country"),
    "folk": ("msd:folk", "msd:acoustic"),
    "piano": ("mtt:piano",),
    "guitar": ("mtt:guitar",),
    "baroque": ("mtt:classical", "mtt:harpsichord"),
    "orchestral": ("mtt:classical", "mtt:strings"),
    "chiptune": ("mtt:electronic", "msd:electronic", "msd:electro"),
    "dnb": ("mtt:electronic", "msd:electronic"),
    "asian": ("mtt:indian", "mtt:sitar"),
    "pop": ("mtt:pop", "msd:pop"),
    "lullaby": ("mtt:harp", "mtt:soft"),
}


class Judge(Protocol):
    """Answers for every sound and every prompt: 1, 0, or NaN where a prompt doesn't ask."""

    def heard(self, sounds: Sequence[Evidence], asked: Sequence[Piece]) -> np.ndarray:
        """[sounds, prompts]."""


class StyleJudge:
    """The style is among the three likeliest of all, by what the tagger's last layers see.

    A logistic regression from musicnn's features to styles, learnt on the calibration pieces.
    """

    def __init__(self, sounds: Sequence[Evidence], pieces: Sequence[Piece]) -> None:
        self._model = _regression().fit(_features(sounds), [piece.style for piece in pieces])

    def heard(self, sounds: Sequence[Evidence], asked: Sequence[Piece]) -> np.ndarray:
        """See ``Judge.heard``."""
        likely = self._model.predict_proba(_features(sounds))
        ranks = (-likely).argsort(axis=1).argsort(axis=1)
        styles = {style: index for index, style in enumerate(self._model.classes_)}
        return np.stack(
            [ranks[:, styles[piece.style]] < _RANKS for piece in asked], axis=1, dtype=float
        )


class TagJudge:
    """A tag that means the style is likelier than its threshold. Nothing is learnt of our music.

    The likelihood of a style is that of its likeliest tag in ``_TAGS``; the threshold is what
    parts best the calibration pieces of that style from those of styles that share no tag.
    """

    def __init__(self, sounds: Sequence[Evidence], pieces: Sequence[Piece]) -> None:
        self._thresholds = {}
        for style, tags in _TAGS.items():
            likely = _likelihood(sounds, tags)
            own = np.array([piece.style == style for piece in pieces])
            related = np.array([bool({*_TAGS.get(piece.style, ())} & {*tags}) for piece in pieces])
            clear = own | ~related
            if own.any():
                self._thresholds[style] = threshold(likely[clear], own[clear])

    def heard(self, sounds: Sequence[Evidence], asked: Sequence[Piece]) -> np.ndarray:
        """See ``Judge.heard``."""
        result = np.full((len(sounds), len(asked)), np.nan)
        for column, piece in enumerate(asked):
            if piece.style in self._thresholds:
                likely = _likelihood(sounds, _TAGS[piece.style])
                result[:, column] = likely >= self._thresholds[piece.style]
        return result


class FamilyJudge:
    """The families of the instruments that a prompt names: which share of them is heard.

    One logistic regression for each family of General MIDI, from musicnn's features; its
    threshold is chosen on pieces it did not learn from (cross-validation). Families that too
    few calibration pieces play are not asked for.
    """

    def __init__(self, sounds: Sequence[Evidence], pieces: Sequence[Piece]) -> None:
        features = _features(sounds)
        self._models: dict[str, tuple[Pipeline, float]] = {}
        for family in FAMILIES:
            plays = np.array([family in families(piece, named=False) for piece in pieces])
            if _FEWEST <= plays.sum() <= len(plays) - _FEWEST:
                likely = cross_val_predict(
                    _regression(), features, plays, cv=5, method="predict_proba"
                )[:, 1]
                self._models[family] = _regression().fit(features, plays), threshold(likely, plays)

    def heard(self, sounds: Sequence[Evidence], asked: Sequence[Piece]) -> np.ndarray:
        """See ``Judge.heard``."""
        features = _features(sounds)
        plays = {
            family: model.predict_proba(features)[:, 1] >= least
            for family, (model, least) in self._models.items()
        }
        result = np.full((len(sounds), len(asked)), np.nan)
        for column, piece in enumerate(asked):
            known = [plays[name] for name in families(piece, named=True) if name in plays]
            if known:
                result[:, column] = np.mean(known, axis=0)
        return result


class DrumJudge:
    """Drums, or none: the percussive share of energy is on the right side of its threshold."""

    def __init__(self, sounds: Sequence[Evidence], pieces: Sequence[Piece]) -> None:
        shares = np.array([sound.percussive for sound in sounds])
        self._threshold = threshold(shares, np.array([piece.has_drums for piece in pieces]))

    def heard(self, sounds: Sequence[Evidence], asked: Sequence[Piece]) -> np.ndarray:
        """See ``Judge.heard``."""
        drums = np.array([sound.percussive >= self._threshold for sound in sounds])
        wanted = np.array([piece.has_drums for piece in asked])
        return np.where(drums[:, None] == wanted, 1.0, 0.0)


class TempoBandJudge:
    """Slow, mid-tempo or fast, as the prompt says it."""

    def heard(self, sounds: Sequence[Evidence], asked: Sequence[Piece]) -> np.ndarray:
        """See ``Judge.heard``."""
        bands = [tempo_band(sound.tempo) for sound in sounds]
        wanted = [tempo_band(piece.bpm) for piece in asked]
        return np.array([[band == other for other in wanted] for band in bands], float)


class TempoJudge:
    """The tempo asked for, its double, half, triple or third, within 4 %."""

    def heard(self, sounds: Sequence[Evidence], asked: Sequence[Piece]) -> np.ndarray:
        """See ``Judge.heard``."""
        tempi = np.array([sound.tempo for sound in sounds])[:, None, None]
        wanted = np.array([piece.bpm for piece in asked])[:, None] * np.array(_OCTAVES)
        near: np.ndarray = np.abs(tempi / wanted - 1) <= _TEMPO_TOLERANCE
        return near.any(axis=2).astype(float)


class ModeJudge:
    """Major or minor, where a prompt says so."""

    def heard(self, sounds: Sequence[Evidence], asked: Sequence[Piece]) -> np.ndarray:
        """See ``Judge.heard``."""
        modes = np.array([mode_of(sound.chroma) for sound in sounds])
        wanted = np.array([piece.mode for piece in asked])
        unasked = ~np.isin(wanted, ("major", "minor"))
        return np.where(unasked, np.nan, modes[:, None] == wanted)


def threshold(values: np.ndarray, positive: np.ndarray) -> float:
    """The least value that should count: it maximises sensitivity + specificity (Youden 1950)."""
    candidates = np.unique(values)
    above = values[None, :] >= candidates[:, None]
    gain = above[:, positive].mean(axis=1) - above[:, ~positive].mean(axis=1)
    return float(candidates[gain.argmax()])


def _regression() -> Pipeline:
    return make_pipeline(
        StandardScaler(),
        LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=2000, random_state=0),
    )


def _features(sounds: Sequence[Evidence]) -> np.ndarray:
    """The tagger's features, the mean of each sound: [sounds, width]."""
    return np.stack([sound.features.mean(axis=0) for sound in sounds])


def _likelihood(sounds: Sequence[Evidence], tags: tuple[str, ...]) -> np.ndarray:
    columns = [TAGS.index(tag) for tag in tags]
    return np.stack([sound.tags[columns].max() for sound in sounds])
