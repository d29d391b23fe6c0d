"""The delay pattern: each codebook runs a few steps behind the one before it.

MusicGen predicts one column of K codes a step. With K = 4 codebooks, delays 0 1 2 3,
T = 3 frames and S the special token (Copet et al. 2023, "Simple and Controllable Music
Generation", figure 1)::

    column 0 1 2 3 4 5 6        column 0 is given, columns 1 … T + 3 are predicted
    k=0    S 0 1 2 S S S        column c of codebook k holds frame c − 1 − delay of k
    k=1    S S 0 1 2 S S
    k=2    S S S 0 1 2 S
    k=3    S S S S 0 1 2

In stereo the codebooks of the two channels take turns, with delays 0 0 1 1 2 2 3 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["UNKNOWN", "DelayPattern"]

UNKNOWN = -1  # stands where a code is still to be predicted


@dataclass(frozen=True, slots=True)
class DelayPattern:
    """Where each code of ``frames`` frames stands; ``delays`` are the K codebooks' own."""

    delays: tuple[int, ...]
    frames: int

    @property
    def steps(self) -> int:
        """Columns after the first one."""
        return self.frames + max(self.delays)

    def columns(self, known: torch.Tensor, special: int) -> torch.Tensor:
        """All columns: the ``known`` first frames [B, K, P], the special token, the rest unknown.

        → int64 [B, K, steps + 1]. Columns 0 … P hold nothing unknown.
        """
        takes, codebooks, given = known.shape
        columns = known.new_full((takes, codebooks, self.steps + 1), special)
        for codebook, delay in enumerate(self.delays):
            first = 1 + delay
            columns[:, codebook, first : first + self.frames] = UNKNOWN
            columns[:, codebook, first : first + given] = known[:, codebook]
        return columns

    def frames_done(self, column: int) -> int:
        """Frames whose codes are all known once ``column`` is."""
        return max(0, column - max(self.delays))

    def frames_of(self, columns: torch.Tensor, start: int, end: int) -> torch.Tensor:
        """Frames ``start`` … ``end`` − 1 with the delay undone: [B, K, T′] of [B, K, columns]."""
        rows = (
            columns[:, codebook, start + 1 + delay : end + 1 + delay]
            for codebook, delay in enumerate(self.delays)
        )
        return torch.stack(list(rows), dim=1)
