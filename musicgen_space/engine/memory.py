"""Memory that is free, and that a model or a take needs. Every number is in bytes."""

from __future__ import annotations

import ctypes
import gc
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import torch
from safetensors import safe_open

from musicgen_space.engine.checkpoint.files import AUDIOCRAFT_FILES, is_audiocraft, weight_files
from musicgen_space.engine.checkpoint.tensors import read_pickle, strip_wrappers
from musicgen_space.engine.checkpoint.untrusted import check_weight_file
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.placement import Placement
from musicgen_space.engine.windows import WINDOW_SECONDS
from musicgen_space.errors import InvalidCheckpoint

__all__ = ["checkpoint_bytes", "free_bytes", "model_bytes", "release", "take_bytes"]

# For activations, tables and fragmentation, besides weights and caches.
_MARGIN = 1.1
_FLOAT32 = 4


def free_bytes(device: torch.device) -> int:
    """What can still be allocated on ``device``.

    On the CPU and on Apple's GPU, which shares its memory, the system's available memory or
    what is left of a container's limit, whichever is less: a Space may have 16 GB on a host
    with far more.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Torch's caching allocator reuses what it has reserved.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    available = [int(psutil.virtual_memory().available), *_cgroup_headroom()]
    if device.type == "mps":
        available.append(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return max(0, min(available))


def release() -> None:
    """Collect garbage and return freed memory to the system and the GPU."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(0)  # glibc holds on to freed memory, up to a gigabyte
    torch.cuda.empty_cache()  # a no-op without CUDA
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def model_bytes(decoder_weights: int, other_weights: int, placement: Placement) -> int:
    """What a model needs once loaded; ``other_weights`` (T5 and EnCodec) are in float32."""
    width = placement.dtype.itemsize
    return int(_MARGIN * (decoder_weights * width + other_weights * _FLOAT32))


def checkpoint_bytes(folder: Path, placement: Placement) -> int:
    """What the checkpoint in ``folder`` needs once loaded, by the headers of its files.

    A damaged file counts by its size; the loader reports what is wrong with it. An adapter
    adds nothing to its base, whose folder this expects.
    """
    decoder = others = 0
    for file in _weight_files(folder):
        for name, count in _tensor_sizes(file):
            if strip_wrappers(name).startswith(("text_encoder.", "audio_encoder.")):
                others += count
            else:
                decoder += count
    return model_bytes(decoder, others, placement)


def take_bytes(
    config: DecoderConfig, placement: Placement, *, seconds: float, rows: int, frame_rate: int
) -> int:
    """The KV cache of a take of ``seconds``, which it needs besides the model.

    ``rows`` is the batch size (see ``conditioning``), ``frame_rate`` in Hz. Of a long take,
    only one window is in memory.
    """
    positions = math.ceil(min(seconds, WINDOW_SECONDS) * frame_rate) + config.chroma_frames
    cache = 2 * config.layers * rows * positions * config.width * placement.dtype.itemsize
    return int(_MARGIN * cache)


def _weight_files(folder: Path) -> list[Path]:
    if is_audiocraft(folder):
        return [file for name in AUDIOCRAFT_FILES if (file := folder / name).is_file()]
    with suppress(InvalidCheckpoint):  # the loader reports what is missing
        return weight_files(folder)
    return []


def _tensor_sizes(file: Path) -> Iterator[tuple[str, int]]:
    """The names of a file's tensors, and their numbers of elements."""
    try:
        if file.suffix == ".safetensors":
            check_weight_file(file)
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (not a mapping)
                    yield name, math.prod(tensors.get_slice(name).get_shape())
        else:
            for name, value in read_pickle(file).items():
                yield str(name), value.numel()
    except Exception:  # a damaged pickle raises anything; AudioCraft's is nested
        yield "", file.stat().st_size // torch.float16.itemsize


# Linux control groups, version 2 and 1: the files of the limit, of the usage, and the keys of
# the part of the usage that is reclaimable page cache.
# https://docs.kernel.org/admin-apply_guidance/cgroup-v2.html, …/cgroup-v1/memory.html
_CGROUP_2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
_CGROUP_1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)


def _cgroup_headroom(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """What is left of the limit of each control group of this process; nothing off Linux."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, names = (root / "memory", _CGROUP_1) if controllers else (root, _CGROUP_2)
        # In a container, its own group may be mounted as the root, without the path below it.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):
                yield from _headroom_of(folder, *names)


def _headroom_of(group: Path, limit: str, usage: str, caches: tuple[str, ...]) -> Iterator[int]:
    try:
        limit_text = (group / limit).read_text().strip()
        used = int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    if limit_text != "max":
        yield int(limit_text) - used + sum(int(stat.get(name, 0)) for name in caches)
