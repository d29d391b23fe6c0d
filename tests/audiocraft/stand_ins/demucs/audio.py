"""Demucs' change of rate and channels, which AudioCraft calls before and after separation."""

from __future__ import annotations

import torch

__all__ = ["convert_audio"]


def convert_audio(wav: torch.Tensor, rate: int, to_rate: int, channels: int) -> torch.Tensor:
    """Sound [B, C, N] mixed down to mono; ``Whole`` never asks for another rate."""
    if rate != to_rate or channels != 1:
        raise NotImplementedError("The stand-in for Demucs knows mono at one rate only.")
    return wav.mean(dim=1, keepdim=True)
