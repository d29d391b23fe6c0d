"""From logits to codes: classifier-free guidance, then top-k or top-p, then a draw."""

from __future__ import annotations

import torch

__all__ = ["guide", "sample"]


def guide(logits: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Push away from what the model would play without a prompt: ``u + (c − u) · scale``.

    ``logits`` is [2, K, V]: the row with the prompt, then the row without. → [1, K, V].
    Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", in AudioCraft's form.
    """
    conditional, unconditional = logits.chunk(2)
    return unconditional + (conditional - unconditional) * guidance_scale


def sample(
    logits: torch.Tensor,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int = 250,
    top_p: float = 0.0,
) -> torch.Tensor:
    """Draw one code for each row of ``logits`` [..., V]; → int64 [...].

    ``top_p`` > 0 is used instead of ``top_k``. All rows are drawn in one call, in the
    order in which transformers and AudioCraft draw them, so that a seed means the same.
    """
    logits = logits.float() / temperature
    logits = _keep_top_p(logits, top_p) if top_p > 0 else _keep_top_k(logits, top_k)
    probabilities = logits.softmax(dim=-1).flatten(0, -2)
    return torch.multinomial(probabilities, 1, generator=generator).view(logits.shape[:-1])


def _keep_top_k(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """All but the ``top_k`` largest become −∞; ties with the last one kept stay."""
    weakest = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < weakest, -torch.inf)


def _keep_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """All but the fewest codes that together reach probability ``top_p`` become −∞."""
    ascending, order = logits.sort(dim=-1)
    dropped = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1.0 - top_p
    dropped[..., -1] = False  # the likeliest always stays
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), -torch.inf)
