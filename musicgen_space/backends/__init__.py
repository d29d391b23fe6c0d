"""Where music is made. One file a backend, one line each in the registry below."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable

from musicgen_space.backends.base import Backend
from musicgen_space.errors import InvalidRequest
from musicgen_space.models import EMBEDDED_MODEL
from musicgen_space.settings import Settings

__all__ = ["backend_named", "open_backends"]


def open_backends(settings: Settings) -> dict[str, Backend]:
    """The backends that can work on this installation, by name, the default first."""
    opened = (open_backend(settings) for open_backend in _REGISTRY)
    return {backend.name: backend for backend in opened if backend is not None}


def backend_named(backends: dict[str, Backend], name: str) -> Backend:
    """The one that somebody asks for; raises ``InvalidRequest`` when it is not there."""
    if not isinstance(name, str) or name not in backends:
        raise InvalidRequest("backend", name, f"must be one of {[*backends]}")
    return backends[name]


def _zerogpu(settings: Settings) -> Backend | None:
    if not settings.zero_gpu:
        return None
    from musicgen_space.backends.zerogpu.backend import ZeroGpuBackend

    return ZeroGpuBackend.from_settings(settings)


def _local(settings: Settings) -> Backend | None:
    if importlib.util.find_spec("torch") is None:
        return None
    from musicgen_space.backends.local.backend import LocalBackend

    if settings.zero_gpu:  # torch says there that this process has a card, which it never gets
        settings = dataclasses.replace(settings, device="cpu", model=EMBEDDED_MODEL)
    return LocalBackend(settings)


def _audiocraft(settings: Settings) -> Backend | None:
    from musicgen_space.backends.audiocraft import AudioCraftBackend

    return AudioCraftBackend.from_settings(settings)


def _segmind(settings: Settings) -> Backend | None:
    from musicgen_space.backends.segmind import SegmindBackend

    return SegmindBackend.from_settings(settings)


_REGISTRY: tuple[Callable[[Settings], Backend | None], ...] = (
    _zerogpu,  # before anything imports torch
    _local,
    _segmind,
    _audiocraft,
)
