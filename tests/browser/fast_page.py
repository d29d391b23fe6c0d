"""The page over a backend that hums instead of making music: many times faster than that."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np

from musicgen_space.audio.resample import convert
from musicgen_space.backends.base import Backend, Chunk, ModelChoice, Progress, Update
from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.backends.segmind import SegmindBackend
from musicgen_space.live import Heard, LiveControls
from musicgen_space.request import MusicRequest
from musicgen_space.serve import serve
from musicgen_space.settings import Settings
from musicgen_space.take import Take

RATE = 32000
SECONDS_A_SECOND = 100  # of music, of time


class Humming(Backend):
    """Each seed has a pitch, and live each prompt; what is to be continued comes first.

    From seed 1000 on every fourth take is as loud as usual, those after it are quieter.
    """

    name, label, about = "local", LocalBackend.label, LocalBackend.about
    knobs = frozenset(MusicRequest.__dataclass_fields__)
    plays_live = True

    def models(self) -> list[ModelChoice]:
        return [
            ModelChoice("plain", "follows nothing"),
            ModelChoice("tuneful", "follows tunes", True),
            ModelChoice("unknown", "who knows", None),
        ]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        started = time.perf_counter()
        takes = [self._sound(request.variation(index)) for index in range(request.variations)]
        given = round((request.total_seconds - request.duration) * RATE)
        end = takes[0].shape[1]
        for start in range(0, end, RATE):
            for variation, samples in enumerate(takes):
                yield Chunk(samples[:, start : start + RATE], RATE, variation)
            time.sleep(1 / SECONDS_A_SECOND)
            made = max(0, min(start + RATE, end) - given) / RATE
            yield Progress(made, request.duration, time.perf_counter() - started)
        for variation, samples in enumerate(takes):
            wish = request.variation(variation)
            taken = time.perf_counter() - started
            yield Take(samples, RATE, wish, self.name, str(request.model), taken)

    def live(self, controls: LiveControls, visitor: str = "") -> Iterator[Heard]:
        """In pieces of 0.1 s, a second ahead; "unknown" is too slow for it."""
        began, told = time.monotonic(), 0
        at = np.arange(RATE // 10, dtype=np.float32) / RATE
        while not controls.stopped:
            request = controls.wish.request
            heard = min(controls.fetched, time.monotonic() - began)
            if told / 10 > heard + 1:
                time.sleep(1 / SECONDS_A_SECOND)
                continue
            # Whole periods in each piece: so one goes on where the one before ended.
            pitch = 200 + 10 * len(request.prompt)
            hum = (0.3 * np.sin(2 * np.pi * pitch * at))[None].astype(np.float32)
            speed = 0.7 if request.model == "unknown" else 10.0
            yield Heard(hum, RATE, told / 10, request.prompt, speed=speed)
            told += 1
        print("The hum ends.", flush=True)

    def _sound(self, request: MusicRequest) -> np.ndarray:
        at = np.arange(round(request.duration * RATE), dtype=np.float32) / RATE
        level = 0.3 / (1 + request.seed % 4) if request.seed >= 1000 else 0.3
        hum = (level * np.sin(2 * np.pi * (200 + request.seed) * at))[None].astype(np.float32)
        clip = request.continue_from
        before = [] if clip is None else [convert(clip, RATE, 1)]
        return np.concatenate([*before, hum], axis=1)


if __name__ == "__main__":
    serve(
        Settings.from_environment(),
        lambda settings: {"local": Humming(), "segmind": SegmindBackend.from_settings(settings)},
    )
