"""Lossless half-precision weights with float32 compute.

FBGEMM, part of torch on x86, multiplies float16 weights in float32: a decoder step reads
half the bytes and gives the same result.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

__all__ = ["HalfLinear", "fits_half", "halve_lossless", "has_fbgemm", "weight_of"]


def has_fbgemm() -> bool:
    """Whether torch has FBGEMM here; not on ARM."""
    return "fbgemm" in torch.backends.quantized.supported_engines


class HalfLinear(nn.Module):
    """``nn.Linear`` with its weight packed as float16, computing in float32."""

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
    """Replace every ``nn.Linear`` whose float32 weights fit float16 exactly; → how many.

    Does nothing off the CPU or without FBGEMM.
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
    """The weight [out features, in features] of an ``nn.Linear`` or ``HalfLinear``."""
    weight = linear.unpacked() if isinstance(linear, HalfLinear) else linear.weight
    return cast(torch.Tensor, weight).detach()


def fits_half(weight: torch.Tensor) -> bool:
    """Whether float32 weights are exactly representable in float16."""
    return bool((weight.half().float() == weight).all())


def _is_lossless(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and fits_half(weight)
