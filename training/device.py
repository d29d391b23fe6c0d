"""Where training computes."""

from __future__ import annotations

import torch

__all__ = ["choose_device"]


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
