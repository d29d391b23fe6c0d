"""The native runtime: our C++ kernel on a CPU, with quantised weights.

A CPU decodes one step at a time, so it spends its time reading weights. Their format
(``MUSICGEN_QUANT``):

``none``   as published, in half precision where that loses nothing, else in float32
``int8``   8 bits, which costs musicgen-nano 0.1 % of its cross-entropy
``int4``   the feed-forward's in 4 bits, the others in 8: 1 %, and not faster everywhere
``auto``   ``int8``

With all but ``none``, EnCodec is computed in bfloat16 on processors that have it.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from musicgen_space.engine.model import Decoder
from musicgen_space.engine.placement import Placement
from musicgen_space.engine.runtimes.base import Arrays
from musicgen_space.engine.runtimes.native import kernel
from musicgen_space.engine.runtimes.native.decoder import Mode, NativeDecoder
from musicgen_space.engine.runtimes.native.sampler import native_sampler
from musicgen_space.engine.sampling import Sampler

__all__ = ["NativeRuntime"]

log = logging.getLogger(__name__)

_MODES: dict[str, Mode] = {"none": "exact", "int8": "int8", "int4": "int4", "auto": "int8"}

# Bytes of a weight, with what temporary copies in float32 leave behind in the heap.
_WIDTHS: dict[Mode, float] = {"exact": 4, "int8": 1.6, "int4": 1.5}


@dataclass(frozen=True, slots=True)
class NativeRuntime:
    """``NativeDecoder`` in one ``mode``, on ``threads`` threads."""

    mode: Mode
    library: ctypes.CDLL
    threads: int

    @classmethod
    def for_placement(cls, placement: Placement) -> NativeRuntime | None:
        """The runtime for a float32 decoder on the CPU; None for others, or without a kernel."""
        if placement.device.type != "cpu" or placement.dtype != torch.float32:
            return None
        library = kernel.load(placement.cache) if placement.native else None
        if library is None:
            log.info("torch computes the decoder's steps, with weights as published")
            return None
        return cls(_MODES[placement.quant], library, placement.threads)

    @property
    def weight_format(self) -> str:
        """See ``Runtime.weight_format``."""
        return f"native {self.mode}"

    @property
    def load_dtype(self) -> torch.dtype:
        """Half precision where the weights are quantised next: same result, half the memory."""
        return torch.float32 if self.mode == "exact" else torch.float16

    @property
    def converted_width(self) -> float:
        """See ``Runtime.converted_width``."""
        return _WIDTHS[self.mode]

    @property
    def codec_kernel(self) -> ctypes.CDLL | None:
        """See ``Runtime.codec_kernel``."""
        return None if self.mode == "exact" else self.library

    def sampler(self) -> Sampler:
        """See ``Runtime.sampler``."""
        return native_sampler(self.library)

    def convert(self, decoder: Decoder, save: Callable[[Arrays], None]) -> NativeDecoder:
        """See ``Runtime.convert``; ``decoder`` is not referenced afterwards."""
        native = self._build(decoder)
        packed = native.packed()
        save(packed | _unpacked_tensors(decoder, packed))
        return native

    def restore(self, decoder: Decoder, arrays: Arrays) -> NativeDecoder:
        """See ``Runtime.restore``."""
        _load_unpacked_tensors(decoder, arrays)
        return self._build(decoder, arrays)

    def _build(self, decoder: Decoder, packed: Arrays | None = None) -> NativeDecoder:
        return NativeDecoder(decoder, self.mode, self.library, self.threads, packed=packed)


def _unpacked_tensors(decoder: Decoder, packed: Arrays) -> dict[str, np.ndarray]:
    """The tensors that the kernel doesn't pack: embeddings, norms, projections."""
    return {
        name: tensor.numpy()
        for name, tensor in decoder.state_dict().items()
        if tensor.numel() and name.removesuffix(".weight") not in packed
    }


def _load_unpacked_tensors(decoder: Decoder, arrays: Arrays) -> None:
    """Load what ``_unpacked_tensors`` saved into a decoder on the meta device."""
    names = decoder.state_dict().keys() & set(arrays)
    state = {name: torch.from_numpy(arrays[name]) for name in names}
    decoder.load_state_dict(state, strict=False, assign=True)
    decoder.eval().requires_grad_(False)
