"""AudioCraft's published checkpoints and their sizes."""

from __future__ import annotations

from dataclasses import dataclass

from musicgen_space.backends.base import ModelChoice

__all__ = ["CODEC_WEIGHTS", "OTHER_WEIGHTS", "PUBLISHED", "TEXT_WEIGHTS", "Published", "gigabytes"]

# T5-base's encoder and the 32 kHz EnCodec, which all of them share.
TEXT_WEIGHTS, CODEC_WEIGHTS = 110_000_000, 59_000_000
OTHER_WEIGHTS = TEXT_WEIGHTS + CODEC_WEIGHTS


@dataclass(frozen=True, slots=True)
class Published:
    """One checkpoint: its entry in the local model list, and its decoder's weights.

    ``about`` is a description for other backends, without the download.
    """

    choice: ModelChoice
    decoder_weights: int
    about: str

    @property
    def download_bytes(self) -> int:
        """What the hub's files have: they are in float32."""
        return _download_bytes(self.decoder_weights)


def gigabytes(count: int) -> str:
    """Bytes for display: 0.2 GB, 6.2 GB, 14 GB."""
    return f"{count / 1e9:.{0 if count >= 9.95e9 else 1}f} GB"


def _download_bytes(decoder_weights: int) -> int:
    return 4 * (decoder_weights + OTHER_WEIGHTS)


def _published(name: str, millions: int, *, melody: bool = False) -> Published:
    """``millions`` of weights in the decoder."""
    weights = millions * 1_000_000
    large = millions >= 1000
    size = f"{millions / 1000:.1f} B weights" if large else f"{millions} M weights"
    download = f"{gigabytes(_download_bytes(weights))} download"
    stereo = ["stereo"] if name.startswith("stereo") else []
    tune = ["follows a tune"] if melody else []
    card = ["wants a GPU"] if large else []
    about = ", ".join([*stereo, *tune, size, download, *card])
    choice = ModelChoice(f"facebook/musicgen-{name}", about, melody)
    return Published(choice, weights, ", ".join([*stereo, size, *card]))


# Counted from the layers, widths and codebooks in AudioCraft's config/model/lm. The names
# that they were published by, 300M, 1.5B and 3.3B, are rounder. Melody models have no
# attention to the text of its own, stereo ones have twice the codebooks.
PUBLISHED = (
    _published("small", 420),
    _published("medium", 1838),
    _published("large", 3256),
    _published("melody", 1385, melody=True),
    _published("melody-large", 2451, melody=True),
    _published("stereo-small", 437),
    _published("stereo-medium", 1863),
    _published("stereo-large", 3290),
    _published("stereo-melody", 1410, melody=True),
    _published("stereo-melody-large", 2485, melody=True),
)
