"""The shapes of a MusicGen checkpoint, whichever format it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from musicgen_space.errors import InvalidCheckpoint

__all__ = ["DecoderConfig"]

_FAMILIES = ("musicgen", "musicgen_melody")


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The autoregressive transformer: widths in features, everything else a count.

    A stereo model has two ``channels``, whose codebooks take turns: left, right, left, …
    A melody model has ``chroma_bins`` > 0: it reads a tune of ``chroma_frames`` frames and
    the text before its first column, where the others look at the text in every layer.
    """

    width: int
    heads: int
    layers: int
    feed_forward: int
    codebooks: int
    codebook_size: int
    text_width: int
    channels: int = 1
    chroma_bins: int = 0
    chroma_frames: int = 0

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise InvalidCheckpoint(
                f"A decoder of width {self.width} can't be split into {self.heads} even heads."
            )
        if self.channels not in (1, 2) or self.codebooks % self.channels:
            raise InvalidCheckpoint(
                f"{self.codebooks} codebooks can't be shared by {self.channels} channels."
            )

    @property
    def head_width(self) -> int:
        """Features of one attention head."""
        return self.width // self.heads

    @property
    def follows_melody(self) -> bool:
        """Whether a tune can guide it."""
        return self.chroma_bins > 0

    @property
    def delays(self) -> tuple[int, ...]:
        """Columns by which each codebook runs late; the channels run side by side."""
        return tuple(codebook // self.channels for codebook in range(self.codebooks))

    @property
    def weights(self) -> int:
        """Weights that one step reads: the layers' matrices and the heads."""
        attentions = 1 if self.follows_melody else 2
        layer = 4 * attentions * self.width**2 + 2 * self.width * self.feed_forward
        return self.layers * layer + self.codebooks * self.codebook_size * self.width

    @property
    def special_token(self) -> int:
        """The code that stands where a codebook has nothing to say; one past the entries."""
        return self.codebook_size

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> DecoderConfig:
        """Read the ``config.json`` of a ``Musicgen(Melody)ForConditionalGeneration`` folder.

        Raises ``InvalidCheckpoint`` when it is something else.
        """
        kind = config.get("model_type")
        if kind not in _FAMILIES:
            wanted = " or ".join(repr(family) for family in _FAMILIES)
            raise InvalidCheckpoint(f"config.json says model_type {kind!r}, not {wanted}.")
        melody = kind == "musicgen_melody"
        try:
            decoder, text = config["decoder"], config["text_encoder"]
            activation = decoder.get("activation_function", "gelu")
            shapes = cls(
                width=decoder["hidden_size"],
                heads=decoder["num_attention_heads"],
                layers=decoder["num_hidden_layers"],
                feed_forward=decoder["ffn_dim"],
                codebooks=decoder["num_codebooks"],
                codebook_size=decoder["vocab_size"],
                text_width=text["d_model"],
                channels=decoder.get("audio_channels", 1),
                chroma_bins=config["num_chroma"] if melody else 0,
                chroma_frames=config["chroma_length"] if melody else 0,
            )
        except (KeyError, TypeError) as error:
            raise InvalidCheckpoint(f"config.json lacks a field of MusicGen: {error}.") from None
        if activation != "gelu":
            raise InvalidCheckpoint(f"The decoder's activation is {activation!r}, not 'gelu'.")
        return shapes
