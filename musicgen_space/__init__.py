"""MusicGen Space: a line of text becomes music, in Python, on a page, on the command line.

::

    from musicgen_space import MusicGen

    model = MusicGen.from_pretrained("musicgen-nano")
    model.generate("lo-fi piano", duration=10).save("take.flac")

What is in ``__all__`` is public. It is imported when it is first used: where music is only
made by Segmind, torch need not be installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicgen_space.backends.base import Loading, Progress, Waiting
    from musicgen_space.clip import Clip
    from musicgen_space.errors import (
        BackendError,
        InvalidCheckpoint,
        InvalidRequest,
        InvalidSetting,
        LiveFull,
        ModelUnavailable,
        MusicGenSpaceError,
        OutOfMemory,
        SegmindError,
        Stopped,
        UnreadableAudio,
        UnusableKey,
    )
    from musicgen_space.live import Heard
    from musicgen_space.live.session import LiveSession
    from musicgen_space.musicgen import MusicGen, Segmind
    from musicgen_space.request import MusicRequest
    from musicgen_space.stream import Stream
    from musicgen_space.take import Finish, Loop, Receipt, Replaced, Take

__all__ = [
    "BackendError",
    "Clip",
    "Finish",
    "Heard",
    "InvalidCheckpoint",
    "InvalidRequest",
    "InvalidSetting",
    "LiveFull",
    "LiveSession",
    "Loading",
    "Loop",
    "ModelUnavailable",
    "MusicGen",
    "MusicGenSpaceError",
    "MusicRequest",
    "OutOfMemory",
    "Progress",
    "Receipt",
    "Replaced",
    "Segmind",
    "SegmindError",
    "Stopped",
    "Stream",
    "Take",
    "UnreadableAudio",
    "UnusableKey",
    "Waiting",
    "__version__",
]

__version__ = "0.1.0"

_MODULES = {  # where what is no error is
    "Clip": "clip",
    "Finish": "take",
    "Heard": "live",
    "LiveSession": "live.session",
    "Loading": "backends.base",
    "Loop": "take",
    "MusicGen": "musicgen",
    "MusicRequest": "request",
    "Progress": "backends.base",
    "Receipt": "take",
    "Replaced": "take",
    "Segmind": "musicgen",
    "Stream": "stream",
    "Take": "take",
    "Waiting": "backends.base",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
