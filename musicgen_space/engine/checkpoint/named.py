"""What a checkpoint only names and doesn't hold: T5, EnCodec, a tokenizer, an adapter's base."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from musicgen_space.errors import InvalidCheckpoint

__all__ = ["Fetch", "find", "has_config", "is_name"]


class Fetch(Protocol):
    """Gets the folder of a model by its name, on the hub or here; raises ``ModelUnavailable``."""

    def __call__(self, name: str, /, *, tokenizer_only: bool = False) -> Path:
        """The folder, or at least one with the model's tokenizer."""


def is_name(name: object) -> bool:
    """Whether ``name`` could be a model's on the hub."""
    return isinstance(name, str) and bool(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name))


def has_config(folder: Path) -> bool:
    """Whether ``folder`` holds a model in transformers' format, whole or not."""
    return os.path.isfile(folder / "config.json")  # of Path it raises for some odd names


def find(
    name: object,
    folder: Path,
    fetch: Callable[[str], Path],
    there: Callable[[Path], bool] = has_config,
) -> Path:
    """The folder of the model ``name`` of the hub: in ``folder``, beside it, or fetched.

    ``there`` says whether a folder will do. Raises ``InvalidCheckpoint`` for what is no name.
    """
    if not isinstance(name, str) or not is_name(name):
        raise InvalidCheckpoint(f"{name!r} can't be the name of a model that is needed besides.")
    for place in (folder / name, folder.parent / name):
        if there(place):
            return place
    return fetch(name)
