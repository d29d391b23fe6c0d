"""Fréchet's distance and the bootstrap, against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from training.measure.confidence import bootstrap
from training.measure.frechet import frechet_distance


def crowd(mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Features with exactly this mean and covariance."""
    drawn = np.random.default_rng(seed).normal(size=(500, len(mean)))
    drawn -= drawn.mean(axis=0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_distance_of_independent_features() -> None:
    first = crowd(np.array([0.0, 1.0, 2.0]), np.diag([1.0, 4.0, 9.0]), 1)
    second = crowd(np.array([1.0, 1.0, 0.0]), np.diag([4.0, 4.0, 1.0]), 2)
    assert frechet_distance(first, second) == pytest.approx((1 + 4) + (1 + 0 + 4))


def test_distance_of_a_turned_crowd_is_the_same_both_ways() -> None:
    """tr C₁ + tr C₂ − 2 tr (C₁ C₂)^½ of two by two: the root's trace is √(tr + 2 √det)."""
    one, two = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]])
    product = one @ two
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(one) + np.trace(two) - 2 * root
    first, second = crowd(np.zeros(2), one, 3), crowd(np.zeros(2), two, 4)
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(second, first) == pytest.approx(expected)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_bootstrap_gives_the_usual_interval_of_a_share() -> None:
    mean = bootstrap(np.array([1.0] * 60 + [0.0] * 40 + [np.nan] * 7))
    assert (mean.value, mean.count) == (0.6, 100)
    assert (mean.low, mean.high) == pytest.approx((0.504, 0.696), abs=0.02)
    assert np.isnan(bootstrap(np.array([np.nan])).value)
