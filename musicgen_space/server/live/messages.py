"""What is said on the socket of a live session, in JSON; the sound between it.

client                                  server
────────────────────────────────────────────────────────────────────────────
start    a wish, format, api_key        waiting, loading
started   id, sample_rate, channels …
heard     start, prompt, coming, speed
steer    fields of the wish             (sound)
heard    seconds                        error     as the HTTP API's
stop                                    ended     reason
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen_space.audio.resample import to_int16
from musicgen_space.backends.base import Loading, Waiting
from musicgen_space.errors import InvalidRequest
from musicgen_space.live import STEERED, Heard, LiveWish
from musicgen_space.request import RANDOM_SEED, Limit, checked_number
from musicgen_space.server.api.catalogue import Catalogue

__all__ = ["FORMATS", "Start", "event_of", "heard_event", "heard_seconds", "pcm", "steered_fields"]

FORMATS = ("pcm16", "float32")

_HOW = ("balance", "change")  # of the wish, besides the request's
_ASKED = (*STEERED, "seed")
_SECONDS = Limit(0.0, 1e6, 0.0, 0.001, "seconds")


@dataclass(frozen=True, slots=True)
class Start:
    """What a session begins with."""

    wish: LiveWish
    format: str

    @classmethod
    def of(cls, fields: Mapping[str, Any], catalogue: Catalogue) -> Start | None:
        """The checked first message; None for a model that isn't there.

        Raises ``InvalidRequest``.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        _check_type(given, "start")
        format_name = given.pop("format", FORMATS[0])
        if format_name not in FORMATS:
            raise InvalidRequest("format", format_name, f"must be one of {[*FORMATS]}")
        model = given.pop("model", None)
        if not isinstance(model, str | None):
            raise InvalidRequest("model", model, "must be text")
        how = {name: given.pop(name) for name in _HOW if name in given}
        _check_names(given, _ASKED, "is no field of a live session")
        found = catalogue.wish(model, {"prompt": "", "seed": RANDOM_SEED, **given})
        if found is None:
            return None
        return cls(LiveWish(found.request.with_seed_drawn(), **how), format_name)


def steered_fields(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a message is to change; raises ``InvalidRequest`` for what can't be while it plays."""
    fields = {name: value for name, value in message.items() if name != "type"}
    _check_names(fields, (*STEERED, *_HOW), "can't be changed while it plays")
    return fields


def heard_seconds(message: Mapping[str, Any]) -> float:
    """How much its client has heard, as a message says; raises ``InvalidRequest``."""
    fields = {name: value for name, value in message.items() if name != "type"}
    _check_names(fields, ("seconds",), "is no field of heard")
    return float(checked_number("seconds", fields.get("seconds"), _SECONDS))


def event_of(update: Waiting | Loading) -> dict[str, Any]:
    """What a client is told of it."""
    if isinstance(update, Waiting):
        return {"type": "waiting", "place": update.place}
    return {"type": "loading", "what": str(update.what), "fraction": update.fraction}


def heard_event(heard: Heard) -> dict[str, Any]:
    """What is said of sound before it is sent, where it isn't as before."""
    speed = None if heard.speed is None else round(heard.speed, 1)
    start = round(heard.start, 3)
    what = {"prompt": heard.prompt, "coming": heard.coming, "speed": speed}
    return {"type": "heard", "start": start, **what}


def pcm(samples: np.ndarray, format_name: str) -> bytes:
    """Sound as it is sent: little-endian samples, the channels in turns."""
    if format_name == "pcm16":
        return to_int16(samples).T.tobytes()
    return samples.T.astype("<f4").tobytes()


def _check_type(given: dict[str, Any], expected: str) -> None:
    if (said := given.pop("type", None)) != expected:
        raise InvalidRequest("type", said, f"must be {expected!r} in the first message")


def _check_names(given: Mapping[str, Any], known: tuple[str, ...], limit: str) -> None:
    for name, value in given.items():
        if name not in known:
            raise InvalidRequest(name, value, limit)
