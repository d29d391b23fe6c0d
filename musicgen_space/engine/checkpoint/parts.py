"""The parts of a checkpoint, independent of its format: decoder, T5 and EnCodec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import EncodecConfig, T5Config

from musicgen_space.engine.checkpoint.tensors import Sources, Weights
from musicgen_space.engine.config import DecoderConfig, check_whole
from musicgen_space.errors import InvalidCheckpoint

__all__ = [
    "Checkpoint",
    "CodecPart",
    "TextPart",
    "encodec_config",
    "encodec_sources",
    "match_codec",
    "t5_config",
    "t5_sources",
]


@dataclass(frozen=True, slots=True, eq=False)
class TextPart:
    """T5's encoder, the folder where its tokenizer should be, and its name on the hub.

    ``name`` is from the config and unchecked.
    """

    config: T5Config
    sources: Sources
    folder: Path
    name: object


@dataclass(frozen=True, slots=True, eq=False)
class CodecPart:
    """EnCodec, which has one channel."""

    config: EncodecConfig
    sources: Sources


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint with a valid configuration; its weights are not read yet.

    The decoder's are in ``files``. ``base`` is the name of an adapter's base, None without one.
    """

    shapes: DecoderConfig
    files: tuple[Path, ...]
    decoder: Sources
    text: TextPart
    codec: CodecPart
    base: str | None = None


# Sanity limits of the config values that decide how much is allocated or computed.
_T5_LIMITS = {
    "d_model": (1, 2**16),
    "num_layers": (1, 2**8),
    "num_heads": (1, 2**10),
    "vocab_size": (1, 2**24),
    "relative_attention_num_buckets": (2, 2**16),
    "relative_attention_max_distance": (2, 2**20),
}
_CODEC_LIMITS = {
    "sampling_rate": (1000, 192000),
    "audio_channels": (1, 1),
    "num_filters": (1, 2**12),
    "hidden_size": (1, 2**16),
    "codebook_size": (2, 2**20),
    "num_residual_layers": (0, 2**4),
    "num_lstm_layers": (1, 2**4),
    "kernel_size": (1, 2**8),
    "last_kernel_size": (1, 2**8),
    "residual_kernel_size": (1, 2**8),
    "dilation_growth_rate": (1, 2**4),
    "compress": (1, 2**12),
}
_MAX_CODEBOOKS = 2**8
# The values of EnCodec's options that our streaming decoder supports.
_CODEC_OPTIONS: dict[str, tuple[object, ...]] = {
    "norm_type": ("weight_norm",),
    "pad_mode": ("reflect", "constant"),
    "use_causal_conv": (False,),
    "normalize": (False,),
    "chunk_length_s": (None,),
}


def t5_config(values: Mapping[str, Any]) -> T5Config:
    """The configuration of T5 from transformers' ``values``; raises ``InvalidCheckpoint``."""
    config = _built(T5Config, "t5", values)
    _check_limits(config, _T5_LIMITS, "the text encoder's")
    buckets = config.relative_attention_num_buckets
    if buckets // 2 >= config.relative_attention_max_distance or buckets % 4:
        raise InvalidCheckpoint(f"A text encoder with {buckets} relative positions makes no sense.")
    if not 0 < config.layer_norm_epsilon < 1:
        raise InvalidCheckpoint("The text encoder's layer_norm_epsilon is not between 0 and 1.")
    return config


def encodec_config(values: Mapping[str, Any], codebooks: object = None) -> EncodecConfig:
    """The configuration of EnCodec from transformers' ``values``; raises ``InvalidCheckpoint``.

    The number of ``codebooks`` follows from the bandwidth in ``values`` unless it is given.
    """
    config = _built(EncodecConfig, "encodec", values)
    _check_limits(config, _CODEC_LIMITS, "EnCodec's")
    _check_frames(config)
    _check_options(config)
    if codebooks is not None:
        check_whole("EnCodec's codebooks", codebooks, 1, _MAX_CODEBOOKS)
        _set_codebooks(config, codebooks)
    check_whole("EnCodec's codebooks", _codebooks(config), 1, _MAX_CODEBOOKS)
    return config


