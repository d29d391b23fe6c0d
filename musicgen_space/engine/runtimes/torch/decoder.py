"""The decoder in slots: all takes in one step of static shape, as a CUDA graph where that works.

It wraps ``model.Decoder`` and computes the same. What reads many columns, and whoever finds
no slot free, is computed by the decoder itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch

from musicgen_space.engine.kv_cache import KVCache
from musicgen_space.engine.model import Columns, Condition, Decoder, Predictor
from musicgen_space.engine.runtimes.torch.graphs import Capture, Step, checked_graph
from musicgen_space.engine.runtimes.torch.slots import Slots, SlotsCache

__all__ = ["SlotDecoder"]


class SlotDecoder(Predictor):
    """``decoder`` with up to ``slots`` slots; ``capture`` makes the graphs, None: there are none.

    A step asks the device nothing: it is queued, and whoever needs its result waits for it. Any
    thread may use this; one at a time does, since takes share memory.
    """

    def __init__(self, decoder: Decoder, slots: int, capture: Capture | None = None) -> None:
        self.config = decoder.config
        self._decoder, self._capture = decoder, capture
        self._steps: dict[tuple[int, int], Step] = {}  # by bucket and reach
        self._slots = Slots(decoder, slots, before_growth=self._steps.clear)
        self._turn = threading.Lock()

    @property
    def spare_bytes(self) -> int:
        """See ``Predictor.spare_bytes``."""
        with self._turn:
            return self._slots.spare_bytes

    @property
    def position_bytes(self) -> int:
        """See ``Predictor.position_bytes``."""
        return self._decoder.position_bytes

    @torch.inference_mode()
    def start(self, condition: Condition, max_steps: int) -> tuple[KVCache, torch.Tensor | None]:
        """See ``Predictor.start``."""
        with self._turn:
            read = self._decoder.read(condition)
            cache = self._slots.cache_for(condition.rows, max_steps + read.prefixed, read)
        if cache is None:
            return self._decoder.start(condition, max_steps)
        return cache, read.prefix

    @torch.inference_mode()
    def step(self, states: Sequence[KVCache], columns: Sequence[Columns]) -> list[torch.Tensor]:
        """See ``Predictor.step``; alone, a generation gets the same logits up to rounding.

        Bit by bit, where the same bucket and reach compute them (on a CPU, where the tests look).
        """
        reads = dict(zip(states, columns, strict=True))
        with self._turn:
            static = {each: read for each, read in reads.items() if self._is_static(each, read)}
            others = {each: read for each, read in reads.items() if each not in static}
            # If either fails, none has read anything: the first does not advance its caches.
            logits = self._predict(static) if static else {}
            if others:
                rest = self._decoder.step([*others], [*others.values()])
                logits |= zip(others, rest, strict=True)
            for cache in static:
                cache.length += 1
        return [logits[cache] for cache in states]

    def _is_static(self, cache: KVCache, read: Columns) -> bool:
        one_column = read.prefix is None and len(read) == 1
        return one_column and cache in self._slots

    def _predict(self, reads: Mapping[KVCache, Columns]) -> dict[KVCache, torch.Tensor]:
        """The logits [R, K, V] of each, in memory that no other step writes to."""
        if any(cache.length >= cache.capacity for cache in reads):
            raise ValueError("More steps than the KV cache was allocated for.")
        bucket = self._slots.prepare(reads)
        if bucket not in self._steps:
            self._steps[bucket] = self._step_of(*bucket)
        logits = self._steps[bucket]()
        own = torch.cat([logits[self._slots.rows_of(cache)] for cache in reads])
        return dict(zip(reads, torch.split(own, [cache.rows for cache in reads]), strict=True))

    def _step_of(self, slots: int, reach: int) -> Step:
        """The step of a bucket, as a graph if there are any."""
        decoder, buffers = self._decoder, self._slots.buffers
        has_text = not decoder.config.follows_melody

        def step() -> torch.Tensor:
            cache = SlotsCache(buffers, slots, reach, has_text=has_text)
            codes = Columns(buffers.codes[: cache.rows, :, None])
            return decoder.predict([cache], [codes])

        def next_inputs() -> AbstractContextManager[None]:
            return buffers.next_inputs(decoder.config.codebook_size)

        if self._capture is None:
            return step
        name = f"A step of {slots} slots and {reach} positions"
        return checked_graph(step, self._capture, next_inputs, name)
