"""What all judges know of a sound, kept on disk: listening takes a second for ten."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from training.measure.hearing import chroma, percussive_share, tempo_of
from training.measure.tagger import Tagger

__all__ = ["Evidence", "listen"]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """``tempo`` in beats a minute, ``chroma`` [12, frames], the ``percussive`` share of energy.

    ``tags`` [100] and ``features`` [patches, 400] are the tagger's; without one, they are empty.
    """

    tempo: float
    chroma: np.ndarray
    percussive: float
    tags: np.ndarray
    features: np.ndarray


def listen(
    file: Path, sound: Callable[[], np.ndarray], rate: int, tagger: Tagger | None
) -> Evidence:
    """The evidence on a sound [n]: what is kept in ``file``, else made and kept there."""
    if not file.exists():
        _keep(file, _hear(sound(), rate, tagger))
    with np.load(file) as kept:
        numbers = {field.name: kept[field.name] for field in fields(Evidence)}
    return Evidence(
        float(numbers["tempo"]),
        numbers["chroma"],
        float(numbers["percussive"]),
        numbers["tags"],
        numbers["features"],
    )


def _hear(sound: np.ndarray, rate: int, tagger: Tagger | None) -> Evidence:
    tags, features = tagger.hear(sound, rate) if tagger else (np.empty(0), np.empty((0, 0)))
    return Evidence(
        tempo_of(sound, rate), chroma(sound, rate), percussive_share(sound), tags, features
    )


def _keep(file: Path, evidence: Evidence) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    numbers: dict[str, Any] = {
        field.name: np.asarray(getattr(evidence, field.name)) for field in fields(Evidence)
    }
    with part.open("wb") as target:
        np.savez(target, **numbers)
    part.replace(file)
