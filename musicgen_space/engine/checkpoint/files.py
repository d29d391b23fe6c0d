"""Which files of a folder make a checkpoint. No weights are opened here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from musicgen_space.engine.checkpoint.formats.training import advice
from musicgen_space.engine.checkpoint.opening import MOST_JSON, read_bounded
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
    "refuse_both",
    "weight_files",
]

# AudioCraft's own format: the language model, and EnCodec or its name.
AUDIOCRAFT_FILES = ("state_dict.bin", "compression_state_dict.bin")
# PEFT's: the options of an adapter and, under either name, its weights.
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
# A tokenizer, as tokenizers or as sentencepiece has it; other files only add options to it.
TOKENIZER_FILES = ("tokenizer.json", "spiece.model")

# transformers' names, the preferred kind first: NAME.SUFFIX, or shards and their index.
_KINDS = (("model", "safetensors"), ("pytorch_model", "bin"))

# All kinds of whole weights, the preferred one first.
WEIGHT_FILES = (
    *(
        (f"{name}.{suffix}", f"{name}-*.{suffix}", f"{name}.{suffix}.index.json")
        for name, suffix in _KINDS
    ),
    AUDIOCRAFT_FILES,
)


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Those of ``names`` that one of ``patterns`` fits; none that lie in folders."""
    patterns = tuple(patterns)
    return [
        name
        for name in names
        if "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)
    ]


def is_adapter(folder: Path) -> bool:
    """Whether ``folder`` holds an adapter, or a part of one."""
    return any((folder / name).is_file() for name in (ADAPTER_CONFIG, *ADAPTER_FILES))


def adapter_file(folder: Path) -> Path:
    """The weights of an adapter; raises ``InvalidCheckpoint`` without them."""
    for name in ADAPTER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InvalidCheckpoint(f"{folder} has an {ADAPTER_CONFIG} and no {ADAPTER_FILES[0]}.")


def refuse_both(names: Iterable[str], where: object) -> None:
    """Raise ``InvalidCheckpoint`` where ``names`` has whole weights beside an adapter's."""
    names = [*names]
    whole = [name for patterns in WEIGHT_FILES for name in matching(names, patterns)]
    if whole and matching(names, (ADAPTER_CONFIG, *ADAPTER_FILES)):
        raise InvalidCheckpoint(
            f"{where} holds whole weights ({whole[0]}) and an adapter; whether the adapter is in "
            f"those weights already can't be told. With {ADAPTER_CONFIG} and adapter_model.* in a "
            "folder of their own it is applied to its base; without them the weights are used."
        )


def has_tokenizer(folder: Path) -> bool:
    """Whether ``folder`` holds a tokenizer, usable or not."""
    return any(os.path.isfile(folder / name) for name in TOKENIZER_FILES)


def is_audiocraft(folder: Path) -> bool:
    """Whether ``folder`` can only be read as AudioCraft's format."""
    try:
        weight_files(folder)
    except InvalidCheckpoint:
        return (folder / AUDIOCRAFT_FILES[0]).is_file()
    return False


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights in transformers' format, of one kind, all there.

    Raises ``InvalidCheckpoint`` when there are none or a shard is missing.
    """
    for name, suffix in _KINDS:
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
    """The shards that the index names or, without one, that the shards' own names count."""
    index = folder / f"{name}.{suffix}.index.json"
    there = {file.name for file in folder.glob(f"{name}-*-of-*.{suffix}") if file.is_file()}
    if index.is_file():
        needed, told_by = _indexed(index), index.name
    else:
        needed, told_by = _counted(there), "their names"
    missing = sorted(needed - there)
    if missing:
        raise InvalidCheckpoint(f"{folder} lacks {missing[0]}, one of the shards by {told_by}.")
    return [folder / shard for shard in sorted(needed)]


def _indexed(index: Path) -> set[str]:
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise InvalidCheckpoint(f"{index} does not say which shard holds which weight.")
    return set(shards.values())


def _counted(there: set[str]) -> set[str]:
    needed = set(there)
    for shard in there:
        parts = re.fullmatch(r"(.+-)\d+(-of-(\d{1,5})\..+)", shard)
        if parts:
            needed |= {f"{parts[1]}{n:05}{parts[2]}" for n in range(1, int(parts[3]) + 1)}
    return needed


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises ``InvalidCheckpoint``."""
    try:
        content = json.loads(read_bounded(path, MOST_JSON).decode())
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
    """What to do with ``folder``, if it is one that training writes into."""
    try:
        inside = sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name))
    except OSError:
        return ""
    models = [path for path in inside if is_adapter(path) or (path / "config.json").is_file()]
    if models:
        return f" {models[-1]} is one."
    return advice(path.name for path in inside)
