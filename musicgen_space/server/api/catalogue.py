"""The models by the names that the API gives them, and the backend that makes their music."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from musicgen_space.backends.base import Backend, HostedBackend
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import DOCUMENTED_DURATION, MusicRequest, checked_number
from musicgen_space.server.api.contract import MODEL
from musicgen_space.server.jobs.order import FIELDS

__all__ = ["Catalogue", "backend_for_api"]


def backend_for_api(backends: Mapping[str, Backend]) -> Backend | None:
    """Where the API's music is made: on this machine, as nobody's quota or credits pay for it."""
    own = (
        each
        for name, each in backends.items()
        if name != "zerogpu" and not isinstance(each, HostedBackend)
    )
    return next(own, None)


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

    def request(self, model: str | None, fields: Mapping[str, Any]) -> MusicRequest | None:
        """The checked request for one take of ``model``, None: the default.

        None for a model that isn't there. Raises ``InvalidRequest``.
        """
        choices = self._choices()
        if model not in (None, MODEL, *choices):
            return None
        for name, value in fields.items():
            if name not in FIELDS:
                raise InvalidRequest(name, value, "is no parameter of this model")
        if model == MODEL and "duration" in fields:
            checked_number("duration", fields["duration"], DOCUMENTED_DURATION)
        choice = choices.get(model or "") or self._backend.models()[0].name
        return self._backend.request({**fields, "model": choice})

    def _choices(self) -> dict[str, str]:
        """Each name, and the backend's: of a folder only the last part is shown."""
        found: dict[str, str] = {}
        for each in self._backend.models():
            last = PurePath(each.name).name.lower()
            name = last if last.startswith("musicgen-") else f"musicgen-{last}"
            found.setdefault(name, each.name)
        return found
