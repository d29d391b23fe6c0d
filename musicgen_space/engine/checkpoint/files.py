"""Which files of a folder make a checkpoint. No weights are opened here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from musicgen_space.errors import InvalidCheckpoint

__all__ = ["AUDIOCRAFT_FILES", "is_audiocraft", "read_json", "weight_files"]

# AudioCraft's own format: the language model, and EnCodec or its name.
AUDIOCRAFT_FILES = ("state_dict.bin", "compression_state_dict.bin")

# transformers' names, the preferred kind first: NAME.SUFFIX, or shards and their index.
_KINDS = (("model", "safetensors"), ("pytorch_model", "bin"))


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
    raise InvalidCheckpoint(f"{folder} has no weights (model.safetensors or pytorch_model.bin).")


def _shards(folder: Path, name: str, suffix: str) -> list[Path]:
    """The shards that the index names or, without one, that the shards' own names count."""
    index = folder / f"{name}.{suffix}.index.json"
    there = {file.name for file in folder.glob(f"{name}-*-of-*.{suffix}")}
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
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InvalidCheckpoint(f"{path.parent} has no {path.name}: not a checkpoint.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidCheckpoint(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise InvalidCheckpoint(f"{path} holds no JSON object.")
    return content
