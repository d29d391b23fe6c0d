"""Where a model computes, and in which numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["CPU", "Placement", "choose_placement"]


@dataclass(frozen=True, slots=True)
class Placement:
    """``device`` and ``dtype`` of the decoder, and the ``codec_device`` of EnCodec.

    T5 lives beside the decoder; it and EnCodec, small and sensitive, compute in float32.
    """

    device: torch.device
    dtype: torch.dtype
    codec_device: torch.device


_CPU = torch.device("cpu")
CPU = Placement(_CPU, torch.float32, _CPU)


def choose_placement(device: str = "auto", dtype: str = "auto") -> Placement:
    """The placement for the settings ``MUSICGEN_DEVICE`` and ``MUSICGEN_DTYPE``."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    if dtype == "auto":
        dtype = "float32" if chosen.type == "cpu" else "bfloat16"
    return Placement(chosen, getattr(torch, dtype), chosen)
