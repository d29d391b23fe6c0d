"""The delay pattern: each codebook runs a few steps behind the one before it.

MusicGen predicts K codes per step, one of each codebook. With K = 4, delays 0 1 2 3, T = 3
frames and S the special token (Copet et al. 2023, "Simple and Controllable Music
Generation", figure 1)::

    step   0 1 2 3 4 5 6        step 0 is given, steps 1 … T + 3 are predicted
    k=0    S 0 1 2 S S S        step s of codebook k holds frame s − 1 − delay of k
    k=1    S S 0 1 2 S S
    k=2    S S S 0 1 2 S
    k=3    S S S S 0 1 2

In stereo the codebooks of the two channels alternate, with delays 0 0 1 1 2 2 3 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["UNKNOWN", "DelayPattern"]

UNKNOWN = -1  # marks a code that is still to be predicted


@dataclass(frozen=True, slots=True)
class DelayPattern:
    """Where the codes of ``frames`` frames stand in a sequence of steps; one delay per codebook."""

    delays: tuple[int, ...]
    frames: int

    @property
    def steps(self) -> int:
        """Steps to predict, without step 0."""
        return self.frames + max(self.delays)

    def build_sequence(self, known: torch.Tensor, special: int) -> torch.Tensor:
        """The delayed sequence that starts with the ``known`` frames [B, K, P]; the rest unknown.

        → int64 [B, K, steps + 1]. Steps 0 … P hold nothing unknown.
        """
        takes, codebooks, known_frames = known.shape
        sequence = known.new_full((takes, codebooks, self.steps + 1), special)
        for codebook, delay in enumerate(self.delays):
            first = 1 + delay
            sequence[:, codebook, first : first + self.frames] = UNKNOWN
            sequence[:, codebook, first : first + known_frames] = known[:, codebook]
        return sequence

    def complete_frames(self, step: int) -> int:
        """Frames whose K codes are all known once ``step`` is predicted."""
        return max(0, step - max(self.delays))

    def revert_sequence(self, sequence: torch.Tensor, start: int, end: int) -> torch.Tensor:
        """Frames ``start`` … ``end`` − 1 with the delay undone: [B, K, steps] → [B, K, T′]."""
        rows = (
            sequence[:, codebook, start + 1 + delay : end + 1 + delay]
            for codebook, delay in enumerate(self.delays)
        )
        return torch.stack(list(rows), dim=1)