def _check_frames(config: EncodecConfig) -> None:
    ratios = config.upsampling_ratios
    if not 1 <= len(ratios) <= 8:
        raise InvalidCheckpoint(f"EnCodec can't have {len(ratios)} upsampling layers.")
    for ratio in ratios:
        check_whole("EnCodec's upsampling_ratios", ratio, 1, 64)
    if config.sampling_rate % config.hop_length:
        raise InvalidCheckpoint(
            f"EnCodec's frames of {config.hop_length} samples don't divide a second "
            f"of {config.sampling_rate}."
        )


def _codebooks(config: EncodecConfig) -> int:
    """The number of codebooks by the bandwidth; −1 if that is invalid."""
    try:
        return int(config.num_quantizers)
    except (ArithmeticError, IndexError, TypeError, ValueError):
        return -1


def _set_codebooks(config: EncodecConfig, codebooks: Any) -> None:
    """Set the bandwidth (kbit/s) for this many; the half guards against rounding."""
    bits_per_second = (codebooks + 0.5) * config.frame_rate * config.codebook_nbits
    config.target_bandwidths = [bits_per_second / 1000]


def _built(kind: Any, model_type: str, values: Mapping[str, Any]) -> Any:
    stated = values.get("model_type", model_type)
    if stated != model_type:
        raise InvalidCheckpoint(
            f"A part of the checkpoint is of type {stated!r}, not {model_type!r}."
        )
    # PretrainedConfig allocates this many labels; neither part has any.
    values = {name: value for name, value in values.items() if name != "num_labels"}
    try:
        return kind(**values)
    except Exception as error:  # transformers' checks of odd values raise anything
        reason = " ".join(str(error).split())[:200]
        raise InvalidCheckpoint(
            f"The configuration of {model_type} is unusable: {reason}"
        ) from None


def _check_limits(config: Any, limits: Mapping[str, tuple[int, int]], whose: str) -> None:
    for name, (low, high) in limits.items():
        check_whole(f"{whose} {name}", getattr(config, name), low, high)


def _check_options(config: EncodecConfig) -> None:
    for name, supported in _CODEC_OPTIONS.items():
        value = getattr(config, name)
        if value not in supported:
            wanted = " or ".join(repr(option) for option in supported)
            raise InvalidCheckpoint(
                f"EnCodec with {name} {value!r} is not supported, only {wanted}."
            )
    for name in ("kernel_size", "last_kernel_size", "residual_kernel_size"):
        if getattr(config, name) % 2 == 0:
            raise InvalidCheckpoint(f"EnCodec with an even {name} is not supported.")
    if config.codebook_dim != config.hidden_size:
        raise InvalidCheckpoint("EnCodec's codebook_dim and hidden_size differ.")


def match_codec(config: EncodecConfig, shapes: DecoderConfig) -> None:
    """Set EnCodec's codebooks to the decoder's per channel.

    Raises ``InvalidCheckpoint`` if it has fewer.
    """
    codebooks = shapes.codebooks // shapes.channels
    if codebooks > config.num_quantizers or shapes.codebook_size != config.codebook_size:
        raise InvalidCheckpoint(
            f"The decoder writes {codebooks} codebooks of {shapes.codebook_size} entries for each "
            f"channel, but EnCodec has {config.num_quantizers} of {config.codebook_size}."
        )
    _set_codebooks(config, codebooks)


def t5_sources(weights: Weights) -> Sources:
    """T5's parameters; a file may have its embedding under either or both of two names."""
    sources = {name: [rows] for name, rows in weights.items()}
    embedding = sources.get("encoder.embed_tokens.weight")
    if embedding:
        sources.setdefault("shared.weight", embedding)
    return sources


def encodec_sources(weights: Weights) -> Sources:
    """EnCodec's parameters; torch's old weight norm called its two tensors g and v."""
    return {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): [rows]
        for name, rows in weights.items()
    }
