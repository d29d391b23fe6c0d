"""Which model makes the takes of whoever chooses none: one rule for every backend of our engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from musicgen_space.models import EMBEDDED_MODEL
from musicgen_space.settings import Settings

__all__ = ["BETTER_MODEL", "default_model", "remember_default"]

BETTER_MODEL = "facebook/musicgen-small"  # where there is a GPU, or somebody wants it


def default_model(settings: Settings, has_gpu: Callable[[], bool]) -> str:
    """The default model's name: MUSICGEN_MODEL's, else the remembered one's, else the embedded.

    ``has_gpu`` may be slow to tell: it is only called where MUSICGEN_MODEL is ``auto``. What is
    remembered only counts while it is on this machine.
    """
    if settings.model == "auto":
        return BETTER_MODEL if has_gpu() else EMBEDDED_MODEL
    return settings.model or _remembered(settings) or EMBEDDED_MODEL


def remember_default(settings: Settings, name: str) -> None:
    """Make ``name`` the default from the next start on; raises ``OSError``."""
    file = _file(settings)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{name}\n", encoding="utf-8")


def _remembered(settings: Settings) -> str | None:
    file = _file(settings)
    try:
        name = file.read_text(encoding="utf-8").strip() if file else ""
    except (OSError, ValueError):
        return None
    if not name:
        return None
    from musicgen_space.engine.checkpoint.hub import is_cached

    return name if is_cached(name) else None


def _file(settings: Settings) -> Path | None:
    return settings.config and settings.config / "model"
