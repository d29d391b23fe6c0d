"""The interface of a runtime: it turns a loaded decoder into one that is fast on this machine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch

from musicgen_space.engine.model import Decoder, Predictor
from musicgen_space.engine.sampling import Sampler

__all__ = ["Arrays", "Runtime"]

Arrays = Mapping[str, np.ndarray]  # converted weights by name


class Runtime(Protocol):
    """Computes decoder steps with weights in one format."""

    @property
    def weight_format(self) -> str | None:
        """Names the converted weights, which are worth caching on disk; None: they are not."""

    @property
    def load_dtype(self) -> torch.dtype:
        """What the checkpoint's weights are to be loaded as."""

    @property
    def converted_width(self) -> float | None:
        """Bytes of memory of a converted weight, at most; None: it stays as it was loaded."""

    @property
    def codec_kernel(self) -> ctypes.CDLL | None:
        """What may compute EnCodec with rounded weights; None: it stays as published."""

    def sampler(self) -> Sampler:
        """What draws the codes."""

    def convert(self, decoder: Decoder, save: Callable[[Arrays], None]) -> Predictor:
        """The decoder on this runtime; ``save`` gets the arrays that ``restore`` needs."""

    def restore(self, decoder: Decoder, arrays: Arrays) -> Predictor:
        """The same from saved arrays, which need not fit: then it may raise anything.

        ``decoder`` is on the meta device: it has shapes only.
        """
