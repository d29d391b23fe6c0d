"""From logits to codes: classifier-free guidance, then top-k or top-p, then sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

__all__ = ["Knobs", "Sampler", "TorchSampler", "apply_guidance", "keep_top_p"]


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


class Sampler(Protocol):
    """Draws the next codes of takes, each of which has its own generator of random numbers.

    A take gets the codes that it would get alone. Its codebooks are sampled in the order of
    transformers and AudioCraft, and from the same numbers, so that a seed gives the same codes
    there: the largest p / q, where q is exponential noise, is what ``torch.multinomial`` draws
    (the exponential race).
    """

    def generator(self, seed: int) -> Any:
        """One for a take that begins."""

    def sample(
        self, logits: torch.Tensor, generators: Sequence[Any], knobs: Sequence[Knobs]
    ) -> torch.Tensor:
        """The codes of S takes from their logits [S, K, V]: int64 [S, K]."""


@dataclass(frozen=True, slots=True)
class TorchSampler:
    """Samples on ``device``, which is not asked whether p makes sense: nobody waits for it."""

    device: torch.device

    def generator(self, seed: int) -> torch.Generator:
        """See ``Sampler.generator``."""
        return torch.Generator(self.device).manual_seed(seed)

    def sample(
        self, logits: torch.Tensor, generators: Sequence[torch.Generator], knobs: Sequence[Knobs]
    ) -> torch.Tensor:
        """See ``Sampler.sample``."""
        probabilities = torch.empty(logits.shape, device=logits.device)
        for alike in dict.fromkeys(knobs):
            # Take by take: a GPU would have to wait for a list of indices from the host.
            takes = [take for take, each in enumerate(knobs) if each == alike]
            theirs = _probabilities(torch.stack([logits[take] for take in takes]), alike)
            for take, own in zip(takes, theirs, strict=True):
                probabilities[take] = own
        noise = torch.empty_like(probabilities)
        for own, generator in zip(noise, generators, strict=True):
            own.exponential_(generator=generator)
        return (probabilities / noise).argmax(dim=-1)


def _probabilities(logits: torch.Tensor, knobs: Knobs) -> torch.Tensor:
    logits = logits.float() / knobs.temperature
    if knobs.top_p > 0:
        return keep_top_p(logits, knobs.top_p).softmax(dim=-1)
    return _keep_top_k(logits, knobs.top_k).softmax(dim=-1)


def _keep_top_k(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """Mask all but the ``top_k`` largest; ties with the smallest of them stay."""
    largest = logits.topk(min(top_k, logits.shape[-1]), dim=-1, sorted=False).values
    return logits.masked_fill(logits < largest.amin(dim=-1, keepdim=True), -torch.inf)


def keep_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Nucleus sampling: mask all but the fewest codes whose probabilities sum to ``top_p``."""
    ascending, order = logits.sort(dim=-1)
    dropped = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1.0 - top_p
    dropped[..., -1] = False  # the likeliest always stays
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), -torch.inf)
