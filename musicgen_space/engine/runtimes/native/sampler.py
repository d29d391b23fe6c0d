"""Sampling on the native kernel: torch's numbers for a seed, and its codes, in a third of the time.

Most of what torch takes goes into noise for codes that top-k leaves out.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence

import numpy as np
import torch

from musicgen_space.engine.sampling import Knobs, Sampler, TorchSampler, keep_top_p

__all__ = ["NativeSampler", "native_sampler"]

log = logging.getLogger(__name__)

_STATE = 625  # words of a generator: MT19937's, and how many are used up


class NativeSampler:
    """See ``Sampler``; a generator is the kernel's state of one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, pointer = ctypes.c_int, ctypes.c_void_p
        self._seed, self._draw = library.musicgen_seed, library.musicgen_draw
        self._seed.restype, self._seed.argtypes = None, [pointer, ctypes.c_uint32]
        self._draw.restype = number
        self._draw.argtypes = [pointer, pointer, number, number, ctypes.c_float, number, pointer]

    def generator(self, seed: int) -> np.ndarray:
        """See ``Sampler.generator``."""
        state = np.empty(_STATE, np.uint32)
        self._seed(state.ctypes.data, seed & 0xFFFFFFFF)
        return state

    def sample(
        self, logits: torch.Tensor, generators: Sequence[np.ndarray], knobs: Sequence[Knobs]
    ) -> torch.Tensor:
        """See ``Sampler.sample``."""
        codes = torch.empty(logits.shape[:-1], dtype=torch.int64)
        for take, (state, own) in enumerate(zip(generators, knobs, strict=True)):
            self._draw_codes(logits[take].float().contiguous(), state, own, codes[take])
        return codes

    def _draw_codes(
        self, logits: torch.Tensor, state: np.ndarray, knobs: Knobs, codes: torch.Tensor
    ) -> None:
        """Write the ``codes`` [K] of one take from its ``logits`` [K, V]."""
        temperature, top_k = knobs.temperature, knobs.top_k
        if knobs.top_p > 0:
            logits = keep_top_p(logits / temperature, knobs.top_p)
            temperature, top_k = 1.0, logits.shape[-1]
        failed = self._draw(
            state.ctypes.data,
            logits.data_ptr(),
            *logits.shape,
            temperature,
            top_k,
            codes.data_ptr(),
        )
        if failed:
            raise MemoryError("Out of memory for the next codes.")


def native_sampler(library: ctypes.CDLL) -> Sampler:
    """A ``NativeSampler`` if it draws here what torch draws; else torch's own, and a log line.

    Some builds of torch may have other random numbers for a seed.
    """
    in_torch, native = TorchSampler(torch.device("cpu")), NativeSampler(library)
    logits = torch.randn(3, 2, 500, generator=torch.Generator().manual_seed(0))
    knobs = [Knobs(0.8, 100), Knobs(), Knobs(top_p=0.8)]

    def drawn(sampler: Sampler) -> torch.Tensor:
        generators = [sampler.generator(seed) for seed in range(len(knobs))]
        return torch.stack([sampler.sample(logits, generators, knobs) for _ in range(3)])

    if torch.equal(drawn(native), drawn(in_torch)):
        return native
    log.info("torch samples: it has other random numbers for a seed than the kernel")
    return in_torch
