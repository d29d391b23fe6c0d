"""Tells model names that are local folders from hub repositories."""

from __future__ import annotations

import os
from pathlib import Path

from musicgen_space.engine.checkpoint.formats.training import training_advice
from musicgen_space.errors import ModelUnavailable

__all__ = ["folder_of", "is_folder"]


def is_folder(name: str) -> bool:
    """Whether ``name`` is a path, existing or not, rather than a hub repository."""
    return name.startswith((".", "/", "~")) or os.path.exists(name)


def folder_of(name: str) -> Path | None:
    """The local folder of ``name``, None for a hub repository; raises ``ModelUnavailable``."""
    if not is_folder(name):
        return None
    folder = Path(name).expanduser()
    if folder.is_file():
        raise ModelUnavailable(
            f"{name} is a file: a model is named by its folder.{training_advice([folder.name])}"
        )
    if not folder.is_dir():
        raise ModelUnavailable(f"There is no folder {name}.")
    return folder
