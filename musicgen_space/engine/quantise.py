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

from typing import Literal, cast

import torch
from torch import nn

from musicgen_space.engine.model import Decoder, Predictor
from musicgen_space.engine.placement import Placement

__all__ = [
    "HalfLinear",
    "halve_lossless",
    "has_fbgemm",
    "is_half",
    "mode_of",
    "quantised",
    "weight_of",
]

_NATIVE_MODES: dict[str, Literal["exact", "int8", "int4"]] = {
    "none": "exact",
    "int8": "int8",
    "int4": "int4",
}


def mode_of(placement: Placement) -> str:
    """none, int8 or int4."""
    return "int8" if placement.quant == "auto" else placement.quant


def quantised(decoder: Decoder, placement: Placement) -> Predictor:
    """The decoder with its weights kept as the placement says; it may go afterwards."""
    if placement.device.type != "cpu" or placement.dtype != torch.float32:
        return decoder
    from musicgen_space.engine.native.decoder import NativeDecoder

    if placement.native:
        mode = _NATIVE_MODES[mode_of(placement)]
        native = NativeDecoder.of(decoder, mode, threads=placement.threads)
        if native is not None:
            return native
    if mode_of(placement) != "none":
        from musicgen_space.engine.onnx_decoder import OnnxDecoder

        return OnnxDecoder(decoder, threads=placement.threads)
    halve_lossless(decoder)
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
