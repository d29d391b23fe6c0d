"""How many seconds of a GPU to ask for: too few end a take, too many are refused or wait longer.

ZeroGPU wants to know it beforehand; less is served sooner. Nothing here knows of GPUs or threads
but for a lock.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from musicgen_space.backends.local.published import OTHER_WEIGHTS
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.windows import windows
from musicgen_space.request import MusicRequest

__all__ = ["LEAST", "MOST", "GpuSeconds", "Work"]

LEAST, MOST = 5, 1200  # seconds; after 20 minutes without a yield ZeroGPU gives a take up

# Estimates, until takes were made: not measured on ZeroGPU's own hardware.
_START_SECONDS = 4  # a process, CUDA
_BYTES_A_SECOND = 1e9  # of all models, from the disk to the GPU
_STEP_SECONDS, _LAYER_SECONDS = 0.003, 0.0006  # small steps cost what starting their kernels does
_ROW = 0.05  # what each further row of a batch adds, of the first
_PREFILL = 8  # steps that reading what a window knows already counts for

_MARGIN = 1.25
_KEPT = 8  # takes that are remembered of each model
_TOO_LITTLE = 25  # steps that tell nothing of the speed
_SLOWEST = 4  # times the estimate: what nobody's quota allows would never be made, nor corrected


@dataclass(frozen=True, slots=True)
class Work:
    """What making a take costs: ``steps`` of ``rows`` through the ``layers`` of a model.

    ``music_seconds`` is the length of what is new.
    """

    model: str
    layers: int
    steps: int
    rows: int
    music_seconds: float

    @classmethod
    def of(cls, request: MusicRequest, model: str, config: DecoderConfig, frame_rate: int) -> Work:
        """The work of ``request`` with a model of ``config``; ``frame_rate`` in Hz."""
        lengths = (request.given_seconds, request.total_seconds)
        known, total = (round(seconds * frame_rate) for seconds in lengths)
        parts = windows(known, total, frame_rate)
        steps = sum(each.end - each.start - each.known + _PREFILL for each in parts)
        branches = 1 + bool(request.blend_prompt) + (request.guidance_scale != 1)
        return cls(model, config.layers, steps, request.variations * branches, request.duration)

    @property
    def weight(self) -> float:
        """What a step costs, of one with a single row."""
        return 1 + _ROW * (self.rows - 1)


class GpuSeconds:
    """Estimates that learn from the takes that were made; thread-safe.

    ``configs`` are those of all models: each GPU gets all of them before the first take.
    """

    def __init__(self, configs: Iterable[DecoderConfig]) -> None:
        size = sum(2 * config.weights + 4 * OTHER_WEIGHTS for config in configs)
        self._start = _START_SECONDS + size / _BYTES_A_SECOND
        self._lock = threading.Lock()
        self._seen: dict[str, deque[float]] = {}  # seconds of a step of weight 1, by model

    def ask(self, work: Work) -> int:
        """Whole seconds for a take, ``LEAST`` to ``MOST``."""
        estimate = _STEP_SECONDS + _LAYER_SECONDS * work.layers
        with self._lock:
            step = max(self._seen.get(work.model, ()), default=estimate)
        step = min(step, _SLOWEST * estimate)
        seconds = self._start + _MARGIN * work.steps * work.weight * step
        return min(MOST, max(LEAST, math.ceil(seconds)))

    def learn(self, work: Work, music_seconds: float, seconds: float) -> None:
        """Remember that so much of a take's music took so many ``seconds``."""
        steps = work.steps * music_seconds / work.music_seconds
        if steps < _TOO_LITTLE:
            return
        with self._lock:
            seen = self._seen.setdefault(work.model, deque(maxlen=_KEPT))
            seen.append(seconds / (steps * work.weight))

    def overran(self, work: Work) -> None:
        """A take was ended since its time was over: one like it asks for twice as much."""
        self.learn(work, work.music_seconds, 2 * self.ask(work))
