"""From logits to codes: classifier-free guidance, then top-k or top-p, then sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["apply_guidance", "sample"]


def apply_guidance(cond: torch.Tensor, uncond: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Classifier-free guidance of logits: ``uncond + (cond − uncond) · guidance_scale``.

    Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", in AudioCraft's form.
    """
    return uncond + (cond - uncond) * guidance_scale


def sample(
    logits: torch.Tensor,
    generators: Sequence[torch.Generator],
    *,
    temperature: float = 1.0,
    top_k: int = 250,
    top_p: float = 0.0,
) -> torch.Tensor:
    """Sample the next codes of B takes, each from its own generator: [B, K, V] → int64 [B, K].

    ``top_p`` > 0 replaces ``top_k``. A take's codebooks are sampled in one call, in the order
    of transformers and AudioCraft, so that a seed gives the same codes there.
    """
    logits = logits.float() / temperature
    logits = _keep_top_p(logits, top_p) if top_p > 0 else _keep_top_k(logits, top_k)
    takes = zip(logits.softmax(dim=-1), generators, strict=True)
    drawn = [torch.multinomial(take, 1, generator=generator) for take, generator in takes]
    return torch.stack(drawn).squeeze(-1)


def _keep_top_k(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """Mask all but the ``top_k`` largest; ties with the smallest of them stay."""
    smallest = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def _keep_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Nucleus sampling: mask all but the fewest codes whose probabilities sum to ``top_p``."""
    ascending, order = logits.sort(dim=-1)
    dropped = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1.0 - top_p
    dropped[..., -1] = False  # the likeliest always stays
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), -torch.inf)
