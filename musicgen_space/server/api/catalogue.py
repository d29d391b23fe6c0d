"""The models by the names that the API gives them, and the backend that makes their music."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from musicgen_space.audio.clips import read_clip, told_of
from musicgen_space.backends.base import Backend, HostedBackend
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import CLIP_LIMITS, DOCUMENTED_DURATION, MusicRequest, checked_number
from musicgen_space.server.api.contract import MODEL
from musicgen_space.server.jobs.order import FIELDS

__all__ = ["Catalogue", "Wish", "backend_for_api"]


def backend_for_api(backends: Mapping[str, Backend]) -> Backend | None:
    """Where the API's music is made: on this machine, as nobody's quota or credits pay for it."""
    own = (
        each
        for name, each in backends.items()
        if name != "zerogpu" and not isinstance(each, HostedBackend)
    )
    return next(own, None)


@dataclass(frozen=True, slots=True)
class Wish:
    """A request, and the files of its clips by field."""

    request: MusicRequest
    clips: Mapping[str, bytes]


class Catalogue:
    """``MODEL`` is the default of the backend, the others are ``musicgen-{name}``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def names(self) -> list[str]:
        """What the models are called."""
        return [MODEL, *self._choices()]

    def public(self, choice: str) -> str:
        """What a model of the backend is called."""
        return next((name for name, each in self._choices().items() if each == choice), MODEL)

    def wish(self, model: str | None, fields: Mapping[str, Any]) -> Wish | None:
        """The checked wish for one take of ``model``, None: the default.

        None for a model that isn't there. Raises ``InvalidRequest``, and ``UnreadableAudio`` for
        clips, which come as base64.
        """
        choice = self.choice(model)
        if choice is None:
            return None
        for name, value in fields.items():
            if name not in (*FIELDS, *CLIP_LIMITS):
                raise InvalidRequest(name, value, "is no parameter of this model")
        if model == MODEL and "duration" in fields:
            checked_number("duration", fields["duration"], DOCUMENTED_DURATION)
        clips: dict[str, bytes] = {}

        def read(field: str, given: object) -> Clip:
            clips[field] = _file(field, given)
            with told_of(field):
                return read_clip(clips[field])

        return Wish(self._backend.request({**fields, "model": choice}, read), clips)

    def choice(self, model: str | None) -> str | None:
        """The backend's name of ``model``, None: the default; None for one that isn't there."""
        if model in (None, MODEL):
            return self._backend.models()[0].name
        return self._choices().get(model)

    def _choices(self) -> dict[str, str]:
        """Each name, and the backend's: of a folder only the last part is shown."""
        found: dict[str, str] = {}
        for each in self._backend.models():
            last = PurePath(each.name).name.lower()
            name = last if last.startswith("musicgen-") else f"musicgen-{last}"
            found.setdefault(name, each.name)
        return found


def _file(field: str, given: object) -> bytes:
    """The bytes of a file that came as base64, or as a data URL."""
    limit = "must be a sound file, as base64"
    if not isinstance(given, str):
        raise InvalidRequest(field, type(given).__name__, limit)
    try:
        data = base64.b64decode(given.rpartition(",")[2], validate=True)
    except ValueError:
        raise InvalidRequest(field, f"{len(given)} characters", limit) from None
    return data
