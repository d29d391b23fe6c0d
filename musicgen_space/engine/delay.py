"""The delay pattern: codebook k runs k steps behind codebook 0.

MusicGen predicts one column of K codes a step. With K = 4 codebooks, T = 3 frames
and S the special token (Copet et al. 2023, "Simple and Controllable Music
Generation", figure 1)::

    column 0 1 2 3 4 5 6        column 0 is given, columns 1 … T + K − 1 are predicted
    k=0    S 0 1 2 S S S        column c of codebook k holds frame c − 1 − k
    k=1    S S 0 1 2 S S
    k=2    S S S 0 1 2 S
    k=3    S S S S 0 1 2
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["DelayPattern"]


@dataclass(frozen=True, slots=True)
class DelayPattern:
    """Where each code of ``frames`` frames of ``codebooks`` codes stands."""

    codebooks: int
    frames: int

    @property
    def steps(self) -> int:
        """Columns to predict, after the given one."""
        return self.frames + self.codebooks - 1

    def blank(self, special: int) -> torch.Tensor:
        """All columns, filled with the special token: int64 [K, steps + 1]."""
        return torch.full((self.codebooks, self.steps + 1), special, dtype=torch.int64)

    def spoken(self, column: int) -> slice:
        """The codebooks that have a frame in ``column``; the others hold the special token."""
        return slice(max(0, column - self.frames), min(self.codebooks, column))

    def frames_done(self, column: int) -> int:
        """Frames whose codes are all known once ``column`` is."""
        return max(0, column - self.codebooks + 1)

    def frames_of(self, columns: torch.Tensor, start: int, end: int) -> torch.Tensor:
        """Frames ``start`` … ``end`` − 1 with the delay undone: [K, T′] of [K, columns]."""
        rows = (columns[k, start + 1 + k : end + 1 + k] for k in range(self.codebooks))
        return torch.stack(list(rows))
