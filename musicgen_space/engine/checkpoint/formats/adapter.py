"""LoRA adapters as PEFT writes them: ``adapter_config.json`` beside ``adapter_model.*``.

The base model is only named. A tensor is called ``base_model.model.MODULE.lora_A.weight``,
perhaps with the adapter's own name before ``weight``. Based on PEFT 0.21:
tuners/lora/config.py, layer.py and variants.py, utils/save_and_load.py.
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
    reject_mixed,
)
from musicgen_space.engine.checkpoint.references import find, has_config, is_name
from musicgen_space.engine.checkpoint.tensors import Weights, read_tensors
from musicgen_space.errors import InvalidCheckpoint

__all__ = ["Adapter", "LowRank"]

# Options that change what the matrices mean; none is supported.
_UNSUPPORTED_OPTIONS = (
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
# Supported values of others. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA initialisations modify
# the base itself; of a base on the hub only the latest revision is fetched.
_SUPPORTED: Mapping[str, tuple[object, ...]] = {
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal", "mica"),
    "revision": (None, "", "main"),
}

_MATRIX = re.compile(
    r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?:\.[\w-]+)*?(?P<bias>\.bias)?(?:\.weight)?"
)
# Between the module's and the tensor's name, where a full tensor was saved.
_WRAPPED = re.compile(r"\.(?:base_layer|modules_to_save\.\w+)(?=\.(?:weight|bias)$)")
# Names with at most two .* in them: other patterns could backtrack exponentially.
_PATTERN = re.compile(r"(?!(?:.*?\.\*){3})\^?(?:[\w.-]|\.\*|\\\.|\\d)+\$?")

_Matrices = dict[str, torch.Tensor]  # of one module, by the part in _MATRIX


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """A LoRA patch of a weight W [out, in]: W + ``scale`` · B A.

    ``tensors`` are A [rank, in], B [out, rank] and, with DoRA, the row norms [out] of the
    result. The weight of an embedding is ``transposed``: [in, out].
    """

    tensors: tuple[torch.Tensor, ...]
    scale: float
    transposed: bool = False

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``Patch.apply``."""
        down, up, *norms = (tensor.to(weight.device, torch.float32) for tensor in self.tensors)
        whole = weight.float()
        changed = (whole.T if self.transposed else whole) + self.scale * (up @ down)
        for norm in norms:
            changed *= (norm / torch.linalg.vector_norm(changed, dim=1)).unsqueeze(1)
        return changed.T.contiguous() if self.transposed else changed

    def fits(self, weight: torch.Tensor) -> bool:
        """Whether the shapes match ``weight``."""
        shape = weight.shape[::-1] if self.transposed else weight.shape
        down, up, *norms = (tensor.shape for tensor in self.tensors)
        return (
            len(shape) == len(down) == len(up) == 2
            and (up[0], down[1]) == shape
            and up[1] == down[0] > 0
            and all(norm == up[:1] for norm in norms)
            and all(_is_plain(tensor) for tensor in self.tensors)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """The adapter in ``folder``; its ``config`` is validated, its weights are not read yet."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Adapter | None:
        """The adapter in ``folder``, or None; raises ``InvalidCheckpoint``."""
        if not is_adapter(folder):
            return None
        reject_mixed((path.name for path in folder.iterdir()), folder)
        config = read_json(folder / ADAPTER_CONFIG)
        _check_options(config)
        return cls(folder, config)

    @property
    def base(self) -> str:
        """The name of its base; of a path on the machine it was trained on, the last part."""
        name = str(self.config["base_model_name_or_path"])
        return name if is_name(name) else PureWindowsPath(name).name

    def base_folder(self, fetch: Callable[[str], Path]) -> Path:
        """The folder of its base: at its path, inside or beside the adapter's folder, or fetched.

        Raises ``InvalidCheckpoint``, or what ``fetch`` raises.
        """
        name = str(self.config["base_model_name_or_path"])
        folder = find(name, self.folder, fetch) if is_name(name) else self._local_base(name)
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

    def _local_base(self, path: str) -> Path:
        for candidate in (
            Path(os.path.expanduser(path)),
            self.folder / self.base,
            self.folder.parent / self.base,
        ):
            if has_config(candidate):
                return candidate
        raise InvalidCheckpoint(
            f"{self.folder} is an adapter of {path}, which does not exist. In {ADAPTER_CONFIG}, "
            "set base_model_name_or_path to that model's folder or its name on the hub."
        )

    @property
    def file(self) -> Path:
        """Its weight file; raises ``InvalidCheckpoint`` if there is none."""
        return adapter_file(self.folder)

    def apply(self, weights: Weights) -> Weights:
        """The base's ``weights`` with patches, which are applied at load time.

        Raises ``InvalidCheckpoint`` unless every tensor of the adapter fits the base.
        """
        modules, full = _group(read_tensors([self.file]), self.file)
        weights = dict(weights)
        for name, rows in full.items():
            weights[self._base_name(name, weights, rows.tensor)] = rows
        for module, matrices in modules.items():
            self._patch(module, matrices, weights)
        return weights

    def _patch(self, module: str, matrices: _Matrices, weights: Weights) -> None:
        patch = self._low_rank(module, matrices)
        name = self._base_name(f"{module}.weight", weights)
        if not patch.fits(weights[name].tensor):
            shapes = " and ".join(str(tuple(tensor.shape)) for tensor in patch.tensors)
            raise self._mismatch(
                f"has {shapes} for {name}, which is {tuple(weights[name].tensor.shape)} there"
            )
        weights[name] = replace(weights[name], patch=patch)
        if "bias" in matrices:
            bias = patch.scale * matrices["bias"].float()
            name = self._base_name(f"{module}.bias", weights, bias)
            weights[name] = replace(weights[name], tensor=weights[name].tensor.float() + bias)

    def _low_rank(self, module: str, matrices: _Matrices) -> LowRank:
        embedding = "embedding_A" in matrices
        pair = ("embedding_A", "embedding_B") if embedding else ("A", "B")
        missing = [part for part in pair if part not in matrices]
        if missing:
            raise InvalidCheckpoint(f"{self.file} lacks {module}.lora_{missing[0]}.")
        norms = [matrices["magnitude_vector"]] if "magnitude_vector" in matrices else []
        if bool(self.config.get("use_dora")) != bool(norms):
            raise InvalidCheckpoint(f"{self.file} and {ADAPTER_CONFIG} disagree about use_dora.")
        tensors = (*(matrices[part] for part in pair), *norms)
        return LowRank(tensors, self._scale(module, len(tensors[0])), embedding)

    def _scale(self, module: str, rank: int) -> float:
        """LoRA's scaling factor for ``module``."""
        configured = self._option("rank_pattern", module, "r", 8)
        alpha = self._option("alpha_pattern", module, "lora_alpha", 8)
        if configured != rank:
            raise InvalidCheckpoint(
                f"{self.file} has rank {rank} at {module}, {ADAPTER_CONFIG} says {configured:g}."
            )
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _option(self, patterns: str, module: str, name: str, default: int) -> float:
        """The value of the first pattern that matches ``module``, else the global option."""
        for pattern, value in (self.config.get(patterns) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return _number(value, patterns)
        return _number(self.config.get(name, default), name)

    def _base_name(
        self, name: str, weights: Weights, replacement: torch.Tensor | None = None
    ) -> str:
        """The base's name of a tensor; ``InvalidCheckpoint`` unless ``replacement`` fits it."""
        # An adapter may have been trained on the decoder alone.
        for theirs in (name, f"decoder.{name}"):
            if theirs in weights:
                break
        else:
            raise self._mismatch(f"changes {name}, which is not there")
        expected = weights[theirs].tensor.shape
        if replacement is not None and (
            replacement.shape != expected or not _is_plain(replacement)
        ):
            raise self._mismatch(
                f"has {name} as {tuple(replacement.shape)}, which is {tuple(expected)} there"
            )
        return theirs

    def _mismatch(self, what: str) -> InvalidCheckpoint:
        return InvalidCheckpoint(
            f"{self.file} was not made for {self.base} as it is here: it {what}."
        )


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout is torch.strided


def _group(weights: Weights, file: Path) -> tuple[dict[str, _Matrices], Weights]:
    """The LoRA matrices by module, and the full tensors that replace the base's."""
    modules: dict[str, _Matrices] = {}
    full: Weights = {}
    for name, rows in weights.items():
        matrix = _MATRIX.fullmatch(name)
        if matrix:
            part = "bias" if matrix["bias"] else matrix["part"]
            modules.setdefault(matrix["module"], {})[part] = rows.tensor
        else:
            full[_WRAPPED.sub("", name)] = rows
    if not weights:
        raise InvalidCheckpoint(f"{file} holds no weights.")
    return modules, full


def _check_options(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise InvalidCheckpoint(
            f"{ADAPTER_CONFIG} says peft_type {kind!r}: of PEFT's adapters only 'LORA' is "
            "supported. Others can be merged into their base by its merge_and_unload()."
        )
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name.strip():
        raise InvalidCheckpoint(
            f"{ADAPTER_CONFIG} does not name the base model: set "
            "base_model_name_or_path to its folder or its name on the hub."
        )
    for name in _UNSUPPORTED_OPTIONS:
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
        f"An adapter with {name} {str(value)[:60]!r} is not supported. Merge it into its base "
        "with PEFT's merge_and_unload(); what save_pretrained() then saves can be loaded."
    )


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise InvalidCheckpoint(
            f"{ADAPTER_CONFIG} says {name} {str(value)[:60]!r}, which is not a number."
        )
    return value
