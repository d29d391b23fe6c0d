"""Loads tensors from weight files into modules.

Files are memory-mapped: names and shapes are known at once, and the data of a tensor is read
when it is copied into its module, so a model is never in memory twice. Only plain tensors
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
from musicgen_space.engine.checkpoint.untrusted import check_weight_file, is_archive
from musicgen_space.errors import InvalidCheckpoint, is_out_of_memory

__all__ = [
    "LazyTensor",
    "Patch",
    "Sources",
    "Weights",
    "as_weights",
    "check_sources",
    "check_tensor",
    "load_weights",
    "read_pickle",
    "read_tensors",
    "select",
    "strip_wrappers",
]


class Patch(Protocol):
    """A modification of a tensor at load time, by a LoRA adapter for one."""

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The patch's own tensors."""

    @property
    def scale(self) -> float:
        """The factor by which they are applied."""

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """The patched ``weight``, a new float32 tensor on the same device."""


@dataclass(frozen=True, slots=True, eq=False)
class LazyTensor:
    """A mapped tensor, or some of its rows, with its ``name`` in the file and a ``patch``."""

    name: str
    tensor: torch.Tensor
    patch: Patch | None = None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All tensors that its values depend on."""
        return (self.tensor, *(self.patch.tensors if self.patch else ()))

    def read(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """A copy in memory."""
        if self.patch is None:
            return self.tensor.to(device, dtype, copy=True)
        return self.patch.apply(self.tensor.to(device)).to(dtype)


# The tensors of a file by name.
Weights = dict[str, LazyTensor]

# Parameter name of a module → the tensors that are concatenated to it, in this order.
Sources = dict[str, list[LazyTensor]]

# Name parts added by training wrappers: torch.compile, DistributedDataParallel, FSDP and
# activation checkpointing.
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_PEFT = "base_model.model."
_MAX_ALIASES = 4  # names of one tensor in a file: T5's embedding has four

# EnCodec's statistics of its codebooks, which only training uses.
_TRAINING_ONLY = ("inited", "cluster_size", "embed_avg")


def read_tensors(files: Iterable[Path]) -> Weights:
    """All tensors of ``files``, mapped; raises ``InvalidCheckpoint``."""
    weights: Weights = {}
    for file in files:
        safe = file.suffix == ".safetensors"
        weights |= as_weights(_mapped(file) if safe else read_pickle(file), file)
    return weights


def as_weights(content: object, file: Path) -> Weights:
    """The ``content`` of ``file``, checked to be tensors by name; raises ``InvalidCheckpoint``."""
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in content.items()
    ):
        nested = isinstance(content, dict) and any(
            isinstance(each, dict) for each in content.values()
        )
        raise InvalidCheckpoint(
            f"{file.name} does not hold tensors by name."
            + f" It may be a training checkpoint. {SAVE}" * nested
        )
    # A stride of 0 makes a tensor of any size from one number; aliases are common.
    if sum(map(_bytes, content.values())) > _MAX_ALIASES * file.stat().st_size:
        raise InvalidCheckpoint(f"{file.name} claims more tensor data than the file has bytes.")
    weights = {strip_wrappers(name): LazyTensor(name, tensor) for name, tensor in content.items()}
    if len(weights) < len(content):
        kept = {rows.name for rows in weights.values()}
        twice = min(name for name in content if name not in kept)
        raise InvalidCheckpoint(
            f"{file.name} holds {strip_wrappers(twice)} twice, also as {twice}."
        )
    return weights


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def strip_wrappers(name: str) -> str:
    """A tensor's name without the prefixes of training wrappers and PEFT."""
    return _WRAPPERS.sub("", name).removeprefix(_PEFT)


def read_pickle(file: Path) -> Any:
    """The content of a ``torch.save`` file, tensors mapped; raises ``InvalidCheckpoint``."""
    try:
        check_weight_file(file)
        # Files of torch before 1.6 are not zip archives and can't be mapped.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive(file))
    except Exception as error:  # a damaged pickle can raise anything
        raise _unreadable(file, error) from None


def _mapped(file: Path) -> dict[str, torch.Tensor]:
    try:
        check_weight_file(file)
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # its own error, or what its header makes torch raise
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> Exception:
    if isinstance(error, InvalidCheckpoint) or is_out_of_memory(error):
        return error
    reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
    if "weights_only" in reason:  # torch's advice is to load it unsafely
        reason = "it is not a file of plain tensors."
    return InvalidCheckpoint(f"{file.name} is damaged: {reason}")


def select(weights: Weights, prefix: str) -> Weights:
    """The tensors whose names start with ``prefix``, which is removed."""
    return {
        name.removeprefix(prefix): rows for name, rows in weights.items() if name.startswith(prefix)
    }


def check_sources(module: nn.Module, sources: Sources, what: str) -> None:
    """Raise ``InvalidCheckpoint`` if ``sources`` doesn't fit ``module``. Reads no tensor data."""
    for name, target in _targets(module).items():
        if name not in sources:
            raise InvalidCheckpoint(f"The checkpoint lacks {name} of {what}.")
        pieces = sources[name]
        for piece in pieces:
            check_tensor(piece, (target.shape[0] // len(pieces), *target.shape[1:]))


def check_tensor(piece: LazyTensor, shape: tuple[int, ...]) -> None:
    """Raise ``InvalidCheckpoint`` unless it has this shape and is dense floating-point."""
    if tuple(piece.tensor.shape) != shape:
        raise InvalidCheckpoint(
            f"{piece.name} has the shape {_shown(piece.tensor.shape)}, but by the checkpoint's "
            f"configuration it should be {_shown(shape)}."
        )
    if not piece.tensor.is_floating_point() or piece.tensor.layout is not torch.strided:
        kind = str(piece.tensor.dtype).removeprefix("torch.")
        raise InvalidCheckpoint(f"{piece.name} is stored as {kind}, which can't be read here.")


def _shown(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape)) or "of a single number"


def load_weights(
    module: nn.Module,
    sources: Sources,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Load ``sources`` into ``module``, which may be on the meta device; empties ``sources``.

    Raises ``InvalidCheckpoint`` for infinite or NaN weights.
    """
    state = {name: _stacked(sources.pop(name), device, dtype) for name in _targets(module)}
    module.load_state_dict(state, strict=False, assign=True)
    module.eval().requires_grad_(False)


def _targets(module: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors to load by name; shared ones once."""
    persistent = module.state_dict().keys()
    tensors = (*module.named_parameters(), *module.named_buffers())
    return {
        name: tensor
        for name, tensor in tensors
        if name in persistent and name.rpartition(".")[2] not in _TRAINING_ONLY
    }


def _stacked(pieces: list[LazyTensor], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    copies = [piece.read(device, dtype) for piece in pieces]
    for piece, copy in zip(pieces, copies, strict=True):
        # A sum is finite only if all of its terms are.
        if not copy.sum(dtype=torch.float32).isfinite():
            raise InvalidCheckpoint(f"{piece.name} holds numbers that are not finite.")
    return copies[0] if len(copies) == 1 else torch.cat(copies)
