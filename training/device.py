"""Where training computes."""

from __future__ import annotations

import torch

__all__ = ["choose_device"]


def choose_device() -> torch.device:
    """The GPU, set up to be quick, if there is one; else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")
