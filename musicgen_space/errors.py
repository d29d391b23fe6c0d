"""Everything that can go wrong, as one tree.

Messages are written for the person at the page or the terminal: what happened,
then what to do. Foreign exceptions (torch, soundfile, requests, the hub) become
one of these at a single boundary, the file that calls the foreign library.

    MusicGenSpaceError
    ├── InvalidRequest          a field of a request is outside its limits (ValueError)
    ├── InvalidSetting          an environment variable does not make sense (ValueError)
    └── BackendError            the request was fine, making the music was not
        ├── ModelUnavailable    the checkpoint is neither here nor reachable
        ├── InvalidCheckpoint   the files are there but are no MusicGen checkpoint
        ├── OutOfMemory         the model or the take does not fit this machine
        └── QueueFull           too many takes are waiting already
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "InvalidCheckpoint",
    "InvalidRequest",
    "InvalidSetting",
    "ModelUnavailable",
    "MusicGenSpaceError",
    "OutOfMemory",
    "QueueFull",
]


class MusicGenSpaceError(Exception):
    """Base of every error of this project; its text can be shown to a user."""


class InvalidRequest(MusicGenSpaceError, ValueError):
    """A field of a request is outside its limits."""

    def __init__(self, field: str, value: object, limit: str) -> None:
        self.field, self.value, self.limit = field, value, limit
        super().__init__(f"{field} {limit}, got {_shown(value)}.")


class InvalidSetting(MusicGenSpaceError, ValueError):
    """An environment variable does not make sense."""


class BackendError(MusicGenSpaceError):
    """The request was fine, making the music was not."""


class ModelUnavailable(BackendError):
    """The checkpoint is neither on this machine nor reachable."""


class InvalidCheckpoint(BackendError):
    """The files are there but are no MusicGen checkpoint."""


class OutOfMemory(BackendError):
    """The model or the take does not fit this machine."""


class QueueFull(BackendError):
    """Too many takes are waiting already."""


def _shown(value: object) -> str:
    """``value`` as an error shows it: quoted, printable and short."""
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
