"""Which files of a folder make up a checkpoint. Opens no weights."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from musicgen_space.engine.checkpoint.formats.training import training_advice
from musicgen_space.engine.checkpoint.untrusted import MAX_JSON_BYTES, read_bounded
from musicgen_space.errors import InvalidCheckpoint

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_FILES",
    "AUDIOCRAFT_FILES",
    "TOKENIZER_FILES",
    "WEIGHT_FILES",
    "adapter_file",
    "has_tokenizer",
    "is_adapter",
    "is_audiocraft",
    "matching",
    "read_json",
    "reject_mixed",
    "weight_files",
]

# AudioCraft's own format: the language model, and EnCodec or its name.
AUDIOCRAFT_FILES = ("state_dict.bin", "compression_state_dict.bin")
# PEFT's: an adapter's config and, under either name, its weights.
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
# A tokenizer, of the tokenizers library or of sentencepiece; other files only add options.
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")

# transformers' names, preferred first: NAME.SUFFIX, or shards and their index.
_FORMATS = (("model", "safetensors"), ("pytorch_model", "bin"))

# All formats of full weights, preferred first.
WEIGHT_FILES = (
    *(
        (f"{name}.{suffix}", f"{name}-*.{suffix}", f"{name}.{suffix}.index.json")
        for name, suffix in _FORMATS
    ),
    AUDIOCRAFT_FILES,
)


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Those of ``names`` that match one of ``patterns``; none in subfolders."""
    patterns = tuple(patterns)
    return [
        name
        for name in names
        if "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)
    ]


def is_adapter(folder: Path) -> bool:
    """Whether ``folder`` holds an adapter, complete or not."""
    return any((folder / name).is_file() for name in (ADAPTER_CONFIG, *ADAPTER_FILES))


def adapter_file(folder: Path) -> Path:
    """The weight file of an adapter; raises ``InvalidCheckpoint`` if there is none."""
    for name in ADAPTER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InvalidCheckpoint(f"{folder} has an {ADAPTER_CONFIG} and no {ADAPTER_FILES[0]}.")


def reject_mixed(names: Iterable[str], where: object) -> None:
    """Raise ``InvalidCheckpoint`` if ``names`` has full weights and an adapter: it is ambiguous."""
    names = [*names]
    full = [name for patterns in WEIGHT_FILES for name in matching(names, patterns)]
    if full and matching(names, (ADAPTER_CONFIG, *ADAPTER_FILES)):
        raise InvalidCheckpoint(
            f"{where} holds full weights ({full[0]}) and an adapter, and it is unknown whether the "
            f"adapter is merged into them already. Move {ADAPTER_CONFIG} and adapter_model.* to a "
            "folder of their own to apply the adapter, or delete them to use the weights."
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether ``folder`` holds a tokenizer's files, valid or not."""
    return any(os.path.isfile(folder / name) for name in TOKENIZER_FILES)


def is_audiocraft(folder: Path) -> bool:
    """Whether ``folder`` is in AudioCraft's format and not also in transformers'."""
    try:
        weight_files(folder)
    except InvalidCheckpoint:
        return (folder / AUDIOCRAFT_FILES[0]).is_file()
    return False


def weight_files(folder: Path) -> list[Path]:
    """The complete set of weight files in transformers' format, safetensors preferred.

    Raises ``InvalidCheckpoint`` if there are none or a shard is missing.
    """
    for name, suffix in _FORMATS:
        whole = folder / f"{name}.{suffix}"
        if whole.is_file():
            return [whole]
        shards = _shards(folder, name, suffix)
        if shards:
            return shards
    raise InvalidCheckpoint(
        f"{folder} has no weights (model.safetensors or pytorch_model.bin).{_advice(folder)}"
    )


def _shards(folder: Path, name: str, suffix: str) -> list[Path]:
    """All shards, by their index or, without one, by the count in their names."""
    index = folder / f"{name}.{suffix}.index.json"
    there = {file.name for file in folder.glob(f"{name}-*-of-*.{suffix}") if file.is_file()}
    if index.is_file():
        needed, source = _shards_in_index(index), index.name
    else:
        needed, source = _shards_by_name(there), "their names"
    missing = sorted(needed - there)
    if missing:
        raise InvalidCheckpoint(f"{folder} lacks {missing[0]}, a shard according to {source}.")
    return [folder / shard for shard in sorted(needed)]


def _shards_in_index(index: Path) -> set[str]:
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise InvalidCheckpoint(f"{index} does not say which shard holds which weight.")
    return set(shards.values())


def _shards_by_name(there: set[str]) -> set[str]:
    needed = set(there)
    for shard in there:
        parts = re.fullmatch(r"(.+-)\d+(-of-(\d{1,5})\..+)", shard)
        if parts:
            needed |= {f"{parts[1]}{n:05}{parts[2]}" for n in range(1, int(parts[3]) + 1)}
    return needed


def read_json(path: Path) -> dict[str, Any]:
    """The top-level object of a JSON file; raises ``InvalidCheckpoint``."""
    try:
        content = json.loads(read_bounded(path, MAX_JSON_BYTES).decode())
    except OSError:
        raise InvalidCheckpoint(
            f"{path.parent} has no {path.name}: not a checkpoint.{_advice(path.parent)}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InvalidCheckpoint(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise InvalidCheckpoint(f"{path} holds no JSON object.")
    return content


def _advice(folder: Path) -> str:
    """A hint for the user, if ``folder`` is the output of a training run."""
    try:
        inside = sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name))
    except OSError:
        return ""
    models = [path for path in inside if is_adapter(path) or (path / "config.json").is_file()]
    if models:
        return f" {models[-1]} is one."
    return training_advice(path.name for path in inside)
