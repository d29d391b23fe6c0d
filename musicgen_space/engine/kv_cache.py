"""The KV cache: all state of one generation, so that the decoder itself has none.

R rows (batch), H heads, D features per head, L text tokens, W width; N of the R rows attend
to a text (see ``model``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["KVCache"]


@dataclass(slots=True, eq=False)
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
        """R, the batch size."""
        return self.self_attn[0].shape[1]
