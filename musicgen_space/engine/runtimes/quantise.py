"""Which predictor computes a decoder's step on a CPU: wrapped around a loaded one from outside.

A CPU decodes one column at a time, so it spends its time reading weights. How they are
kept is a choice (``MUSICGEN_QUANT``):

``none``   as published, in half precision where that loses nothing, else in float32
``int8``   in 8 bits, which costs musicgen-nano 0.1 % of its cross-entropy
``int4``   the feed-forward's in 4 bits, the others in 8: 1 %, and not faster everywhere
``auto``   ``int8``

Our own kernel (``native``) does all of it. Without it torch computes, with weights as
published (``half``).
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from musicgen_space.engine.model import Decoder
from musicgen_space.engine.placement import Placement
from musicgen_space.engine.runtimes.native import kernel
from musicgen_space.engine.runtimes.native.decoder import Mode, NativeDecoder

__all__ = ["Converter", "converter", "mode_of"]

log = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]

_NATIVE_MODES: dict[str, Mode] = {"none": "exact", "int8": "int8", "int4": "int4"}


def mode_of(placement: Placement) -> str:
    """none, int8 or int4."""
    return "int8" if placement.quant == "auto" else placement.quant


def converter(placement: Placement) -> Converter | None:
    """What converts decoders for the placement; None if torch computes."""
    if placement.device.type != "cpu" or placement.dtype != torch.float32:
        return None
    library = kernel.load(placement.cache) if placement.native else None
    if library is None:
        log.info("torch computes the decoder's steps, with weights as published")
        return None
    return Converter(mode_of(placement), library, placement.threads)


@dataclass(frozen=True, slots=True)
class Converter:
    """Makes a decoder into one on our kernel."""

    mode: str  # none, int8 or int4
    library: ctypes.CDLL
    threads: int

    @property
    def form(self) -> str:
        """A name for what comes out."""
        return f"native {self.mode}"

    def convert(self, decoder: Decoder, keep: Callable[[Arrays], None]) -> NativeDecoder:
        """The decoder converted; it may go afterwards. ``keep`` is told what ``restore`` needs."""
        native = self._made(decoder)
        packed = native.packed()
        keep(packed | _rest(decoder, packed))
        return native

    def restore(self, decoder: Decoder, kept: Arrays) -> NativeDecoder:
        """The same again from what was kept, and a ``decoder`` that has shapes only."""
        return self._made(_with_rest(decoder, kept), kept)

    def _made(self, decoder: Decoder, packed: Arrays | None = None) -> NativeDecoder:
        mode = _NATIVE_MODES[self.mode]
        return NativeDecoder(decoder, mode, self.library, self.threads, packed=packed)


def _rest(decoder: Decoder, packed: Arrays) -> dict[str, np.ndarray]:
    """What else a decoder has besides the matrices that were packed, or dropped."""
    return {
        name: tensor.numpy()
        for name, tensor in decoder.state_dict().items()
        if tensor.numel() and name.removesuffix(".weight") not in packed
    }


def _with_rest(decoder: Decoder, kept: Arrays) -> Decoder:
    """The decoder, without data by now, with what ``_rest`` said."""
    there = decoder.state_dict().keys() & set(kept)
    rest = {name: torch.from_numpy(kept[name]) for name in there}
    decoder.load_state_dict(rest, strict=False, assign=True)
    decoder.eval().requires_grad_(False)
    return decoder
