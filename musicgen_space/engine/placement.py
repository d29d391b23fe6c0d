"""Where a model runs: device, dtype, and options of the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from musicgen_space.errors import InvalidSetting

__all__ = ["CPU", "Placement", "choose_placement"]


@dataclass(frozen=True, slots=True)
class Placement:
    """``device`` and ``dtype`` of the decoder, and the ``codec_device`` of EnCodec.

    T5 is on the decoder's device; T5 and EnCodec, small and sensitive, compute in float32.

    For the native runtime on a CPU: ``quant`` is the format of the decoder's weights (see
    ``runtimes.native.runtime``), ``threads`` the number of threads, and ``native`` False
    turns it off. For torch on CUDA: so many takes ``at_once`` share a step, and ``graphs``
    False turns its CUDA graphs off. ``cache`` is the folder for compiled kernels and converted
    weights; None: kernels go to ``build.default_cache``, and weights are not cached.
    """

    device: torch.device
    dtype: torch.dtype
    codec_device: torch.device
    quant: str = "none"
    threads: int = 1
    native: bool = True
    cache: Path | None = None
    at_once: int = 8
    graphs: bool = True


_CPU = torch.device("cpu")
CPU = Placement(_CPU, torch.float32, _CPU)
_FIRST_WITH_BFLOAT16 = (8, 0)  # CUDA compute capability; older GPUs emulate it slowly


def choose_placement(
    device: str = "auto",
    dtype: str = "auto",
    quant: str = "none",
    threads: int = 1,
    native: bool = True,
    cache: Path | None = None,
    at_once: int = 8,
    graphs: bool = True,
) -> Placement:
    """The placement for the settings ``MUSICGEN_DEVICE``, ``MUSICGEN_DTYPE`` and so on.

    ``auto`` is CUDA if available, else the CPU. It is never ``mps``, Apple's GPU, where some
    releases of torch silently compute wrong attention over slices of a cache, as our decoder
    has them (pytorch issues 163597, 181133). If chosen explicitly, it gets float32 (half
    precision has more such bugs: 195910), and EnCodec runs on the CPU, as its output is
    longer than MPS convolutions support (pytorch issue 152278).

    Raises ``InvalidSetting`` if this machine has no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    available = _devices()
    if device not in available:
        raise InvalidSetting(
            f"MUSICGEN_DEVICE is {device}, but torch finds only {', '.join(available)} here."
        )
    chosen = torch.device(device)
    weights = _default_dtype(chosen) if dtype == "auto" else _DTYPES[dtype]
    unquantised = chosen.type != "cpu" or weights != torch.float32
    return Placement(
        chosen,
        weights,
        _CPU if chosen.type == "mps" else chosen,
        "none" if unquantised else quant,
        threads,
        native and not unquantised,
        cache,
        at_once,
        graphs,
    )


_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def _devices() -> list[str]:
    """The devices that torch finds here."""
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if gpus else []), *gpus, *apple]


def _default_dtype(device: torch.device) -> torch.dtype:
    # Float16 is safe as well: it is AudioCraft's choice for CUDA (models/loaders.py).
    if device.type != "cuda":
        return torch.float32
    capability = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if capability >= _FIRST_WITH_BFLOAT16 else torch.float16
