"""What a page asks to hear, as live music knows it. Nothing that it sends is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen_space.backends import backend_named
from musicgen_space.backends.base import Backend
from musicgen_space.clip import Clip
from musicgen_space.errors import BackendError
from musicgen_space.live import STEERED, LiveWish
from musicgen_space.message import Message
from musicgen_space.page.clip.own_sound import CONTINUE, clip_fields
from musicgen_space.page.visitors.kept import Kept

__all__ = ["live_wish", "not_there", "steered"]

_BESIDE = ("balance", "change")  # fields of a LiveWish that are none of its request


def live_wish(
    backends: Mapping[str, Backend], sounds: Kept[Clip], sent: Mapping[str, Any]
) -> tuple[Backend, LiveWish]:
    """What is to be played, and where; raises ``MusicGenSpaceError``.

    Of somebody's own sound only what is to be continued counts: it is the beginning.
    """
    backend = backend_named({**backends}, str(sent.get("backend")))
    if not backend.plays_live:
        raise BackendError(not_there(backend))
    fields = {name: sent[name] for name in (*STEERED, "seed", "model") if name in sent}
    if sent.get("use") == CONTINUE:
        fields |= clip_fields(sounds, sent.get("sound"), CONTINUE)
    beside = {name: sent[name] for name in _BESIDE if name in sent}
    return backend, LiveWish(backend.request(fields).with_seed_drawn(), **beside)


def steered(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a wish that are to change."""
    return {name: sent[name] for name in (*STEERED, *_BESIDE) if name in sent}


def not_there(backend: Backend) -> Message:
    """What is said of a backend that plays no live music."""
    return Message("Live music is not made on {place}: choose another place.", place=backend.label)
