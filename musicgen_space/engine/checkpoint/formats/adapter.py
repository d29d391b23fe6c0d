"""LoRA adapters as PEFT writes them: ``adapter_config.json`` beside ``adapter_model.*``.

An adapter is small matrices by which the weights of its base were trained further; the base it
only names. A tensor is called ``base_model.model.MODULE.lora_A.weight``, perhaps with the
adapter's own name before ``weight``. Facts from PEFT 0.21: tuners/lora/config.py, layer.py and
variants.py, utils/save_and_load.py.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import torch

from musicgen_space.engine.checkpoint.files import (
    ADAPTER_CONFIG,
    adapter_file,
    is_adapter,
    read_json,
    refuse_both,
)
from musicgen_space.engine.checkpoint.named import find, has_config, is_name
from musicgen_space.engine.checkpoint.tensors import Weights, read_tensors
from musicgen_space.errors import InvalidCheckpoint

__all__ = ["Adapter", "LowRank"]

# Options with which the matrices mean something else, whatever their value is.
_FOREIGN = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
)
# The values that are supported of others. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA, which are
# ways to begin, change the base itself; of a base on the hub only the newest is fetched.
_SUPPORTED: Mapping[str, tuple[object, ...]] = {
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal", "mica"),
    "revision": (None, "", "main"),
}

_MATRIX = re.compile(
    r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?:\.[\w-]+)*?(?P<bias>\.bias)?(?:\.weight)?"
)
# Between a module's name and a tensor of it that was saved as a whole.
_WRAPPED = re.compile(r"\.(?:base_layer|modules_to_save\.\w+)(?=\.(?:weight|bias)$)")
# Patterns are names, at most with .* twice in them: others could take for ever to match.
_PATTERN = re.compile(r"(?!(?:.*?\.\*){3})\^?(?:[\w.-]|\.\*|\\\.|\\d)+\$?")

_Matrices = dict[str, torch.Tensor]  # of one module, by their part of the name


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """What LoRA makes of a weight W [out, in]: W + ``scale`` · B A.

    ``tensors`` are A [rank, in], B [out, rank] and, with DoRA, the lengths [out] that the rows
    get then. An embedding has its weight ``transposed``: [in, out].
    """

    tensors: tuple[torch.Tensor, ...]
    scale: float
    transposed: bool = False

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        """The changed ``weight``, a new tensor in float32 on the same device."""
        down, up, *lengths = (tensor.to(weight.device, torch.float32) for tensor in self.tensors)
        whole = weight.float()
        changed = (whole.T if self.transposed else whole) + self.scale * (up @ down)
        for length in lengths:
            changed *= (length / torch.linalg.vector_norm(changed, dim=1)).unsqueeze(1)
        return changed.T.contiguous() if self.transposed else changed

    def fits(self, weight: torch.Tensor) -> bool:
        """Whether it can change ``weight``."""
        shape = weight.shape[::-1] if self.transposed else weight.shape
        down, up, *lengths = (tensor.shape for tensor in self.tensors)
        return (
            len(shape) == len(down) == len(up) == 2
            and (up[0], down[1]) == shape
            and up[1] == down[0] > 0
            and all(length == up[:1] for length in lengths)
            and all(_is_plain(tensor) for tensor in self.tensors)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """The adapter in ``folder``; its ``config`` makes sense, its weights are not read yet."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Adapter | None:
        """The adapter in ``folder``, None where there is none; raises ``InvalidCheckpoint``."""
        if not is_adapter(folder):
            return None
        refuse_both((path.name for path in folder.iterdir()), folder)
        config = read_json(folder / ADAPTER_CONFIG)
        _check_options(config)
        return cls(folder, config)

    @property
    def base(self) -> str:
        """What its base is called, without folders of the machine that it was trained on."""
        named = str(self.config["base_model_name_or_path"])
        return named if is_name(named) else PureWindowsPath(named).name

    def base_folder(self, fetch: Callable[[str], Path]) -> Path:
        """The folder of its base: in the adapter's, beside it, where it is named, or fetched.

        Raises ``InvalidCheckpoint``, or what ``fetch`` raises.
        """
        named = str(self.config["base_model_name_or_path"])
        folder = find(named, self.folder, fetch) if is_name(named) else self._place(named)
        if is_adapter(folder):
            raise InvalidCheckpoint(
                f"{self.folder} is an adapter of {self.base}, which is an adapter itself. "
                "Merge that one into its base first, by PEFT's merge_and_unload()."
            )
        if not has_config(folder):
            raise InvalidCheckpoint(
                f"{self.folder} is an adapter of {self.base}, which is not in transformers' "
                "format: adapters can't be applied to others."
            )
        return folder

    def _place(self, path: str) -> Path:
        for place in (
            Path(os.path.expanduser(path)),
            self.folder / self.base,
            self.folder.parent / self.base,
        ):
            if has_config(place):
                return place
        raise InvalidCheckpoint(
            f"{self.folder} is an adapter of {path}, which is not there. In its {ADAPTER_CONFIG}, "
            "let base_model_name_or_path be that model's folder or its name on the hub."
        )

    @property
    def file(self) -> Path:
        """What its weights are in; raises ``InvalidCheckpoint`` without it."""
        return adapter_file(self.folder)

    def applied(self, weights: Weights) -> Weights:
        """The base's ``weights`` with the adapter's changes, which are made as they are read.

        Raises ``InvalidCheckpoint`` unless they fit, to the last one.
        """
        modules, whole = _sorted(read_tensors([self.file]), self.file)
        weights = dict(weights)
        for name, rows in whole.items():
            weights[self._found(name, weights, rows.tensor)] = rows
        for module, matrices in modules.items():
            self._change(module, matrices, weights)
        return weights

    def _change(self, module: str, matrices: _Matrices, weights: Weights) -> None:
        change = self._low_rank(module, matrices)
        name = self._found(f"{module}.weight", weights)
        if not change.fits(weights[name].tensor):
            shapes = " and ".join(str(tuple(tensor.shape)) for tensor in change.tensors)
            raise self._foreign(
                f"has {shapes} for {name}, which is {tuple(weights[name].tensor.shape)} there"
            )
        weights[name] = replace(weights[name], change=change)
        if "bias" in matrices:
            bias = change.scale * matrices["bias"].float()
            name = self._found(f"{module}.bias", weights, bias)
            weights[name] = replace(weights[name], tensor=weights[name].tensor.float() + bias)

    def _low_rank(self, module: str, matrices: _Matrices) -> LowRank:
        embedding = "embedding_A" in matrices
        pair = ("embedding_A", "embedding_B") if embedding else ("A", "B")
        missing = [part for part in pair if part not in matrices]
        if missing:
            raise InvalidCheckpoint(f"{self.file} lacks {module}.lora_{missing[0]}.")
        lengths = [matrices["magnitude_vector"]] if "magnitude_vector" in matrices else []
        if bool(self.config.get("use_dora")) != bool(lengths):
            raise InvalidCheckpoint(f"{self.file} and {ADAPTER_CONFIG} differ about use_dora.")
        tensors = (*(matrices[part] for part in pair), *lengths)
        return LowRank(tensors, self._scale(module, len(tensors[0])), embedding)

    def _scale(self, module: str, rank: int) -> float:
        """How strongly ``module`` is changed."""
        stated = self._option("rank_pattern", module, "r", 8)
        alpha = self._option("alpha_pattern", module, "lora_alpha", 8)
        if stated != rank:
            raise InvalidCheckpoint(
                f"{self.file} has the rank {rank} at {module}, {ADAPTER_CONFIG} says {stated:g}."
            )
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _option(self, patterns: str, module: str, name: str, default: int) -> float:
        """The number for ``module``: of the first pattern that its name ends with, or for all."""
        for pattern, value in (self.config.get(patterns) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return _number(value, patterns)
        return _number(self.config.get(name, default), name)

    def _found(self, name: str, weights: Weights, instead: torch.Tensor | None = None) -> str:
        """What the base calls ``name``; raises ``InvalidCheckpoint`` unless ``instead`` fits."""
        # An adapter may have been trained on the decoder as a model of its own.
        for theirs in (name, f"decoder.{name}"):
            if theirs in weights:
                break
        else:
            raise self._foreign(f"changes {name}, which is not there")
        there = weights[theirs].tensor.shape
        if instead is not None and (instead.shape != there or not _is_plain(instead)):
            raise self._foreign(
                f"has {name} as {tuple(instead.shape)}, which is {tuple(there)} there"
            )
        return theirs

    def _foreign(self, what: str) -> InvalidCheckpoint:
        return InvalidCheckpoint(
            f"{self.file} was not made for {self.base} as it is here: it {what}."
        )


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout is torch.strided


def _sorted(weights: Weights, file: Path) -> tuple[dict[str, _Matrices], Weights]:
    """The matrices by the module that they change, and what takes a base's weights' place."""
    modules: dict[str, _Matrices] = {}
    whole: Weights = {}
    for name, rows in weights.items():
        matrix = _MATRIX.fullmatch(name)
        if matrix:
            part = "bias" if matrix["bias"] else matrix["part"]
            modules.setdefault(matrix["module"], {})[part] = rows.tensor
        else:
            whole[_WRAPPED.sub("", name)] = rows
    if not weights:
        raise InvalidCheckpoint(f"{file} holds no weights.")
    return modules, whole


def _check_options(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise InvalidCheckpoint(
            f"{ADAPTER_CONFIG} says peft_type {kind!r}: of PEFT's adapters only 'LORA' is "
            "supported. Others can be merged into their base by its merge_and_unload()."
        )
    named = config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named.strip():
        raise InvalidCheckpoint(
            f"{ADAPTER_CONFIG} does not say of which model it is an adapter: let "
            "base_model_name_or_path be that model's folder or its name on the hub."
        )
    for name in _FOREIGN:
        if config.get(name):
            raise _unsupported(name, config[name])
    for name, values in _SUPPORTED.items():
        if config.get(name) not in values:
            raise _unsupported(name, config[name])
    for name in ("rank_pattern", "alpha_pattern"):
        patterns = config.get(name) or {}
        if not isinstance(patterns, dict) or not all(map(_PATTERN.fullmatch, patterns)):
            raise _unsupported(name, patterns)


def _unsupported(name: str, value: object) -> InvalidCheckpoint:
    return InvalidCheckpoint(
        f"An adapter with {name} {str(value)[:60]!r} is not supported. PEFT can merge it into its "
        "base, by merge_and_unload(); what save_pretrained() writes then can be loaded."
    )


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise InvalidCheckpoint(f"{ADAPTER_CONFIG} says {name} {str(value)[:60]!r}: no number.")
    return value
