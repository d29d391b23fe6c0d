"""The sizes of everything: ``NANO`` is the embedded checkpoint, ``SMOKE`` tries the recipe out.

Also which seeds are music to train on, and which are kept for measuring.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "HELD_OUT_SEEDS",
    "NANO",
    "PRESETS",
    "SMOKE",
    "TRAINING_SEEDS",
    "CodecPreset",
    "LanguagePreset",
    "MusicPreset",
    "Preset",
]

# Seeds of pieces. No checkpoint has ever been trained on a held-out one.
TRAINING_SEEDS = range(1_000_000)
HELD_OUT_SEEDS = range(1_000_000, 1_001_000)


@dataclass(frozen=True, slots=True)
class MusicPreset:
    """How much music: the first ``pieces`` training seeds, and ``held_out`` others.

    ``tiny_soundfont``: a few waveforms made by program take the place of FluidR3.
    """

    pieces: int
    held_out: int
    seconds: float
    tiny_soundfont: bool = False

    def __post_init__(self) -> None:
        for name, value, seeds in (
            ("pieces", self.pieces, TRAINING_SEEDS),
            ("held_out", self.held_out, HELD_OUT_SEEDS),
        ):
            if not 2 <= value <= len(seeds):
                raise ValueError(f"{name} is {value}, not 2 to {len(seeds)}.")
        if not 1 <= self.seconds <= 30:
            raise ValueError(f"seconds is {self.seconds}, not 1 to 30.")


@dataclass(frozen=True, slots=True)
class CodecPreset:
    """EnCodec's sizes, and how it is trained: on ``batch`` clips of ``clip_seconds`` a step.

    Until step ``quantise_from`` it is a plain autoencoder, whose embeddings the codebooks
    then start from; from ``adversarial_from`` on, discriminators judge what it makes. They have
    ``discriminator_filters`` and look at spectra of ``discriminator_ffts`` samples.
    """

    filters: int
    width: int
    codebook_size: int
    steps: int
    batch: int
    clip_seconds: float
    quantise_from: int
    adversarial_from: int
    discriminator_filters: int = 32
    discriminator_ffts: tuple[int, ...] = (2048, 1024, 512)
    learning_rate: float = 5e-4
    discriminator_rate: float = 3e-4
    codebooks: int = 4
    ratios: tuple[int, ...] = (8, 5, 4, 4)  # 640 samples become a frame: 50 frames a second

    def __post_init__(self) -> None:
        if not 0 < self.quantise_from <= self.adversarial_from <= self.steps:
            raise ValueError(
                f"quantise_from {self.quantise_from}, adversarial_from {self.adversarial_from} and "
                f"steps {self.steps} are not in this order."
            )


@dataclass(frozen=True, slots=True)
class LanguagePreset:
    """The sizes of T5 (``text_…``) and the decoder, and how both are trained together."""

    vocabulary: int
    text_width: int
    text_layers: int
    text_heads: int
    width: int
    layers: int
    heads: int
    steps: int
    batch: int
    dropout: float = 0.05
    no_caption: float = 0.15  # the share of takes without one, which guidance needs
    noisy_caption: float = 0.25  # the share of captions with words that mean nothing
    caption_tokens: int = 32  # longer captions are cut
    learning_rate: float = 1e-3


@dataclass(frozen=True, slots=True)
class Preset:
    """All that decides what comes out; ``seed`` is that of weights and batches."""

    name: str
    music: MusicPreset
    codec: CodecPreset
    language: LanguagePreset
    shard_megabytes: int = 40
    seed: int = 0


NANO = Preset(
    name="nano",
    music=MusicPreset(pieces=6000, held_out=64, seconds=30),
    codec=CodecPreset(
        filters=32,
        width=128,
        codebook_size=2048,
        steps=7600,
        batch=48,
        clip_seconds=1,
        quantise_from=400,
        adversarial_from=5000,
    ),
    language=LanguagePreset(
        vocabulary=4096,
        text_width=256,
        text_layers=4,
        text_heads=4,
        width=384,
        layers=8,
        heads=6,
        steps=5000,
        batch=64,
    ),
)

SMOKE = Preset(
    name="smoke",
    music=MusicPreset(pieces=12, held_out=4, seconds=2, tiny_soundfont=True),
    codec=CodecPreset(
        filters=4,
        width=16,
        codebook_size=64,
        steps=12,
        batch=4,
        clip_seconds=0.5,
        quantise_from=4,
        adversarial_from=8,
        discriminator_filters=4,
        discriminator_ffts=(512,),
    ),
    language=LanguagePreset(
        vocabulary=1024,
        text_width=24,
        text_layers=2,
        text_heads=2,
        width=32,
        layers=2,
        heads=2,
        steps=12,
        batch=4,
    ),
)

PRESETS = {preset.name: preset for preset in (NANO, SMOKE)}
