"""Models that a checkpoint refers to by name: T5, EnCodec, a tokenizer, an adapter's base."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from musicgen_space.errors import InvalidCheckpoint

__all__ = ["Fetch", "find", "has_config", "is_name"]


class Fetch(Protocol):
    """Resolves a model name to a local folder, downloading it if need be.

    Raises ``ModelUnavailable``.
    """

    def __call__(self, name: str, /, *, tokenizer_only: bool = False) -> Path:
        """The model's folder; with ``tokenizer_only`` the tokenizer is enough."""


def is_name(name: object) -> bool:
    """Whether ``name`` is a syntactically valid hub repository id."""
    return isinstance(name, str) and bool(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name))


def has_config(folder: Path) -> bool:
    """Whether ``folder`` holds a config in transformers' format."""
    return os.path.isfile(folder / "config.json")  # Path.is_file raises for some odd names


def find(
    name: object,
    folder: Path,
    fetch: Callable[[str], Path],
    accepts: Callable[[Path], bool] = has_config,
) -> Path:
    """The folder of the model ``name``: inside ``folder``, beside it, or fetched.

    ``accepts`` tells whether a local folder will do. Raises ``InvalidCheckpoint`` if ``name``
    is not a repository id.
    """
    if not isinstance(name, str) or not is_name(name):
        raise InvalidCheckpoint(f"The checkpoint needs a model by the invalid name {name!r}.")
    for candidate in (folder / name, folder.parent / name):
        if accepts(candidate):
            return candidate
    return fetch(name)
