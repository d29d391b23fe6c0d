"""The KV cache: all state of one generation, so that the decoder itself has none.

R rows (batch), H heads, D features per head, L text tokens, W width; N of the R rows attend
to a text (see ``model``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

__all__ = ["Attended", "Cache", "KVCache"]

# Keys and values [R, H, positions, D], and the mask of SDPA; None: to all of them.
Attended = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]


class Cache(Protocol):
    """What a step of the decoder needs of a cache."""

    @property
    def rows(self) -> int:
        """R, the batch size."""

    @property
    def cross_attn(self) -> tuple[torch.Tensor, ...]:
        """See ``KVCache``."""

    @property
    def cross_attn_mask(self) -> torch.Tensor | None:
        """See ``KVCache``."""

    def next_positions(self, count: int) -> torch.Tensor:
        """The embeddings of the next ``count`` positions, [count, W] or [R, count, W]."""

    def extend(self, layer: int, new: torch.Tensor) -> Attended:
        """Write the next keys and values [2, R, H, S, D]; → what their queries attend to."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class KVCache:
    """Keys and values of each layer, preallocated for the whole generation.

    ``self_attn`` [2, R, H, positions, D] per layer is filled up to ``length``.
    ``cross_attn`` [2, N, H, L, D] per layer never changes, nor do ``cross_attn_mask``
    [N, 1, 1, L] (None: no padding) and the position embeddings ``positions`` [positions, W].
    Melody models have no ``cross_attn``.
    """

    self_attn: tuple[torch.Tensor, ...]
    cross_attn: tuple[torch.Tensor, ...]
    cross_attn_mask: torch.Tensor | None
    positions: torch.Tensor
    length: int = 0

    @property
    def rows(self) -> int:
        """See ``Cache``."""
        return self.self_attn[0].shape[1]

    @property
    def capacity(self) -> int:
        """How many positions there are."""
        return self.self_attn[0].shape[3]

    def next_positions(self, count: int) -> torch.Tensor:
        """See ``Cache``."""
        return self.positions[self.length : self.length + count]

    def extend(self, layer: int, new: torch.Tensor) -> Attended:
        """See ``Cache``; ``length`` stays, as the other layers have yet to be extended."""
        kv, end = self.self_attn[layer], self.length + new.shape[3]
        kv[:, :, :, self.length : end] = new
        keys, values = kv[:, :, :, :end].unbind()
        mask = _causal_mask(self.length, end, kv.device) if end - self.length > 1 else None
        return keys, values, mask


def _causal_mask(start: int, end: int, device: torch.device) -> torch.Tensor:
    """Each position attends to itself and those before: bool [end − start, end]."""
    positions = torch.arange(end, device=device)
    return positions[None, :] <= positions[start:, None]
