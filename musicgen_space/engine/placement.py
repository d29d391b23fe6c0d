"""Where a model computes, in which numbers, and by what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from musicgen_space.errors import InvalidSetting

__all__ = ["CPU", "Placement", "choose_placement"]


@dataclass(frozen=True, slots=True)
class Placement:
    """``device`` and ``dtype`` of the decoder, and the ``codec_device`` of EnCodec.

    T5 lives beside the decoder; it and EnCodec, small and sensitive, compute in float32.

    On a CPU, ``quant`` is how the decoder's weights are kept (see ``quantise``), ``threads``
    is how many share a step of it, and ``native`` whether it is our own kernel that does.
    ``cache`` is the folder of what is made once on this machine, a compiled kernel and
    converted weights; None: the kernel is in its usual one, and weights are not kept.
    """

    device: torch.device
    dtype: torch.dtype
    codec_device: torch.device
    quant: str = "none"
    threads: int = 1
    native: bool = True
    cache: Path | None = None


_CPU = torch.device("cpu")
CPU = Placement(_CPU, torch.float32, _CPU)
_FIRST_WITH_BFLOAT16 = (8, 0)  # CUDA's compute capability; older ones emulate it, slowly


def choose_placement(
    device: str = "auto",
    dtype: str = "auto",
    quant: str = "none",
    threads: int = 1,
    native: bool = True,
    cache: Path | None = None,
) -> Placement:
    """The placement for the settings ``MUSICGEN_DEVICE``, ``MUSICGEN_DTYPE`` and so on.

    ``auto`` is CUDA where there is one, else the CPU. It is never ``mps``, Apple's GPU:
    on slices of a cache, as our decoder has them, some of torch's releases silently
    attend wrongly there (pytorch issues 163597, 181133). Whoever chooses it gets float32
    (in half precision there were more such: 195910), and EnCodec on the CPU, whose
    output is longer than MPS convolutions take (pytorch issue 152278).

    Raises ``InvalidSetting`` when this machine has no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    there = _devices()
    if device not in there:
        raise InvalidSetting(
            f"MUSICGEN_DEVICE is {device}, but torch finds only {', '.join(there)} here."
        )
    chosen = torch.device(device)
    numbers = _usual_dtype(chosen) if dtype == "auto" else _DTYPES[dtype]
    plain = chosen.type != "cpu" or numbers != torch.float32
    return Placement(
        chosen,
        numbers,
        _CPU if chosen.type == "mps" else chosen,
        "none" if plain else quant,
        threads,
        native and not plain,
        cache,
    )


_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def _devices() -> list[str]:
    """The names of the devices that torch can compute on."""
    cards = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if cards else []), *cards, *apple]


def _usual_dtype(device: torch.device) -> torch.dtype:
    # AudioCraft's own choice for CUDA is float16 (models/loaders.py), so that is safe too.
    if device.type != "cuda":
        return torch.float32
    capability = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if capability >= _FIRST_WITH_BFLOAT16 else torch.float16
