"""Where training computes, and in which numbers."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

__all__ = ["choose_device", "half_precision"]


def choose_device() -> torch.device:
    """The GPU, set up to be quick, if there is one; else the CPU.

    There only tiny models are trained, whose threads would mostly wait for each other.
    """
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")


def half_precision(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 on a GPU. No cache of converted weights: a recorded step must convert them anew."""
    on_gpu = device.type == "cuda"
    return torch.autocast(device.type, torch.bfloat16, enabled=on_gpu, cache_enabled=False)
