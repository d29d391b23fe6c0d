"""The Fréchet distance between two crowds of features.

Kilgour et al. 2019, "Fréchet Audio Distance", after Heusel et al. 2017: between the normal
distributions that have the crowds' means and covariances,
``|m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½)`` (Dowson & Landau 1982).

It shrinks with the size of the crowds, so only crowds of the same size should be compared.
"""

from __future__ import annotations

import numpy as np

__all__ = ["frechet_distance"]


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Between features [n, width] and [m, width]."""
    shift = first.mean(axis=0) - second.mean(axis=0)
    one, two = (
        np.atleast_2d(np.cov(first, rowvar=False)),
        np.atleast_2d(np.cov(second, rowvar=False)),
    )
    return float(shift @ shift + np.trace(one) + np.trace(two) - 2 * _trace_of_root(one, two))


def _trace_of_root(one: np.ndarray, two: np.ndarray) -> float:
    """The trace of (C₁ C₂)^½, which has the eigenvalues of (C₁^½ C₂ C₁^½)^½."""
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0)).sum())
