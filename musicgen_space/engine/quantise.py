"""Weights kept smaller than they compute: wrapped around a loaded decoder from outside.

A CPU decodes one column at a time, so it spends its time reading weights. How they are
kept is a choice (``MUSICGEN_QUANT``):

``none``   as published, in half precision where that loses nothing, else in float32
``int8``   in 8 bits, which costs musicgen-nano 0.1 % of its cross-entropy
``int4``   the feed-forward's in 4 bits, the others in 8: 1 %, and not faster everywhere
``auto``   ``int8``

Our own kernel (``native``) does all of it where there is a compiler. Without it, ONNX
Runtime computes in 8 bits, and torch what is to stay as published: half precision through
FBGEMM, which multiplies half-precision weights in single precision and is part of torch
on x86.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
import torch
from torch import nn

from musicgen_space.engine.model import Decoder, Predictor
from musicgen_space.engine.native import build
from musicgen_space.engine.placement import Placement

if TYPE_CHECKING:
    from musicgen_space.engine.native.decoder import NativeDecoder

__all__ = [
    "Converter",
    "HalfLinear",
    "converter",
    "halve_lossless",
    "has_fbgemm",
    "is_half",
    "mode_of",
    "weight_of",
]

Arrays = Mapping[str, np.ndarray]

_NATIVE_MODES: dict[str, Literal["exact", "int8", "int4"]] = {
    "none": "exact",
    "int8": "int8",
    "int4": "int4",
}


def mode_of(placement: Placement) -> str:
    """none, int8 or int4."""
    return "int8" if placement.quant == "auto" else placement.quant


class Converter(Protocol):
    """Makes a decoder into another predictor."""

    @property
    def form(self) -> str:
        """A name for what comes out."""

    def convert(self, decoder: Decoder, keep: Callable[[Arrays], None]) -> Predictor:
        """The decoder converted; it may go afterwards. ``keep`` is told what ``restore`` needs."""

    def restore(self, decoder: Decoder, kept: Arrays) -> Predictor:
        """The same again from what was kept, and a ``decoder`` that has shapes only."""


def converter(placement: Placement) -> Converter | None:
    """What converts decoders for the placement; None if torch computes."""
    if placement.device.type != "cpu" or placement.dtype != torch.float32:
        return None
    if placement.native:
        library = build.load(placement.cache)
        if library is not None:
            return _ToNative(mode_of(placement), library, placement.threads)
    return None if mode_of(placement) == "none" else _ToOnnx(placement.threads)


@dataclass(frozen=True, slots=True)
class _ToNative:
    mode: str  # none, int8 or int4
    library: ctypes.CDLL
    threads: int

    @property
    def form(self) -> str:
        return f"native {self.mode}"

    def convert(self, decoder: Decoder, keep: Callable[[Arrays], None]) -> Predictor:
        native = self._made(decoder)
        packed = native.packed()
        keep(packed | _rest(decoder, packed))
        return native

    def restore(self, decoder: Decoder, kept: Arrays) -> Predictor:
        return self._made(_with_rest(decoder, kept), kept)

    def _made(self, decoder: Decoder, packed: Arrays | None = None) -> NativeDecoder:
        from musicgen_space.engine.native.decoder import NativeDecoder

        mode = _NATIVE_MODES[self.mode]
        return NativeDecoder(decoder, mode, self.library, self.threads, packed=packed)


@dataclass(frozen=True, slots=True)
class _ToOnnx:
    threads: int
    form: str = "onnx"

    def convert(self, decoder: Decoder, keep: Callable[[Arrays], None]) -> Predictor:
        from musicgen_space.engine.onnx_decoder import OnnxDecoder, pack

        packed = pack(decoder)
        keep(packed | _rest(decoder, packed))
        return OnnxDecoder(decoder, packed, threads=self.threads)

    def restore(self, decoder: Decoder, kept: Arrays) -> Predictor:
        from musicgen_space.engine.onnx_decoder import OnnxDecoder

        rest = decoder.state_dict().keys()
        packed = {name: kept[name] for name in kept if name not in rest}
        return OnnxDecoder(_with_rest(decoder, kept), packed, threads=self.threads)


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


def has_fbgemm() -> bool:
    """Whether torch has FBGEMM here; on ARM it has not."""
    return "fbgemm" in torch.backends.quantized.supported_engines


class HalfLinear(nn.Module):
    """``nn.Linear`` with its weight packed in float16; it computes in float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._packed = torch.ops.quantized.linear_prepack_fp16(linear.weight, linear.bias)

    def unpacked(self) -> torch.Tensor:
        """The weight: float32 [out features, in features]."""
        weight: torch.Tensor = torch.ops.quantized.linear_unpack_fp16(self._packed)[0]
        return weight.float()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[…, in features] → […, out features]."""
        outputs: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(inputs, self._packed)
        return outputs


def halve_lossless(model: nn.Module) -> int:
    """Replace every ``nn.Linear`` whose float32 weights are float16 numbers; → how many.

    Does nothing off the CPU and where torch has no FBGEMM (ARM).
    """
    if not has_fbgemm():
        return 0
    replaced = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and _is_lossless(child.weight):
                setattr(parent, name, HalfLinear(child))
                replaced += 1
    return replaced


def weight_of(linear: nn.Module) -> torch.Tensor:
    """The weight [out features, in features] of a linear, halved or not."""
    weight = linear.unpacked() if isinstance(linear, HalfLinear) else linear.weight
    return cast(torch.Tensor, weight).detach()


def is_half(weight: torch.Tensor) -> bool:
    """Whether float32 weights are float16 numbers."""
    return bool((weight.half().float() == weight).all())


def _is_lossless(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and is_half(weight)
