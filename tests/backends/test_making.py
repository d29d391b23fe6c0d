"""What is told while a take is made."""

from __future__ import annotations

import numpy as np
import pytest

from musicgen_space.backends.base import Progress
from musicgen_space.backends.making import Maker, Told
from musicgen_space.engine.scheduler.events import Generated
from musicgen_space.request import MusicRequest


def test_the_time_left_goes_by_the_pace_of_the_last_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others have joined: of 30 s, 20 came at twice real time, then 5 at a quarter."""
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    told = Told(MusicRequest("jazz", duration=30), Maker("local", "m", None, 32_000), bool)
    made, silence = 0.0, np.empty((1, 1, 0), np.float32)
    progress = []
    for seconds, pace in ((10, 2.0), (20, 0.25)):
        for _ in range(seconds):
            now, made = now + 1, made + pace
            progress += [p for p in told.of(Generated(made, silence)) if isinstance(p, Progress)]
    assert progress[9].seconds_left == pytest.approx(5)
    assert progress[-1].seconds_left == pytest.approx(20)
