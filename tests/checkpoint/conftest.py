"""Checkpoints here are whole: nothing is fetched for them."""

from __future__ import annotations

from pathlib import Path

from musicgen_space.errors import ModelUnavailable


def not_needed(name: str, *, tokenizer_only: bool = False) -> Path:
    """In place of the hub: whoever asks it fails."""
    raise ModelUnavailable(f"{name} was asked for")
