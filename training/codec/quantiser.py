"""Residual quantisation: each codebook says what the ones before it left over.

The entries are not learned by gradients: each is the moving average of the vectors it stood for
(van den Oord et al. 2017, "Neural Discrete Representation Learning", appendix A), and one that
stands for nothing any more takes the place of a vector at hand (Dhariwal et al. 2020, "Jukebox").

B clips, K codebooks of V entries, D features, T frames.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Quantised", "Quantiser"]

_DECAY = 0.99
_DEAD = 0.02  # uses a step, on average, below which an entry is replaced
_USED = 0.1  # the same, above which it counts as in use
_UNQUANTISED = 0.15  # the share of clips that pass as they are, so that the decoder hears both
_ROUNDS = 8  # of k-means, for the first entries

Quantised = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Quantiser(nn.Module):
    """The codebooks: ``entries`` [K, V, D], their ``uses`` [K, V] and ``sums`` [K, V, D]."""

    entries: torch.Tensor
    uses: torch.Tensor
    sums: torch.Tensor

    def __init__(self, codebooks: int, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("entries", torch.zeros(codebooks, size, width))
        self.register_buffer("uses", torch.ones(codebooks, size))
        self.register_buffer("sums", torch.zeros(codebooks, size, width))

    @torch.no_grad()
    def start_from(self, embeddings: torch.Tensor) -> None:
        """Take the first entries from ``embeddings`` [B, D, T], by k-means."""
        rest = _vectors(embeddings)
        for entries, uses, sums in zip(self.entries, self.uses, self.sums, strict=True):
            entries.copy_(_k_means(rest, len(entries)))
            uses.fill_(1)
            sums.copy_(entries)
            rest = rest - entries[_nearest(rest, entries)]

    def forward(self, embeddings: torch.Tensor) -> Quantised:
        """Quantise ``embeddings`` [B, D, T], and move the entries.

        → the same through the codebooks, with straight-through gradients; the commitment
        loss; entries in use by codebook [K].
        """
        clips, _, frames = embeddings.shape
        vectors = _vectors(embeddings)
        rest, quantised = vectors, torch.zeros_like(vectors)
        loss = vectors.new_zeros(())
        for codebook in range(len(self.entries)):
            chosen = self._choose(codebook, rest.detach())
            loss = loss + functional.mse_loss(rest, chosen)
            rest, quantised = rest - chosen, quantised + chosen
        passes = torch.rand(clips, 1, 1, device=vectors.device) < _UNQUANTISED
        passes = passes.expand(clips, frames, 1).reshape(-1, 1)
        straight = vectors + (quantised - vectors).detach()
        result = torch.where(passes, vectors, straight).view(clips, frames, -1).transpose(1, 2)
        return result, loss, (self.uses > _USED).sum(dim=1)

    @torch.no_grad()
    def _choose(self, codebook: int, rest: torch.Tensor) -> torch.Tensor:
        """The entries nearest to ``rest`` [N, D], before the codebook moves towards them."""
        entries, uses, sums = (tensor[codebook] for tensor in (self.entries, self.uses, self.sums))
        chosen = _nearest(rest, entries)
        result = entries[chosen]
        counts, totals = _tally(rest, chosen, len(entries))
        uses.lerp_(counts, 1 - _DECAY)
        sums.lerp_(totals, 1 - _DECAY)
        dead = uses < _DEAD
        fresh = rest[torch.randint(len(rest), (len(entries),), device=rest.device)]
        sums.copy_(torch.where(dead[:, None], fresh, sums))
        uses.copy_(torch.where(dead, 1.0, uses))
        entries.copy_(sums / uses[:, None])
        return result


def _vectors(embeddings: torch.Tensor) -> torch.Tensor:
    """[B, D, T] → float32 [B · T, D]."""
    return embeddings.float().transpose(1, 2).flatten(0, 1)


def _nearest(vectors: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
    """The index of the nearest of ``entries`` [V, D] for each of ``vectors`` [N, D]."""
    return (2 * vectors @ entries.T - entries.square().sum(dim=1)).argmax(dim=1)


def _tally(
    vectors: torch.Tensor, chosen: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many vectors chose each entry [V], and their sums [V, D]."""
    counts = vectors.new_zeros(size).index_add_(0, chosen, torch.ones_like(vectors[:, 0]))
    totals = vectors.new_zeros(size, vectors.shape[1]).index_add_(0, chosen, vectors)
    return counts, totals


def _k_means(vectors: torch.Tensor, size: int) -> torch.Tensor:
    """``size`` centres [V, D] of ``vectors`` [N, D]; one that nobody chose is drawn anew."""

    def drawn() -> torch.Tensor:
        return vectors[torch.randint(len(vectors), (size,), device=vectors.device)]

    centres = drawn()
    for _ in range(_ROUNDS):
        counts, totals = _tally(vectors, _nearest(vectors, centres), size)
        means = totals / counts.clamp_min(1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, drawn())
    return centres
