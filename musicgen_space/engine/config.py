"""The shapes of a MusicGen checkpoint, whichever format it comes in."""

from __future__ import annotations

from dataclasses import dataclass

from musicgen_space.errors import InvalidCheckpoint

__all__ = ["DecoderConfig", "check_whole"]

# Sanity limits, far beyond the published models (the largest has width 2048 and 48 layers):
# whatever lies outside is a damaged or hostile file, and is refused before anything is built.
_LIMITS = {
    "width": (4, 2**16),
    "heads": (1, 2**10),
    "layers": (1, 2**8),
    "ffn_dim": (1, 2**20),
    "codebooks": (1, 2**6),
    "codebook_size": (2, 2**20),
    "text_width": (1, 2**16),
    "channels": (1, 2),
    "chroma_bins": (0, 2**8),
    "chroma_frames": (0, 2**12),
}


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Raise ``InvalidCheckpoint`` unless ``value`` is a whole number from ``low`` to ``high``."""
    if type(value) is not int or not low <= value <= high:
        shown = repr(value)
        raise InvalidCheckpoint(
            f"The checkpoint's configuration says {name} = "
            f"{shown if len(shown) <= 40 else shown[:39] + '…'}, "
            f"which is not a whole number from {low} to {high}."
        )


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The autoregressive transformer: widths in features, everything else a count.

    A stereo model has two ``channels``, whose codebooks alternate: left, right, left, …
    A melody model has ``chroma_bins`` > 0: chroma of ``chroma_frames`` frames and the text
    are a prefix of its input, where the others attend to the text in every layer.
    """

    width: int
    heads: int
    layers: int
    ffn_dim: int
    codebooks: int
    codebook_size: int
    text_width: int
    channels: int = 1
    chroma_bins: int = 0
    chroma_frames: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            check_whole(name, getattr(self, name), low, high)
        if self.follows_melody:
            check_whole("chroma_frames", self.chroma_frames, 1, _LIMITS["chroma_frames"][1])
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise InvalidCheckpoint(
                f"A decoder of width {self.width} can't be split into {self.heads} even heads."
            )
        if self.codebooks % self.channels:
            raise InvalidCheckpoint(
                f"{self.codebooks} codebooks can't be shared by {self.channels} channels."
            )

    @property
    def head_width(self) -> int:
        """Features of one attention head."""
        return self.width // self.heads

    @property
    def follows_melody(self) -> bool:
        """Whether it can be conditioned on a melody."""
        return self.chroma_bins > 0

    @property
    def delays(self) -> tuple[int, ...]:
        """Delay of each codebook in steps; the channels run side by side."""
        return tuple(codebook // self.channels for codebook in range(self.codebooks))

    @property
    def weights(self) -> int:
        """Weights that one step reads: the layers' matrices and the output heads."""
        attentions = 1 if self.follows_melody else 2
        layer = 4 * attentions * self.width**2 + 2 * self.width * self.ffn_dim
        return self.layers * layer + self.codebooks * self.codebook_size * self.width

    @property
    def special_token(self) -> int:
        """The code that fills the gaps of the delay pattern; one past the codebook's entries."""
        return self.codebook_size
