"""The three names that AudioCraft looks up; with its attention backend "torch" it uses one."""

from __future__ import annotations

import torch

__all__ = ["LowerTriangularMask", "memory_efficient_attention", "unbind"]

unbind = torch.unbind


class LowerTriangularMask:
    """Looked up, never made."""


def memory_efficient_attention(*_: object, **__: object) -> torch.Tensor:
    """Looked up, never called."""
    raise NotImplementedError("Only AudioCraft's attention backend 'torch' works without xFormers.")
