"""How much memory is left, and how much a model and a take need. Every number is in bytes."""

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
from musicgen_space.engine.checkpoint.opening import check_weights
from musicgen_space.engine.checkpoint.tensors import bare_name, read_pickle
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.placement import Placement
from musicgen_space.engine.windows import WINDOW_SECONDS
from musicgen_space.errors import InvalidCheckpoint

__all__ = ["checkpoint_bytes", "free_bytes", "model_bytes", "release", "take_bytes"]

# Besides weights and caches there are activations, tables and the allocator's gaps.
_MARGIN = 1.1
_FLOAT32 = 4


def free_bytes(device: torch.device) -> int:
    """What a model on ``device`` may still take.

    On the CPU and on Apple's GPU, which shares its memory, that is what the system calls
    available, or less where a container's limit is nearer: a Space may have 16 GB on a
    host of many more.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps for itself but doesn't use is as good as free.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    rooms = [int(psutil.virtual_memory().available), *_rooms_of_containers()]
    if device.type == "mps":
        rooms.append(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return max(0, min(rooms))


def release() -> None:
    """Give memory that nothing refers to any more back to the system or the graphics card."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed, a gigabyte at times
    torch.cuda.empty_cache()  # nothing, where there is no card
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def model_bytes(decoder_weights: int, other_weights: int, placement: Placement) -> int:
    """What a model needs while it is loaded; the others, T5 and EnCodec, are in float32."""
    width = placement.dtype.itemsize
    return int(_MARGIN * (decoder_weights * width + other_weights * _FLOAT32))


def checkpoint_bytes(folder: Path, placement: Placement) -> int:
    """What the checkpoint in ``folder`` needs, by the headers of its files: nothing is read.

    A damaged file counts by its size; what is wrong with it, the loader will say. An adapter's
    base is what counts: its weights change the base's as those are read.
    """
    decoder = others = 0
    for file in _weight_files(folder):
        for name, count in _weights(file):
            if bare_name(name).startswith(("text_encoder.", "audio_encoder.")):
                others += count
            else:
                decoder += count
    return model_bytes(decoder, others, placement)


def take_bytes(
    config: DecoderConfig, placement: Placement, *, seconds: float, rows: int, frame_rate: int
) -> int:
    """What a take of ``seconds`` needs besides the model: keys and values of all columns.

    ``rows`` is the size of the batch (see ``conditions``), ``frame_rate`` is in columns a
    second. Of a long take, only one window is in memory.
    """
    columns = math.ceil(min(seconds, WINDOW_SECONDS) * frame_rate) + config.chroma_frames
    cache = 2 * config.layers * rows * columns * config.width * placement.dtype.itemsize
    return int(_MARGIN * cache)


def _weight_files(folder: Path) -> list[Path]:
    if is_audiocraft(folder):
        return [file for name in AUDIOCRAFT_FILES if (file := folder / name).is_file()]
    with suppress(InvalidCheckpoint):  # what is missing, the loader will say
        return weight_files(folder)
    return []


def _weights(file: Path) -> Iterator[tuple[str, int]]:
    """The names of a file's tensors, and how many weights each has."""
    try:
        if file.suffix == ".safetensors":
            check_weights(file)
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (not a mapping)
                    yield name, math.prod(tensors.get_slice(name).get_shape())
        else:
            for name, value in read_pickle(file).items():
                yield str(name), value.numel()
    except Exception:  # a damaged pickle can raise anything; AudioCraft's own lies deeper
        yield "", file.stat().st_size // torch.float16.itemsize


# Where Linux tells of control groups: of version 2, and of the older version 1. Each has
# its limit, its usage, and the part of the usage that is only a cache of files.
# https://docs.kernel.org/admin-guide/cgroup-v2.html, …/cgroup-v1/memory.html
_VERSION_2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
_VERSION_1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)


def _rooms_of_containers(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """What each control group that this process is in would still allow; nothing elsewhere."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, names = (root / "memory", _VERSION_1) if controllers else (root, _VERSION_2)
        # A container may show its own group as the top one, under which the path isn't there.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):
                yield from _room_of(folder, *names)


def _room_of(group: Path, limit: str, usage: str, caches: tuple[str, ...]) -> Iterator[int]:
    try:
        most = (group / limit).read_text().strip()
        used = int((group / usage).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    if most != "max":
        yield int(most) - used + sum(int(stat.get(name, 0)) for name in caches)
