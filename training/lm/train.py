"""Training the decoder and T5 together, from nothing, on whole pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import EncodecModel, MusicgenForConditionalGeneration

from musicgen_space.engine.delay import DelayPattern
from training.device import half_precision
from training.graphs import Losses, captured
from training.journal import Journal
from training.lm.captions import CaptionReader, train_tokenizer, with_noise
from training.lm.model import build, cross_entropy, trained_parts
from training.lm.words import noise_words
from training.presets import LanguagePreset
from training.schedule import Schedule

__all__ = ["Captioned", "LanguageTrainer", "train"]

_WARM_UP = 200  # steps
_CLIPPED_GRADIENT = 1
_REPORT_EVERY = 100


@dataclass(frozen=True, slots=True, eq=False)
class Captioned:
    """Pieces as ``codes`` int16 [N, K, T], and their ``captions``."""

    codes: torch.Tensor
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def sequences(self, pieces: torch.Tensor, special: int) -> torch.Tensor:
        """The ``pieces`` with the delay pattern: int64 [B, K, T + K]."""
        codes = self.codes[pieces].long()
        pattern = DelayPattern(tuple(range(codes.shape[1])), codes.shape[2])
        return pattern.build_sequence(codes, special)


class LanguageTrainer:
    """The model, and one step of training it on the batch in its tensors."""

    def __init__(
        self, preset: LanguagePreset, codec: EncodecModel, frames: int, device: torch.device
    ) -> None:
        self.device = device
        self.model: MusicgenForConditionalGeneration = build(preset, codec).to(device)
        self.model.requires_grad_(True).train()
        self.special: int = self.model.decoder.config.pad_token_id
        rows, codebooks = preset.batch, self.model.decoder.config.num_codebooks
        steps = frames + codebooks
        self.tokens = torch.zeros(rows, preset.caption_tokens, dtype=torch.long, device=device)
        self.mask = torch.ones_like(self.tokens)
        self.told = torch.ones(rows, dtype=torch.bool, device=device)
        self.sequences = torch.zeros(rows, codebooks, steps, dtype=torch.long, device=device)
        self.rate = torch.zeros((), device=device)
        self._weights = trained_parts(self.model)
        self._optimizer = torch.optim.AdamW(
            self._weights,
            lr=self.rate,
            betas=(0.9, 0.95),
            weight_decay=0.1,
            capturable=device.type == "cuda",
        )

    def step(self) -> Losses:
        """Change all weights once."""
        by_codebook = self.losses(self.tokens, self.mask, self.told, self.sequences)
        self._optimizer.zero_grad(set_to_none=True)
        by_codebook.mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._weights, _CLIPPED_GRADIENT)
        self._optimizer.step()
        by_codebook = by_codebook.detach()
        return {"cross entropy": by_codebook.mean(), "by codebook": by_codebook}

    def losses(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        told: torch.Tensor,
        sequences: torch.Tensor,
    ) -> torch.Tensor:
        """The cross-entropy by codebook [K]: see ``cross_entropy``."""
        with half_precision(self.device):
            return cross_entropy(self.model, tokens, mask, told, sequences)


def train(
    preset: LanguagePreset,
    codec: EncodecModel,
    music: Captioned,
    held_out: Captioned,
    folder: Path,
    device: torch.device,
    seed: int,
    seconds: float | None = None,
) -> dict[str, float | list[float]]:
    """Train on ``music``; write the whole MusicGen, its tokenizer and the journal to ``folder``.

    → figures on ``held_out`` pieces.
    """
    torch.manual_seed(seed)
    noise = noise_words(music.captions)
    tokenizer = train_tokenizer([*music.captions, *noise], preset.vocabulary)
    reader = CaptionReader(tokenizer, preset.caption_tokens)
    trainer = LanguageTrainer(preset, codec, music.codes.shape[-1], device)
    batches = _batches(preset, music, noise, reader, np.random.default_rng(seed))
    schedule = Schedule(preset.steps, seconds)
    journal = Journal(folder, "lm", preset.steps, _REPORT_EVERY)
    step = None
    for count in schedule:
        _fill(trainer, music, next(batches))
        trainer.rate.fill_(schedule.rate(preset.learning_rate, warm_up=_WARM_UP))
        step = step or captured(trainer.step, device)
        journal.note(count, step())
    trainer.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _figures(trainer, reader, held_out)


_Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _batches(
    preset: LanguagePreset,
    music: Captioned,
    noise: list[str],
    reader: CaptionReader,
    random: np.random.Generator,
) -> Iterator[_Batch]:
    """Random pieces [B], their captions' tokens and mask [B, L], and who is told [B]."""
    while True:
        pieces = random.integers(0, len(music), preset.batch)
        captions = [music.captions[piece] for piece in pieces]
        captions = [
            with_noise(caption, noise, random)
            if random.random() < preset.noisy_caption
            else caption
            for caption in captions
        ]
        told = random.random(preset.batch) >= preset.no_caption
        yield torch.from_numpy(pieces), *reader.read(captions), torch.from_numpy(told)


def _fill(trainer: LanguageTrainer, music: Captioned, batch: _Batch) -> None:
    pieces, tokens, mask, told = batch
    trainer.sequences.copy_(music.sequences(pieces, trainer.special))
    trainer.tokens.copy_(tokens)
    trainer.mask.copy_(mask)
    trainer.told.copy_(told)


@torch.no_grad()
def _figures(
    trainer: LanguageTrainer, reader: CaptionReader, held_out: Captioned
) -> dict[str, float | list[float]]:
    """Cross-entropies of pieces that were not trained on; with others' captions, too."""
    trainer.model.eval()
    tokens, mask = (part.to(trainer.device) for part in reader.read(held_out.captions))
    told = torch.ones(len(held_out), dtype=torch.bool, device=trainer.device)
    pieces = torch.arange(len(held_out))
    sequences = held_out.sequences(pieces, trainer.special).to(trainer.device)
    right = trainer.losses(tokens, mask, told, sequences)
    wrong = trainer.losses(tokens.roll(1, 0), mask.roll(1, 0), told, sequences)
    return {
        "held-out cross entropy": right.mean().item(),
        "held-out by codebook": right.tolist(),
        "with another's caption": wrong.mean().item(),
    }
