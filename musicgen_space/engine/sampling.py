"""From logits to codes: classifier-free guidance, then top-k or top-p, then sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

__all__ = ["Knobs", "apply_guidance", "sample"]


@dataclass(frozen=True, slots=True)
class Knobs:
    """How the codes of one take are drawn; ``top_p`` > 0 replaces ``top_k``."""

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0


def apply_guidance(cond: torch.Tensor, uncond: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Classifier-free guidance of logits: ``uncond + (cond − uncond) · guidance_scale``.

    Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", in AudioCraft's form.
    """
    return uncond + (cond - uncond) * guidance_scale


def sample(
    logits: torch.Tensor, generators: Sequence[torch.Generator], knobs: Sequence[Knobs]
) -> torch.Tensor:
    """Sample the next codes of S takes: [S, K, V] → int64 [S, K].

    Each take has its own generator and knobs, and gets the codes that it would get alone. Its
    codebooks are sampled in one call, in the order of transformers and AudioCraft, so that a
    seed gives the same codes there: the largest p / q, where q is exponential noise, is what
    ``torch.multinomial`` draws (the exponential race), but without asking the device whether p
    makes sense.
    """
    temperatures = logits.new_tensor([each.temperature for each in knobs], dtype=torch.float32)
    kept = _keep_likely(logits.float() / temperatures[:, None, None], knobs)
    probabilities = kept.softmax(dim=-1)
    noise = torch.empty_like(probabilities)
    for take, generator in zip(noise, generators, strict=True):
        take.exponential_(generator=generator)
    return (probabilities / noise).argmax(dim=-1)


def _keep_likely(logits: torch.Tensor, knobs: Sequence[Knobs]) -> torch.Tensor:
    """Mask what each take's knobs leave out of the draw."""
    nucleus = [take for take, each in enumerate(knobs) if each.top_p > 0]
    if not nucleus:
        return _keep_top_k(logits, [each.top_k for each in knobs])
    others = [take for take, each in enumerate(knobs) if each.top_p <= 0]
    kept = torch.empty_like(logits)
    kept[nucleus] = _keep_top_p(logits[nucleus], [knobs[take].top_p for take in nucleus])
    if others:
        kept[others] = _keep_top_k(logits[others], [knobs[take].top_k for take in others])
    return kept


def _keep_top_k(logits: torch.Tensor, top_k: Sequence[int]) -> torch.Tensor:
    """Mask all but the ``top_k`` largest of each take; ties with the smallest of them stay."""
    counts = [min(count, logits.shape[-1]) for count in top_k]
    largest = logits.topk(max(counts), dim=-1).values  # [S, K, most]
    last = torch.tensor(counts, device=logits.device) - 1
    smallest = largest.gather(-1, last[:, None, None].expand(-1, logits.shape[1], 1))
    return logits.masked_fill(logits < smallest, -torch.inf)


def _keep_top_p(logits: torch.Tensor, top_p: Sequence[float]) -> torch.Tensor:
    """Nucleus sampling: mask all but the fewest codes whose probabilities sum to ``top_p``."""
    ascending, order = logits.sort(dim=-1)
    rest = logits.new_tensor([1.0 - probability for probability in top_p])
    dropped = ascending.softmax(dim=-1).cumsum(dim=-1) <= rest[:, None, None]
    dropped[..., -1] = False  # the likeliest always stays
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), -torch.inf)
