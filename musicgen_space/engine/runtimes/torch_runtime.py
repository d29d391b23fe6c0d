"""The runtime that always works: torch, with weights as published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from musicgen_space.engine.model import Decoder
from musicgen_space.engine.placement import Placement
from musicgen_space.engine.runtimes.base import Arrays
from musicgen_space.engine.runtimes.half import halve_lossless

__all__ = ["TorchRuntime"]


@dataclass(frozen=True, slots=True)
class TorchRuntime:
    """``Decoder`` itself; on a CPU in half precision where that loses nothing."""

    load_dtype: torch.dtype
    weight_format: str | None = None
    converted_width: float | None = None
    codec_kernel: None = None

    @classmethod
    def for_placement(cls, placement: Placement) -> TorchRuntime:
        """The runtime for any placement."""
        return cls(placement.dtype)

    def convert(self, decoder: Decoder, save: Callable[[Arrays], None]) -> Decoder:
        """See ``Runtime.convert``; there is nothing to save."""
        halve_lossless(decoder)
        return decoder

    def restore(self, decoder: Decoder, arrays: Arrays) -> Decoder:
        """See ``Runtime.restore``: nothing was saved."""
        raise NotImplementedError
