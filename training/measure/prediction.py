"""What the decoder expects of a piece: cross-entropy, and how it goes on by itself."""

from __future__ import annotations

import torch
from torch.nn import functional

from musicgen_space.engine.delay import UNKNOWN, DelayPattern
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.model import Columns, Condition, Decoder

__all__ = ["continued", "cross_entropy"]


@torch.inference_mode()
def cross_entropy(model: MusicGen, codes: torch.Tensor, prompt: str) -> torch.Tensor:
    """Teacher-forced cross-entropy of one piece's codes [K, T] after ``prompt``: nats, [K].

    The mean over all frames of −log p(code | all steps before, prompt), without guidance.
    """
    decoder = model.decoder
    if not isinstance(decoder, Decoder):
        raise ValueError("Cross-entropy needs the decoder that torch computes.")
    pattern = DelayPattern(decoder.config.delays, codes.shape[-1])
    sequence = pattern.build_sequence(codes[None], decoder.config.special_token)
    condition = Condition(model.text.encode([prompt]), rows=1)
    cache, _ = decoder.start(condition, pattern.steps)
    [hidden] = decoder.hidden([cache], [Columns(sequence[..., :-1])])
    logits = decoder.lm_heads(decoder.norm(hidden[0]))  # [S, K · V]
    logits = logits.view(pattern.steps, decoder.config.codebooks, -1)
    target = sequence[0, :, 1:].masked_fill(
        sequence[0, :, 1:] == decoder.config.special_token, -100
    )
    losses = [functional.cross_entropy(logits[:, k], row) for k, row in enumerate(target)]
    return torch.stack(losses)


@torch.inference_mode()
def continued(model: MusicGen, codes: torch.Tensor, prompt: str, frames: int) -> torch.Tensor:
    """The likeliest code at each step, ``frames`` on from codes [K, P]: [K, P + frames]."""
    config, known = model.decoder.config, codes.shape[-1]
    pattern = DelayPattern(config.delays, known + frames)
    sequence = pattern.build_sequence(codes[None], config.special_token)
    condition = Condition(model.text.encode([prompt]), rows=1)
    logits, cache = model.decoder.prefill(
        sequence[..., : known + 1], condition, max_steps=pattern.steps
    )
    for step in range(known + 1, pattern.steps + 1):
        if step > known + 1:
            logits = model.decoder.decode(sequence[..., step - 1], cache)
        current = sequence[..., step]
        sequence[..., step] = torch.where(current == UNKNOWN, logits.argmax(dim=-1), current)
    return pattern.revert_sequence(sequence, 0, known + frames)[0]
