"""What live music is asked for, and what comes of it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from musicgen_space.errors import InvalidRequest
from musicgen_space.request import Limit, MusicRequest, checked_number

__all__ = ["BALANCE", "STEERED", "Change", "Heard", "LiveControls", "LiveWish"]

Change = Literal["auto", "evolve", "arrive"]

BALANCE = Limit(0.0, 1.0, 0.0, 0.01)
# Fields of a request that can be changed while it plays.
STEERED = (
    *("prompt", "blend_prompt", "negative_prompt"),
    *("guidance_scale", "temperature", "top_k", "top_p"),
)


@dataclass(frozen=True, slots=True)
class LiveWish:
    """What is to be heard: the prompts and knobs of ``request``, whose duration doesn't count.

    ``balance``, 0 … 1, is the weight of its ``blend_prompt`` beside its prompt.

    ``change`` is how the music follows another prompt: it may *evolve*, go on and turn into the
    new, or the new may *arrive*, begin afresh while the old one fades out on a beat. ``auto``
    tries both and takes the first where it can be heard to follow.
    """

    request: MusicRequest
    balance: float = BALANCE.default
    change: Change = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "balance", checked_number("balance", self.balance, BALANCE))
        if self.change not in get_args(Change):
            limit = f"must be one of {[*get_args(Change)]}"
            raise InvalidRequest("change", self.change, limit)
        if self.request.variations != 1:
            limit = "must be 1: live music is one"
            raise InvalidRequest("variations", self.request.variations, limit)

    def steered(self, **fields: Any) -> LiveWish:
        """The same with other ``fields``: those of ``STEERED``, ``balance`` or ``change``.

        Raises ``InvalidRequest``.
        """
        own = {name: fields.pop(name) for name in ("balance", "change") if name in fields}
        for name, value in fields.items():
            if name not in STEERED:
                raise InvalidRequest(name, value, "can't be changed while it plays")
        return dataclasses.replace(self, request=dataclasses.replace(self.request, **fields), **own)

    def same_texts(self, other: LiveWish) -> bool:
        """Whether both are conditioned on the same texts: then only numbers differ."""
        return all(
            getattr(self.request, name) == getattr(other.request, name)
            for name in ("prompt", "blend_prompt", "negative_prompt")
        )


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """The next stretch of live sound: float32 [channels, n] at ``sample_rate`` Hz.

    It begins ``start`` seconds after the session did. ``prompt`` is what it follows, ``coming``
    the prompt that is on its way, if any; ``speed`` how many seconds of one such music this
    machine makes per second, once it is known: it keeps up from 1 on.
    """

    samples: np.ndarray
    sample_rate: int
    start: float
    prompt: str
    coming: str | None = None
    speed: float | None = None


class LiveControls:
    """What somebody has in their hands while live music plays: any thread may use them."""

    def __init__(self, wish: LiveWish) -> None:
        self._wish, self._changing = wish, threading.Lock()
        self._stopped = threading.Event()
        self.fetched = 0.0  # seconds of sound that the listener has
        # When they heard second 0, on time.monotonic(), by what they say they hear now.
        self.began: float | None = None
        self.wake: Callable[[], object] = lambda: None  # let whoever makes the music look

    @property
    def wish(self) -> LiveWish:
        """What is to be heard."""
        return self._wish

    def steer(self, **fields: Any) -> LiveWish:
        """Change fields of the wish (see ``LiveWish.steered``); raises ``InvalidRequest``."""
        with self._changing:
            self._wish = self._wish.steered(**fields)
        self.wake()
        return self._wish

    def stop(self) -> None:
        """End the music; what the listener has is the last of it."""
        self._stopped.set()
        self.wake()

    @property
    def stopped(self) -> bool:
        """Whether it was ended."""
        return self._stopped.is_set()
