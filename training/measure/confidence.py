"""How far a mean could be off: the bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Mean", "bootstrap"]

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over ``count`` values, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


def bootstrap(values: np.ndarray, seed: int = 0) -> Mean:
    """The mean of ``values`` [n], NaN left out, with a percentile interval (Efron 1979).

    A value should stand for something drawn independently: a piece or a prompt, not a take.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    picks = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return Mean(float(values.mean()), float(low), float(high), len(values))
