"""What is said of a codec: distances of known distortions."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("librosa", reason="requirements-training.txt is not installed")

from training.measure.reconstruction import codebook_use, mel_distance, si_sdr

RATE = 32000


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, RATE).astype(np.float32)


def test_si_sdr_is_the_ratio_of_signal_to_added_noise() -> None:
    signal, added = noise(1).astype(float), noise(2).astype(float)
    added -= signal * (signal @ added) / (signal @ signal)
    added *= np.linalg.norm(signal) / np.linalg.norm(added) / 10
    assert si_sdr(signal, signal + added) == pytest.approx(20)


def test_si_sdr_does_not_hear_loudness_or_polarity() -> None:
    signal = noise(1)
    other = signal + 0.3 * noise(2)
    assert si_sdr(signal, -0.5 * other) == pytest.approx(si_sdr(signal, other), abs=0.001)


def test_half_the_loudness_is_six_decibels_of_mel_distance() -> None:
    assert mel_distance(noise(1), noise(1), RATE) == 0
    assert mel_distance(noise(1), noise(1) / 2, RATE) == pytest.approx(6.02, abs=0.01)


def test_codebook_use_of_even_and_lopsided_codes() -> None:
    even = np.arange(64).repeat(4)
    lopsided = np.where(np.arange(256) < 2, 5, 7)
    first, second = codebook_use(np.stack([even, lopsided])[None], 128)
    assert (first.share, first.perplexity) == pytest.approx((0.5, 64))
    assert second.share == pytest.approx(2 / 128)
    assert 1 < second.perplexity < 1.1
