"""Which names of models mean folders of this machine, and which a hub's repositories."""

from __future__ import annotations

from pathlib import Path

from musicgen_space.errors import ModelUnavailable

__all__ = ["folder_of", "is_folder"]


def is_folder(name: str) -> bool:
    """Whether ``name`` means a folder, which need not be there."""
    return name.startswith((".", "/", "~")) or Path(name).is_dir()


def folder_of(name: str) -> Path | None:
    """The folder that ``name`` means, None if it is a hub's; raises ``ModelUnavailable``."""
    if not is_folder(name):
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelUnavailable(f"There is no folder {name}.")
    return folder
