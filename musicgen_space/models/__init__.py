"""The checkpoint that comes inside the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["EMBEDDED_MODEL", "embedded_folder"]

EMBEDDED_MODEL = "musicgen-nano"


def embedded_folder() -> Path:
    """The folder of ``EMBEDDED_MODEL``, in transformers' format."""
    return Path(__file__).parent / EMBEDDED_MODEL
