"""Recognises the files of training runs, which are no checkpoints yet, and tells what to do."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch

__all__ = ["EXPORT", "SAVE", "training_advice"]

EXPORT = (
    "AudioCraft makes a model of it: audiocraft.utils.export has export_lm, for state_dict.bin, "
    "and for compression_state_dict.bin export_encodec, or export_pretrained_compression_model "
    "with the name of a published EnCodec."
)
# For weights without their configuration.
SAVE = (
    "With transformers, save_pretrained writes a folder that can be loaded. Weights of AudioCraft "
    "take the place of best_state in the state_dict.bin of the model that they were trained from; "
    "its compression_state_dict.bin belongs beside it."
)
# Name pattern, what such a file is, how to convert it.
_KINDS = (
    ("*.th", "a training checkpoint of AudioCraft", EXPORT),
    ("*.ckpt", "a training checkpoint of PyTorch Lightning, with weights in state_dict", SAVE),
    ("*.pt", "weights that a training program saved without their configuration", SAVE),
    ("*.pth", "weights that a training program saved without their configuration", SAVE),
)
# What transformers' Trainer writes beside a model; they hold no weights.
_IGNORED = ("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth")


def training_advice(names: Iterable[str]) -> str:
    """A hint about the first training file among ``names``, with a leading space; "" if none."""
    for name in sorted(names):
        for pattern, what, to_do in _KINDS:
            if fnmatch(name, pattern) and not any(fnmatch(name, other) for other in _IGNORED):
                return f" {name} is {what}. {to_do}"
    return ""
