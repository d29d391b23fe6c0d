"""Which model makes the takes of whoever chooses none: one rule for every backend of our engine."""

from __future__ import annotations

from collections.abc import Callable

from musicgen_space.models import EMBEDDED_MODEL
from musicgen_space.settings import Settings

__all__ = ["MODEL_FOR_GPUS", "default_model"]

MODEL_FOR_GPUS = "facebook/musicgen-small"


def default_model(settings: Settings, has_gpu: Callable[[], bool]) -> str:
    """The default model's name: MUSICGEN_MODEL's, else the embedded one's.

    Only where that is ``auto`` it depends on ``has_gpu``, which may be slow to tell: it is called
    then only.
    """
    if settings.model == "auto":
        return MODEL_FOR_GPUS if has_gpu() else EMBEDDED_MODEL
    return settings.model or EMBEDDED_MODEL
