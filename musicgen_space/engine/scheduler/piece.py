"""What the scheduler needs of a piece of music that is being made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from musicgen_space.engine.sampling import Knobs
from musicgen_space.engine.scheduler.events import Generated
from musicgen_space.engine.scheduler.sequence import WindowSequence

__all__ = ["Piece"]


class Piece(Protocol):
    """Takes that go in step: the codes of ``known`` frames are given, the others are drawn.

    ``open`` it, have its ``sequence`` read, and ``put`` the codes that are drawn from the
    logits, until it is ``done``. It does not know when.
    """

    sequence: WindowSequence | None  # of the window that is being predicted
    chunk_seconds: float  # of sound
    decoded_from: int  # the first frame whose sound is wanted
    known: int
    frames: int  # complete so far, the known ones among them
    rows: int  # of the decoder's batch

    @property
    def takes(self) -> int:
        """B."""

    @property
    def total(self) -> float:
        """Frames there will be."""

    @property
    def generators(self) -> Sequence[Any]:
        """The sampler's, of each take."""

    @property
    def knobs(self) -> Sequence[Knobs]:
        """Of each take."""

    @property
    def done(self) -> bool:
        """Whether all frames are there."""

    @property
    def seconds(self) -> float:
        """Seconds of new music."""

    @property
    def total_seconds(self) -> float:
        """The same with what was given."""

    def open(self) -> None:
        """Where a window begins, a sequence of its own."""

    def merge(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the next step in all branches [R, K, V] → of the takes [B, K, V]."""

    def put(self, drawn: torch.Tensor) -> None:
        """Go on by a step of codes [B, K]."""

    def between(self, start: int, end: int) -> torch.Tensor:
        """A copy of the codes of complete frames ``start`` … ``end`` − 1: [B, K, end − start]."""

    def begun(self, piece: Generated) -> Iterator[Generated]:
        """``piece`` after whatever comes before it."""
