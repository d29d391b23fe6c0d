"""Memory that is free, and that a model or a take needs. Every number is in bytes."""

from __future__ import annotations

import ctypes
import gc
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from safetensors import safe_open

from musicgen_space.engine.checkpoint.files import AUDIOCRAFT_FILES, is_audiocraft, weight_files
from musicgen_space.engine.checkpoint.tensors import read_pickle, strip_wrappers
from musicgen_space.engine.checkpoint.untrusted import check_weight_file
from musicgen_space.engine.runtimes.base import Runtime
from musicgen_space.engine.windows import WINDOW_SECONDS, context_seconds
from musicgen_space.errors import InvalidCheckpoint
from musicgen_space.request import MusicRequest

if TYPE_CHECKING:
    from musicgen_space.engine.musicgen import MusicGen

__all__ = [
    "Weights",
    "checkpoint_bytes",
    "free_bytes",
    "model_bytes",
    "release",
    "takes_bytes",
]

_MARGIN = 1.1  # for activations, tables and fragmentation …
_TAKES_MARGIN = 1.25  # … and for what the heaps of two threads keep while takes are made
_FLOAT32 = 4
# EnCodec's weights while it is loaded, as measured: those that it is made with, those of the
# checkpoint, and what its decoder computes with (rounded copies, or the LSTM's, packed).
_CODEC_WIDTH = 10
_CHARACTERS_OF_A_TOKEN = 3  # T5's tokens have more in most languages


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


@dataclass(frozen=True, slots=True)
class Weights:
    """How many weights the parts of a model have."""

    decoder: int = 0
    text: int = 0
    codec: int = 0

    def __add__(self, other: Weights) -> Weights:
        return Weights(
            self.decoder + other.decoder, self.text + other.text, self.codec + other.codec
        )


def model_bytes(weights: Weights, runtime: Runtime) -> int:
    """What loading a model needs; once loaded, it needs less.

    The decoder comes first: as it was loaded, and as ``runtime`` converts it. T5 and EnCodec
    are in float32.
    """
    loaded, converted = runtime.load_dtype.itemsize, runtime.converted_width
    decoder = weights.decoder * (converted or loaded)
    others = weights.text * _FLOAT32 + weights.codec * _CODEC_WIDTH
    converting = weights.decoder * loaded if converted else 0
    return int(_MARGIN * (decoder + max(converting, others)))


def checkpoint_bytes(folder: Path, runtime: Runtime) -> int:
    """What loading the checkpoint in ``folder`` needs, by the headers of its files.

    A damaged file counts by its size; the loader reports what is wrong with it. An adapter
    adds nothing to its base, whose folder this expects.
    """
    weights = Weights()
    for file in _weight_files(folder):
        for name, count in _tensor_sizes(file):
            weights += _weights(strip_wrappers(name), count)
    return model_bytes(weights, runtime)


def takes_bytes(model: MusicGen, requests: Sequence[MusicRequest]) -> int:
    """What takes that are made together need besides ``model``.

    Each has a KV cache and its sound. EnCodec decodes one at a time.
    """
    codec, channels = model.codec, model.decoder.config.channels
    held = sum(_cache_bytes(model, each) + _sound_bytes(model, each) for each in requests)
    sounds = max(each.variations * channels for each in requests)
    return int(_TAKES_MARGIN * (held + sounds * codec.push_bytes))


def _cache_bytes(model: MusicGen, request: MusicRequest) -> int:
    """The KV cache: of a long take, only one window is in memory."""
    decoder, frame_rate = model.decoder, model.codec.frame_rate
    seconds = request.duration + context_seconds(request.given_seconds, request.duration)
    branches = 1 + bool(request.blend_prompt) + (request.guidance_scale != 1)
    characters = max(len(request.prompt), len(request.negative_prompt), len(request.blend_prompt))
    positions = math.ceil(min(seconds, WINDOW_SECONDS) * frame_rate) + decoder.config.codebooks
    read = decoder.config.chroma_frames + characters // _CHARACTERS_OF_A_TOKEN + 1
    rows = request.variations * branches
    of_positions = (positions + read) * decoder.config.width * _FLOAT32
    return rows * (positions + read) * decoder.position_bytes + of_positions


def _sound_bytes(model: MusicGen, request: MusicRequest) -> int:
    """Its samples: their pieces, and at the end the whole as well."""
    samples = math.ceil(request.total_seconds * model.codec.sample_rate)
    return 2 * request.variations * model.decoder.config.channels * samples * _FLOAT32


def _weights(name: str, count: int) -> Weights:
    """So many of the part that the tensor ``name`` belongs to."""
    if name.startswith("text_encoder."):
        return Weights(text=count)
    if name.startswith("audio_encoder."):
        return Weights(codec=count)
    return Weights(decoder=count)


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
