"""The steps of one window while it is predicted."""

from __future__ import annotations

from typing import Any

import torch

from musicgen_space.engine.delay import UNKNOWN, DelayPattern
from musicgen_space.engine.model import Columns, Condition, Predictor

__all__ = ["WindowSequence"]


class WindowSequence:
    """``frames`` frames, the first of which are ``known`` codes [B, K, P], with a decoder's state.

    Have the decoder read the ``unread`` columns into ``state``, and ``put`` the codes that are
    drawn from its logits, until it is ``done``.
    """

    def __init__(
        self, decoder: Predictor, condition: Condition, known: torch.Tensor, frames: int
    ) -> None:
        self._pattern = DelayPattern(decoder.config.delays, frames)
        self._codes = self._pattern.build_sequence(known, decoder.config.special_token)
        self._known = known.shape[-1]
        self.frames = self._known  # complete so far
        self._step = self._known + 1  # the next one
        self.state: Any
        self.state, prefix = decoder.start(condition, self._pattern.steps)
        self.unread = Columns(self._codes[..., : self._step], prefix)

    @property
    def done(self) -> bool:
        """Whether all frames are complete."""
        return self._step > self._pattern.steps

    @property
    def frame(self) -> int:
        """The first codebook's, that is drawn next."""
        return self._step - 1

    def put(self, drawn: torch.Tensor) -> torch.Tensor | None:
        """Go on by a step of codes [B, K], where they are unknown; → the frame it completes."""
        step, self._step = self._step, self._step + 1
        current = self._codes[..., step]
        self._codes[..., step] = torch.where(current == UNKNOWN, drawn, current)
        self.unread = Columns(self._codes[..., step : step + 1])
        complete = self._pattern.complete_frames(step)
        if complete <= self._known:
            return None
        self.frames = complete
        return self._pattern.revert_sequence(self._codes, complete - 1, complete)[..., 0]
