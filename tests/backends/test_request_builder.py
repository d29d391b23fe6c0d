"""One way from fields to a request, whoever asks: what a backend obeys, and how far."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from musicgen_space.backends.base import Backend, ModelChoice, Update
from musicgen_space.backends.segmind import SegmindBackend
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest
from musicgen_space.request import LIMITS, MusicRequest

SOUND = Clip(np.ones((1, 32_000), np.float32), 32_000)


class Short(Backend):
    """Makes up to a minute, draws from all codes, and has one model that follows tunes."""

    name, label, about = "short", "Short", ""
    knobs = frozenset(MusicRequest.__dataclass_fields__) - {"top_k"}
    limits = MappingProxyType({**LIMITS, "duration": replace(LIMITS["duration"], maximum=60.0)})

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("deaf", ""), ModelChoice("melodious", "", melody=True)]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        yield from ()


def unread(field: str, given: object) -> Clip:
    pytest.fail(f"{field} was read, though something is wrong")


def test_fields_become_a_request_with_the_default_model_and_clips() -> None:
    fields = {"prompt": "jazz", "duration": 60, "top_k": 250, "continue_from": "song.wav"}
    request = Short().request(fields, lambda field, given: replace(SOUND, name=f"{field} {given}"))
    assert (request.duration, request.model) == (60, "deaf")
    assert request.continue_from is not None
    assert request.continue_from.name == "continue_from song.wav"


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"duration": 61}, "duration must be a number from 1 to 60 seconds on Short, got 61"),
        ({"top_k": 7}, "top_k can't be chosen on Short, got 7"),
        ({"tempo": 120}, "tempo is no field of a request, got 120"),
        ({"model": "elsewhere"}, r"model must be one of \['deaf', 'melodious'\], got 'elsewhere'"),
        ({"model": 7}, "model must be one of"),
        ({"melody": "song.wav"}, "melody needs a melody model, such as .*, got 'deaf'"),
        ({"prompt": ""}, "prompt must not be empty"),
        ({"seed": "7"}, "seed must be a whole number from -1 to 9999, got '7'"),
    ],
)
def test_what_is_wrong_is_said_before_a_clip_is_read(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Short().request({"prompt": "jazz", "continue_from": "song.wav", **wish}, unread)


def test_only_who_may_names_a_model_that_is_not_listed() -> None:
    fields = {"prompt": "jazz", "model": "./mine", "melody": SOUND}
    assert Short().request(fields, any_model=True).model == "./mine"
    with pytest.raises(InvalidRequest, match="model must be one of"):
        Short().request(fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"duration": 31}, "duration must be a number from 1 to 30 seconds on Segmind, got 31"),
        ({"variations": 2}, "variations can't be chosen on Segmind, got 2"),
    ],
)
def test_a_backend_is_not_talked_into_what_it_can_not_do(
    fields: dict[str, Any], message: str
) -> None:
    backend = SegmindBackend(base_url="http://127.0.0.1:9").with_key("SG_0123456789abcdef")
    updates = backend.generate(MusicRequest("jazz", **fields), threading.Event())
    with pytest.raises(InvalidRequest, match=message):
        next(updates)
