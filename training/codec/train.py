"""Training EnCodec: first a plain autoencoder, then through codebooks, then against judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import EncodecModel

from training.codec import network
from training.codec.discriminators import (
    Discriminators,
    features_apart,
    hinge_generator,
    hinge_judge,
)
from training.codec.losses import MelDistance
from training.codec.quantiser import Quantiser
from training.device import half_precision
from training.graphs import Losses, captured
from training.journal import Journal
from training.music.dataset import Dataset, as_floats
from training.music.render import SAMPLE_RATE
from training.presets import CodecPreset
from training.schedule import Schedule

__all__ = ["CodecTrainer", "train"]

_MEL, _COMMITMENT, _FEATURES = 15, 0.25, 2  # weights of the losses; the others count once
_QUIETER, _LOUDER = -12, 3  # decibels by which clips are changed
_MOST = 1.2  # as a factor
_CLIPPED_GRADIENT = 5
_CLIPS_TO_START = 8  # batches that the codebooks start from
_REPORT_EVERY = 100


class CodecTrainer:
    """The codec, its judges, and one step of training both on the clips in ``sound`` [B, n]."""

    def __init__(self, preset: CodecPreset, device: torch.device) -> None:
        self.device = device
        self.model: EncodecModel = network.build(preset).to(device)
        self.quantiser = Quantiser(preset.codebooks, preset.codebook_size, preset.width).to(device)
        self._judges = Discriminators(preset.discriminator_ffts, preset.discriminator_filters).to(
            device
        )
        self._mel = MelDistance().to(device)
        samples = round(preset.clip_seconds * SAMPLE_RATE)
        self.sound = torch.zeros(preset.batch, samples, device=device)
        self.rate, self.judges_rate = (torch.zeros((), device=device) for _ in range(2))
        self._weights = list(self.model.parameters())
        self._optimizer = self._adam(self._weights, self.rate)
        self._judges_optimizer = self._adam(list(self._judges.parameters()), self.judges_rate)

    def step(self, *, quantised: bool, judged: bool) -> Losses:
        """Change all weights once. Rates and clips are read from the tensors they are in."""
        embeddings = self.embed()
        if quantised:
            embeddings, commitment, used = self.quantiser(embeddings)
        with half_precision(self.device):
            made = network.run(self.model.decoder.layers, embeddings)[:, 0]
        made = made.float()
        losses = {"mel": self._mel(made, self.sound), "wave": functional.l1_loss(made, self.sound)}
        total = _MEL * losses["mel"] + losses["wave"]
        if quantised:
            losses |= {"commitment": commitment}
            total = total + _COMMITMENT * commitment
        if judged:
            losses["judges"] = self._teach_judges(made.detach())
            losses["fooled"], losses["features"] = self._be_judged(made)
            total = total + losses["fooled"] + _FEATURES * losses["features"]
        _descend(self._optimizer, total, self._weights)
        reported = {name: loss.detach() for name, loss in losses.items()}
        return reported | ({"entries used": used} if quantised else {})

    def embed(self) -> torch.Tensor:
        """The clips' embeddings [B, D, T]."""
        with half_precision(self.device):
            return network.run(self.model.encoder.layers, self.sound[:, None])

    def finished(self) -> EncodecModel:
        """The model, with the codebooks in their place."""
        layers = self.model.quantizer.layers
        for layer, entries in zip(layers, self.quantiser.entries, strict=True):
            layer.codebook.embed.copy_(entries)
        return self.model.eval()

    def _teach_judges(self, made: torch.Tensor) -> torch.Tensor:
        with half_precision(self.device):
            loss = hinge_judge(self._judges(self.sound), self._judges(made))
        _descend(self._judges_optimizer, loss, list(self._judges.parameters()))
        return loss

    def _be_judged(self, made: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._judges.requires_grad_(False)
        with half_precision(self.device):
            real, judged = self._judges(self.sound), self._judges(made)
        self._judges.requires_grad_(True)
        return hinge_generator(judged), features_apart(real, judged)

    def _adam(self, weights: list[nn.Parameter], rate: torch.Tensor) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            weights,
            lr=rate,
            betas=(0.8, 0.99),
            weight_decay=1e-4,
            capturable=self.device.type == "cuda",
        )


def _descend(
    optimizer: torch.optim.Optimizer, loss: torch.Tensor, weights: list[nn.Parameter]
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(weights, _CLIPPED_GRADIENT)
    optimizer.step()


def train(
    preset: CodecPreset,
    music: Dataset,
    folder: Path,
    device: torch.device,
    seed: int,
    seconds: float | None = None,
) -> None:
    """Train on ``music``; write the EncodecModel and the journal to ``folder``."""
    torch.manual_seed(seed)
    trainer = CodecTrainer(preset, device)
    clips = _clips(music, trainer.sound.shape, np.random.default_rng(seed))
    schedule = Schedule(preset.steps, seconds)
    journal = Journal(folder, "codec", preset.steps, _REPORT_EVERY)
    phase, step = None, None
    for count in schedule:
        trainer.sound.copy_(next(clips))
        trainer.rate.fill_(schedule.rate(preset.learning_rate, warm_up=300))
        trainer.judges_rate.fill_(schedule.rate(preset.discriminator_rate, warm_up=0))
        now = schedule.reached(preset.quantise_from), schedule.reached(preset.adversarial_from)
        if now != phase or step is None:
            if now[0] and not (phase and phase[0]):
                _start_codebooks(trainer, clips)
            step = _step_of(trainer, *now)
            phase = now
        journal.note(count, step())
    trainer.finished().save_pretrained(folder)


def _step_of(trainer: CodecTrainer, quantised: bool, judged: bool) -> Callable[[], Losses]:
    return captured(lambda: trainer.step(quantised=quantised, judged=judged), trainer.device)


@torch.no_grad()
def _start_codebooks(trainer: CodecTrainer, clips: Iterator[torch.Tensor]) -> None:
    embeddings = []
    for _ in range(_CLIPS_TO_START):
        trainer.sound.copy_(next(clips))
        embeddings.append(trainer.embed())
    trainer.quantiser.start_from(torch.cat(embeddings))


def _clips(
    music: Dataset, shape: torch.Size, random: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Batches [B, n] of clips from anywhere, some louder, most quieter."""
    batch, samples = shape
    while True:
        pieces = random.integers(0, len(music), batch)
        starts = random.integers(0, music.samples - samples + 1, batch)
        clips = np.stack(
            [
                music.clip(int(piece), int(start), samples)
                for piece, start in zip(pieces, starts, strict=True)
            ]
        )
        gains = (10 ** (random.uniform(_QUIETER, _LOUDER, (batch, 1)) / 20)).clip(max=_MOST)
        yield torch.from_numpy(as_floats(clips) * gains.astype(np.float32))
