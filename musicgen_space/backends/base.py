"""The interface of a backend: ``generate`` yields updates until the take is done.

A streaming backend yields many ``Chunk``s, a single-shot one only its ``Take``.
"""

from __future__ import annotations

import dataclasses
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from musicgen_space.clip import Clip
from musicgen_space.engine.conditioners.alphabet import T5, Knows, remark
from musicgen_space.errors import BackendError, InvalidRequest
from musicgen_space.live import Heard, LiveControls
from musicgen_space.message import Message, Text
from musicgen_space.request import (
    CLIP_LIMITS,
    LIMITS,
    TEXTS,
    Limit,
    MusicRequest,
    checked_number,
)
from musicgen_space.take import Take

if TYPE_CHECKING:
    from musicgen_space.backends.upgrade import Upgrade

__all__ = [
    "MELODY_NEEDS",
    "Backend",
    "Chunk",
    "HostedBackend",
    "Loading",
    "ModelChoice",
    "Progress",
    "ReadClip",
    "Update",
    "Waiting",
]

MELODY_NEEDS = "needs a melody model, such as facebook/musicgen-melody"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One entry of a backend's model list: ``name`` for programs, ``about`` for people.

    ``melody`` says whether it can follow a tune; None: only loading it will tell.
    """

    name: str
    about: str
    melody: bool | None = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """The request is queued; ``place`` 1 is next.

    ``seconds`` until its turn, roughly; None where nothing is measured yet.
    """

    place: int
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """Preparation such as a download; ``fraction`` is 0 … 1, None if unknown."""

    what: Message
    fraction: float | None = None

    @classmethod
    def download(cls, model: str, done: int, total: int) -> Loading:
        """``done`` of ``total`` bytes of ``model`` have come."""
        what = Message(
            "Downloading {model}: {done:.1f} of {total:.1f} GB",
            model=model,
            done=done / 1e9,
            total=total / 1e9,
        )
        return cls(what, min(1.0, done / max(total, 1)))


@dataclass(frozen=True, slots=True)
class Progress:
    """Seconds of music made and wanted, and the seconds that it took so far.

    ``lately`` is the real-time factor of the last seconds, where others come and go who are made
    at the same time.
    """

    seconds_made: float
    seconds_wanted: float
    seconds_taken: float
    lately: float | None = None

    @property
    def real_time_factor(self) -> float:
        """Seconds of music made per second of waiting: lately, else on average."""
        if self.lately is not None:
            return self.lately
        return self.seconds_made / max(self.seconds_taken, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the take is done; None before there is anything to go by."""
        if self.real_time_factor <= 0:
            return None
        return (self.seconds_wanted - self.seconds_made) / self.real_time_factor


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The next stretch of sound: float32 [channels, samples] at ``sample_rate`` Hz.

    ``variation`` says of which one, where several are made at once.
    """

    samples: np.ndarray
    sample_rate: int
    variation: int = 0


Update = Waiting | Loading | Progress | Chunk | Take
ReadClip = Callable[[str, Any], Clip]  # a field and what was given for it → the clip


class Backend(ABC):
    """A place where music is made.

    ``name`` is for programs, ``label`` and ``about`` are for the page. ``knobs`` are the
    fields of ``MusicRequest`` that this backend obeys; the page shows the others as such.
    ``limits`` are those of its numbers, within ``request.LIMITS``. ``upgrade`` is a better model
    than the default, which the owner of this machine can have.
    """

    name: str
    label: Text
    about: Text
    knobs: frozenset[str]
    limits: Mapping[str, Limit] = LIMITS
    upgrade: Upgrade | None = None
    plays_live = False

    @abstractmethod
    def models(self) -> list[ModelChoice]:
        """The checkpoints on offer, the default first."""

    @abstractmethod
    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        """Make one take, or all variations at once; the last updates are their ``Take``s.

        Where takes wait for each other, turns go round between ``visitor``s.
        Setting ``stop`` ends it early: what was made so far is the take (``stopped``),
        or nothing more is yielded when there is no sound yet. Closing the iterator
        stops as well. Raises ``BackendError``.
        """

    def live(
        self, controls: LiveControls, visitor: str = ""
    ) -> Iterator[Waiting | Loading | Heard]:
        """Play the wish of ``controls``, whatever it becomes, until they are stopped.

        Set ``controls.fetched`` as sound arrives at the listener: little is made ahead. Closing
        the iterator stops as well. Raises ``BackendError``; what ``plays_live`` says no to can't.
        """
        raise BackendError(f"Live music can't be made on {self.label}.")

    def choice(self, model: str) -> ModelChoice:
        """One of ``models`` by name; raises ``InvalidRequest`` for others."""
        offered = {choice.name: choice for choice in self.models()}
        if not isinstance(model, str) or model not in offered:
            raise InvalidRequest("model", model, f"must be one of {[*offered]}")
        return offered[model]

    def request(
        self, fields: Mapping[str, Any], read: ReadClip | None = None, *, any_model: bool = False
    ) -> MusicRequest:
        """The checked request for ``fields``, those of ``MusicRequest``; the others are as usual.

        ``read`` makes clips of what is given for them, once everything else is right.
        ``any_model``: ``model`` may be one that isn't in the list, which only the owner of
        this machine should name. Raises ``InvalidRequest``, and what ``read`` raises.
        """
        given = {name: value for name, value in fields.items() if not _is_usual(name, value)}
        if not any_model:
            given["model"] = self.choice(given.get("model") or self.models()[0].name).name
        self._check(given)
        clips = {name: given.pop(name) for name in CLIP_LIMITS if name in given}
        request = MusicRequest(**{"prompt": "", **given})
        if read is not None:
            clips = {name: read(name, clip) for name, clip in clips.items()}
        return dataclasses.replace(request, **clips)

    def check(self, request: MusicRequest) -> None:
        """Raise ``InvalidRequest`` for what of ``request`` this backend can't do."""
        fields = {name: getattr(request, name) for name in MusicRequest.__dataclass_fields__}
        self._check({name: each for name, each in fields.items() if not _is_usual(name, each)})

    def _check(self, given: Mapping[str, Any]) -> None:
        """The same of the fields that are ``given``, otherwise than as usual."""
        for name, value in given.items():
            if name not in self.knobs and name != "model":
                raise InvalidRequest(name, value, f"can't be chosen on {self.label}")
            if self.limits.get(name) != LIMITS.get(name):
                _check_narrower(name, value, self.limits[name], self.label)
        if "melody" in given:
            offered = {choice.name: choice.melody for choice in self.models()}
            model = given.get("model") or next(iter(offered))
            if offered.get(model) is False:
                raise InvalidRequest("melody", model, MELODY_NEEDS)

    def reader(self, model: str) -> Knows | None:
        """Whether the model's tokenizer knows a word; None if only loading it will tell."""
        return T5.knows  # the tokenizer of all of AudioCraft's MusicGen models

    def remarks(self, request: MusicRequest) -> dict[str, Message]:
        """What to tell about the texts of ``request``, by field: what its model can't read."""
        knows = self.reader(request.model or self.models()[0].name)
        said = {field: remark(getattr(request, field), knows) for field in TEXTS if knows}
        return {field: message for field, message in said.items() if message}

    def warm_up(self) -> None:  # noqa: B027  (most backends are ready at once)
        """Start getting ready for a first take; returns at once."""

    def close(self) -> None:  # noqa: B027  (most backends hold nothing)
        """Free what the backend holds: threads, models, connections."""


def _is_usual(name: str, value: object) -> bool:
    """Whether a field is as when nobody chooses it; raises ``InvalidRequest`` for no field."""
    if name not in MusicRequest.__dataclass_fields__:
        raise InvalidRequest(name, value, "is no field of a request")
    plain = value is None or isinstance(value, str | int | float)  # an array has no one answer
    return plain and value == MusicRequest.__dataclass_fields__[name].default


def _check_narrower(name: str, value: object, limit: Limit, label: Text) -> None:
    """Raise ``InvalidRequest`` for a number beyond one backend's own limit."""
    try:
        checked_number(name, value, limit)
    except InvalidRequest:
        raise InvalidRequest(name, value, f"{limit} on {label}") from None


class HostedBackend(Backend):
    """Somebody else's machine, paid by an API key. ``typical_price`` is in credits a take."""

    typical_price: float

    @property
    @abstractmethod
    def has_key(self) -> bool:
        """Whether there is a key to generate with."""

    @abstractmethod
    def with_key(self, key: str) -> Self:
        """The same backend, paid by another key; raises ``BackendError``."""

    @abstractmethod
    def balance(self) -> float:
        """Credits left on the key's account; a free call that blocks. Raises ``BackendError``."""
