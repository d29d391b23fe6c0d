"""Tensors on their way from files into modules.

Files are mapped, not read: names and shapes are known at once, and the data of a tensor is
read when it is copied to its place, so a model is never in memory twice. Only plain tensors
are accepted (safetensors, or pickles under ``weights_only=True``), so no checkpoint can run
code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import nn

from musicgen_space.engine.checkpoint.formats.training import SAVE
from musicgen_space.engine.checkpoint.opening import check_weights, is_archive
from musicgen_space.errors import InvalidCheckpoint, is_out_of_memory

__all__ = [
    "Change",
    "Rows",
    "Sources",
    "Weights",
    "bare_name",
    "check",
    "fill",
    "part",
    "plain",
    "read_pickle",
    "read_tensors",
    "require",
]


class Change(Protocol):
    """What is made of a tensor when it is read, by some ``tensors`` and a ``scale``."""

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """What it is made with."""

    @property
    def scale(self) -> float:
        """How strongly."""

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        """The changed ``weight``, a new tensor in float32 on the same device."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A tensor of a file, or some of its rows, its ``name`` there and what changes it."""

    name: str
    tensor: torch.Tensor
    change: Change | None = None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All that its numbers come from."""
        return (self.tensor, *(self.change.tensors if self.change else ()))

    def read(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Its numbers, in memory of their own."""
        if self.change is None:
            return self.tensor.to(device, dtype, copy=True)
        return self.change.of(self.tensor.to(device)).to(dtype)


# What a file holds, by the names of the modules that it was saved from.
Weights = dict[str, Rows]

# A module's names, and what each of its tensors is made of, stacked in this order.
Sources = dict[str, list[Rows]]

# Parts of names that come from what training wraps around modules: torch.compile,
# DistributedDataParallel, FSDP and activation checkpointing.
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_PEFT = "base_model.model."
# Under which a file may hold one tensor: T5's embedding has four.
_MOST_NAMES = 4

# EnCodec keeps book of its codebooks while it is trained; nothing reads that afterwards.
_TRAINING_ONLY = ("inited", "cluster_size", "embed_avg")


def read_tensors(files: Iterable[Path]) -> Weights:
    """All tensors of ``files``, mapped; raises ``InvalidCheckpoint``."""
    weights: Weights = {}
    for file in files:
        safe = file.suffix == ".safetensors"
        weights |= plain(_mapped(file) if safe else read_pickle(file), file)
    return weights


def plain(content: object, file: Path) -> Weights:
    """``content`` of ``file``, if it is tensors by name; raises ``InvalidCheckpoint``."""
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in content.items()
    ):
        nested = isinstance(content, dict) and any(
            isinstance(each, dict) for each in content.values()
        )
        raise InvalidCheckpoint(
            f"{file.name} holds something else than tensors by name."
            + f" It may be a training checkpoint. {SAVE}" * nested
        )
    # Views of few numbers can have any size; the same tensor under several names is common.
    if sum(map(_bytes, content.values())) > _MOST_NAMES * file.stat().st_size:
        raise InvalidCheckpoint(f"{file.name} claims more numbers than a file of its size holds.")
    weights = {bare_name(name): Rows(name, tensor) for name, tensor in content.items()}
    if len(weights) < len(content):
        kept = {rows.name for rows in weights.values()}
        twice = min(name for name in content if name not in kept)
        raise InvalidCheckpoint(f"{file.name} holds {bare_name(twice)} twice, also as {twice}.")
    return weights


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def bare_name(name: str) -> str:
    """A tensor's name without what wrappers that are only there in training put into it."""
    return _WRAPPERS.sub("", name).removeprefix(_PEFT)


def read_pickle(file: Path) -> Any:
    """What ``torch.save`` wrote to ``file``, its tensors mapped; raises ``InvalidCheckpoint``."""
    try:
        check_weights(file)
        # Files of torch before 1.6 are no zip archives and can't be mapped.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive(file))
    except Exception as error:  # a damaged pickle can raise anything
        raise _unreadable(file, error) from None


def _mapped(file: Path) -> dict[str, torch.Tensor]:
    try:
        check_weights(file)
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # its own error, or what its header makes torch raise
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> Exception:
    if isinstance(error, InvalidCheckpoint) or is_out_of_memory(error):
        return error
    reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
    if "weights_only" in reason:  # torch advises then to run what such a file holds
        reason = "it is no file of plain tensors."
    return InvalidCheckpoint(f"{file.name} is damaged: {reason}")


def part(weights: Weights, prefix: str) -> Weights:
    """The tensors whose names begin with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): rows for name, rows in weights.items() if name.startswith(prefix)
    }


def require(module: nn.Module, sources: Sources, what: str) -> None:
    """Raise ``InvalidCheckpoint`` unless ``fill`` will find all it needs. Reads no data."""
    for name, place in _places(module).items():
        if name not in sources:
            raise InvalidCheckpoint(f"The checkpoint lacks {name} of {what}.")
        pieces = sources[name]
        for piece in pieces:
            check(piece, (place.shape[0] // len(pieces), *place.shape[1:]))


def check(piece: Rows, shape: tuple[int, ...]) -> None:
    """Raise ``InvalidCheckpoint`` unless it has this shape and is made of plain numbers."""
    if tuple(piece.tensor.shape) != shape:
        raise InvalidCheckpoint(
            f"{piece.name} has the shape {_shown(piece.tensor.shape)}, but the checkpoint's "
            f"configuration makes it {_shown(shape)}."
        )
    if not piece.tensor.is_floating_point() or piece.tensor.layout is not torch.strided:
        kind = str(piece.tensor.dtype).removeprefix("torch.")
        raise InvalidCheckpoint(f"{piece.name} is stored as {kind}, which can't be read here.")


def _shown(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape)) or "of a single number"


def fill(
    module: nn.Module,
    sources: Sources,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Give ``module``, which may be on the meta device, its tensors; ``sources`` is emptied.

    Raises ``InvalidCheckpoint`` where a number is infinite or none at all.
    """
    state = {name: _stacked(sources.pop(name), device, dtype) for name in _places(module)}
    module.load_state_dict(state, strict=False, assign=True)
    module.eval().requires_grad_(False)


def _places(module: nn.Module) -> dict[str, torch.Tensor]:
    """What must be filled, by name; what two names share comes once."""
    kept = module.state_dict().keys()
    tensors = (*module.named_parameters(), *module.named_buffers())
    return {
        name: tensor
        for name, tensor in tensors
        if name in kept and name.rpartition(".")[2] not in _TRAINING_ONLY
    }


def _stacked(pieces: list[Rows], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    copies = [piece.read(device, dtype) for piece in pieces]
    for piece, copy in zip(pieces, copies, strict=True):
        # Summed up in float32, one number that isn't finite spoils the sum.
        if not copy.sum(dtype=torch.float32).isfinite():
            raise InvalidCheckpoint(f"{piece.name} holds numbers that are not finite.")
    return copies[0] if len(copies) == 1 else torch.cat(copies)
