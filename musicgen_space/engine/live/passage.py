"""Music without end by one wish, in windows that move on; see ``engine/windows.py``.

The windows of a passage share less than those of a take where the machine is slow: reading
anew what they share must not last longer than the sound that is ahead::

    |— known ——|———————— predicted —————————|
                              |— shared ————|———————— predicted ————————|
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.sampling import Knobs
from musicgen_space.engine.scheduler.events import Generated
from musicgen_space.engine.scheduler.sequence import WindowSequence
from musicgen_space.engine.windows import STRIDE_SECONDS, WINDOW_SECONDS
from musicgen_space.live import LiveWish
from musicgen_space.request import LIMITS

__all__ = ["WARM_UP_SECONDS", "Passage"]

WARM_UP_SECONDS = 1.0  # of given frames, after which the codec's LSTM has settled

# How long the music is pushed away from the prompt that it comes from.
_AGAINST_SECONDS = 4.0
_GUIDED = LIMITS["guidance_scale"].default  # anything but 1, which would leave a branch out


class Passage:
    """A piece for the scheduler that is never done, by ``wish``, whose numbers may change.

    It goes on from ``given`` codes [1, K, P], if any, of which the last ``warm_up_seconds`` are
    decoded, too. ``against`` is a prompt that it moves away from at first. ``shared_seconds`` is
    what its windows share. To make one encodes the texts, which takes a while, in any thread.
    """

    takes = 1
    total = math.inf
    done = False
    chunk_seconds = 0.2
    shared_seconds: float = WINDOW_SECONDS - STRIDE_SECONDS

    @torch.inference_mode()
    def __init__(
        self,
        model: MusicGen,
        wish: LiveWish,
        seed: int,
        given: torch.Tensor | None = None,
        *,
        against: str = "",
        warm_up_seconds: float = WARM_UP_SECONDS,
    ) -> None:
        self.wish, self._model = wish, model
        rate = self._rate = model.codec.frame_rate
        none = torch.empty(
            (1, model.decoder.config.codebooks, 0), dtype=torch.int64, device=model.device
        )
        self._codes = none if given is None else given  # the latest, enough for a window
        self._dropped = 0  # frames before these
        self.known = self.frames = self._codes.shape[-1]
        self.decoded_from = max(0, self.known - round(warm_up_seconds * rate))
        self._conditioning = _conditioning(model, wish)
        self._turns, self._begins = bool(against), True
        self._first = _conditioning(model, wish, against) if against else self._conditioning
        self.rows = self._conditioning.rows
        self.generators = [model.sampler.generator(seed)]
        self.sequence: WindowSequence | None = None

    @property
    def knobs(self) -> list[Knobs]:
        """As they are wished now."""
        request = self.wish.request
        return [Knobs(request.temperature, request.top_k, request.top_p)]

    @property
    def seconds(self) -> float:
        """Seconds of new music."""
        return (self.frames - self.known) / self._rate

    @property
    def total_seconds(self) -> float:
        """The same: what was given has been heard."""
        return self.seconds

    def open(self) -> None:
        """Where a window begins, a sequence of its own."""
        if self.sequence is not None:
            return
        conditioning, frames = self._conditioning, WINDOW_SECONDS * self._rate
        shared = round(self.shared_seconds * self._rate)
        if self._begins:
            conditioning, shared = self._first, self.known
            if self._turns:
                frames = shared + round(_AGAINST_SECONDS * self._rate)
        elif self._turns:  # what it comes from has been heard enough
            shared = min(shared, self.frames - self.known)
        self._begins = False
        self._start = max(0, self.frames - shared)
        condition = conditioning.at(self._start / self._rate)
        known = self.between(self._start, self.frames)
        self.sequence = WindowSequence(self._model.decoder, condition, known, frames)

    def merge(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the next step in all branches [R, K, V] → [1, K, V], as it is wished now."""
        return self._conditioning.merge(logits, self.wish.balance, self.wish.request.guidance_scale)

    def put(self, drawn: torch.Tensor) -> None:
        """Go on by a step of codes [1, K]."""
        assert self.sequence is not None
        frame = self.sequence.put(drawn)
        if frame is not None:
            self._codes = torch.cat([self._codes, frame.unsqueeze(-1)], dim=-1)
            self._forget()
        self.frames = self._start + self.sequence.frames
        if self.sequence.done:
            self.sequence = None

    def between(self, start: int, end: int) -> torch.Tensor:
        """The codes of frames ``start`` … ``end`` − 1; ``IndexError`` if they are forgotten."""
        if start < self._dropped:
            raise IndexError(f"frame {start} comes before {self._dropped}, the first one kept")
        return self._codes[..., start - self._dropped : end - self._dropped].clone()

    def before(self, frame: int, seconds: float) -> torch.Tensor:
        """The codes of up to so many seconds before ``frame``: [1, K, P]."""
        return self.between(max(self._dropped, frame - round(seconds * self._rate)), frame)

    def begun(self, piece: Generated) -> Iterator[Generated]:
        """``piece``: nothing comes before it."""
        yield piece

    def _forget(self) -> None:
        """Keep what a window may need, and no more."""
        most = 2 * WINDOW_SECONDS * self._rate
        if self._codes.shape[-1] > most:
            kept = self._codes[..., -most // 2 :].clone()
            self._dropped += self._codes.shape[-1] - kept.shape[-1]
            self._codes = kept


def _conditioning(model: MusicGen, wish: LiveWish, against: str = "") -> Conditioning:
    request = replace(wish.request, guidance_scale=_GUIDED)
    if against:
        request = replace(request, negative_prompt=against)
    return Conditioning(request, model.text, model.decoder.config, model.codec.sample_rate)
