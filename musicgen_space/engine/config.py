"""The shapes of a MusicGen checkpoint, read from its ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from musicgen_space.errors import InvalidCheckpoint

__all__ = ["DecoderConfig"]


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The autoregressive transformer: widths in features, everything else a count."""

    width: int
    heads: int
    layers: int
    feed_forward: int
    codebooks: int
    codebook_size: int
    text_width: int

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise InvalidCheckpoint(
                f"A decoder of width {self.width} can't be split into {self.heads} even heads."
            )

    @property
    def head_width(self) -> int:
        """Features of one attention head."""
        return self.width // self.heads

    @property
    def weights(self) -> int:
        """Weights that one step reads: the layers' matrices and the heads."""
        layer = 8 * self.width**2 + 2 * self.width * self.feed_forward
        return self.layers * layer + self.codebooks * self.codebook_size * self.width

    @property
    def special_token(self) -> int:
        """The code that stands where a codebook has nothing to say; one past the entries."""
        return self.codebook_size

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> DecoderConfig:
        """Read the ``config.json`` of a ``MusicgenForConditionalGeneration`` folder.

        Raises ``InvalidCheckpoint`` when it is something else, or a kind of MusicGen
        (melody, stereo) that this engine does not know.
        """
        kind = config.get("model_type")
        if kind != "musicgen":
            raise InvalidCheckpoint(f"config.json says model_type {kind!r}, not 'musicgen'.")
        try:
            decoder, text = config["decoder"], config["text_encoder"]
            channels = decoder.get("audio_channels", 1)
            activation = decoder.get("activation_function", "gelu")
            shapes = cls(
                width=decoder["hidden_size"],
                heads=decoder["num_attention_heads"],
                layers=decoder["num_hidden_layers"],
                feed_forward=decoder["ffn_dim"],
                codebooks=decoder["num_codebooks"],
                codebook_size=decoder["vocab_size"],
                text_width=text["d_model"],
            )
        except KeyError as missing:
            raise InvalidCheckpoint(f"config.json lacks the field {missing}.") from None
        if channels != 1:
            raise InvalidCheckpoint("Stereo MusicGen checkpoints are not supported yet.")
        if activation != "gelu":
            raise InvalidCheckpoint(f"The decoder's activation is {activation!r}, not 'gelu'.")
        return shapes
