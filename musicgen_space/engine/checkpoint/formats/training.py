"""What training leaves behind, told from checkpoints by its name, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch

__all__ = ["EXPORT", "SAVE", "advice"]

EXPORT = (
    "AudioCraft makes a model of it: audiocraft.utils.export has export_lm, for state_dict.bin, "
    "and for compression_state_dict.bin export_encodec, or export_pretrained_compression_model "
    "with the name of a published EnCodec."
)
# For weights that come without their configuration.
SAVE = (
    "With transformers, save_pretrained writes a folder that can be loaded. Weights of AudioCraft "
    "take the place of best_state in the state_dict.bin of the model that they were trained from; "
    "its compression_state_dict.bin belongs beside it."
)
# Files by their names: what they are, and what to do.
_KINDS = (
    ("*.th", "a training checkpoint of AudioCraft", EXPORT),
    ("*.ckpt", "a training checkpoint of PyTorch Lightning, with weights in state_dict", SAVE),
    ("*.pt", "weights that a training program saved without their configuration", SAVE),
    ("*.pth", "weights that a training program saved without their configuration", SAVE),
)
# What transformers' Trainer writes beside a model, which holds no weights of it.
_BESIDE = ("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth")


def advice(names: Iterable[str]) -> str:
    """What the first of the files ``names`` is that training leaves behind; "" without any."""
    for name in sorted(names):
        for pattern, what, to_do in _KINDS:
            if fnmatch(name, pattern) and not any(fnmatch(name, other) for other in _BESIDE):
                return f" {name} is {what}. {to_do}"
    return ""
