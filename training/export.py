"""The checkpoint as it is published, and the proof that everybody reads the same in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, MusicgenForConditionalGeneration

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.model import Condition
from musicgen_space.engine.placement import CPU
from musicgen_space.request import MusicRequest

__all__ = ["Unequal", "check", "export"]

_CHECKED_STEPS = 20
_TOLERANCE = 1e-3  # of logits, whose spread is some units


class Unequal(Exception):
    """Our engine and transformers disagree about a checkpoint."""


def export(trained: Path, folder: Path, shard_megabytes: int) -> None:
    """Write the checkpoint ``trained`` to ``folder`` in half precision, ready to generate."""
    model = MusicgenForConditionalGeneration.from_pretrained(trained, dtype=torch.float32)
    special = model.decoder.config.pad_token_id
    settings = model.generation_config
    settings.decoder_start_token_id = settings.pad_token_id = settings.bos_token_id = special
    settings.do_sample, settings.guidance_scale, settings.top_k = True, 3.0, 250
    settings.max_length = 1503  # steps of 30 s, delays included
    model.half().save_pretrained(folder, max_shard_size=f"{shard_megabytes}MB")
    AutoTokenizer.from_pretrained(trained).save_pretrained(folder)


@torch.inference_mode()
def check(folder: Path) -> dict[str, float]:
    """Load ``folder`` with transformers and with our engine, compare, and make a second of music.

    → the largest difference of logits. Raises ``Unequal``.
    """
    ours = load(folder, replace(CPU, native=False))
    theirs = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    request = MusicRequest("upbeat funk with brass", duration=1, seed=1)
    tokens = AutoTokenizer.from_pretrained(folder)([request.prompt], return_tensors="pt")
    difference = _difference(ours, theirs, tokens, request.prompt)
    if not difference < _TOLERANCE:
        raise Unequal(f"The logits for {folder} differ by {difference:.2g}.")
    samples = np.concatenate([piece.samples for piece in generate(ours, request)], axis=-1)
    if samples.shape != (1, 1, ours.codec.sample_rate) or not np.isfinite(samples).all():
        raise Unequal(f"A second of music from {folder} has the shape {samples.shape}.")
    return {"largest difference of logits": difference, "weights": theirs.num_parameters()}


def _difference(
    ours: MusicGen,
    theirs: MusicgenForConditionalGeneration,
    tokens: Mapping[str, torch.Tensor],
    prompt: str,
) -> float:
    """Of the logits after some random steps."""
    config = ours.decoder.config
    shape = (1, config.codebooks, _CHECKED_STEPS)
    sequence = torch.randint(
        config.codebook_size, shape, generator=torch.Generator().manual_seed(0)
    )
    condition = Condition(ours.text.encode([prompt]), rows=1)
    logits, _ = ours.decoder.prefill(sequence, condition, max_steps=_CHECKED_STEPS)
    expected = theirs(**tokens, decoder_input_ids=sequence[0]).logits[:, -1]
    return float((logits[0] - expected).abs().max())
