"""The runtime that always works: torch, with weights as published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from musicgen_space.engine.model import Decoder, Predictor
from musicgen_space.engine.placement import Placement
from musicgen_space.engine.runtimes.base import Arrays
from musicgen_space.engine.runtimes.half import halve_lossless
from musicgen_space.engine.runtimes.torch.decoder import SlotDecoder
from musicgen_space.engine.runtimes.torch.graphs import Capture, CudaCapture
from musicgen_space.engine.sampling import Sampler, TorchSampler

__all__ = ["TorchRuntime"]


@dataclass(frozen=True, slots=True)
class TorchRuntime:
    """``Decoder`` itself; on a CPU in half precision where that loses nothing.

    With ``slots``, as on CUDA, it computes all takes in one step of static shape, which
    ``capture`` makes a graph of. On a CPU a launch costs too little to pay for what such a
    step computes in vain.
    """

    load_dtype: torch.dtype
    device: torch.device
    slots: int = 0
    capture: Capture | None = None
    weight_format: str | None = None
    converted_width: float | None = None
    codec_kernel: None = None

    @classmethod
    def for_placement(cls, placement: Placement) -> TorchRuntime:
        """The runtime for any placement."""
        if placement.device.type != "cuda":
            return cls(placement.dtype, placement.device)
        capture = CudaCapture(placement.device) if placement.graphs else None
        return cls(placement.dtype, placement.device, placement.at_once, capture)

    def sampler(self) -> Sampler:
        """See ``Runtime.sampler``."""
        return TorchSampler(self.device)

    def convert(self, decoder: Decoder, save: Callable[[Arrays], None]) -> Predictor:
        """See ``Runtime.convert``; there is nothing to save."""
        halve_lossless(decoder)
        return SlotDecoder(decoder, self.slots, self.capture) if self.slots else decoder

    def restore(self, decoder: Decoder, arrays: Arrays) -> Predictor:
        """See ``Runtime.restore``: nothing was saved."""
        raise NotImplementedError
