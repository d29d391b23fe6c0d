"""transformers' format: ``config.json``, a tokenizer and one set of weights for all parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from musicgen_space.engine.checkpoint.files import read_json, weight_files
from musicgen_space.engine.checkpoint.formats.adapter import Adapter
from musicgen_space.engine.checkpoint.parts import (
    Checkpoint,
    CodecPart,
    TextPart,
    encodec_config,
    encodec_sources,
    t5_config,
    t5_sources,
)
from musicgen_space.engine.checkpoint.tensors import (
    LazyTensor,
    Sources,
    Weights,
    read_tensors,
    select,
)
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.errors import InvalidCheckpoint

__all__ = ["decoder_sources", "read", "read_codec", "read_text"]

_FAMILIES = ("musicgen", "musicgen_melody")


def read(folder: Path, adapter: Adapter | None = None) -> Checkpoint:
    """A ``Musicgen(Melody)ForConditionalGeneration`` folder, patched by ``adapter`` if given.

    Raises ``InvalidCheckpoint``.
    """
    config = read_json(folder / "config.json")
    shapes = _shapes(config)
    text_section = _section(config, "text_encoder")
    text_config = t5_config(text_section)
    codec_config = encodec_config(_section(config, "audio_encoder"))
    files = weight_files(folder)
    weights = read_tensors(files)
    if adapter is not None:
        weights = adapter.apply(weights)
        files = [*files, adapter.file]
    text = t5_sources(select(weights, "text_encoder."))
    codec = encodec_sources(select(weights, "audio_encoder."))
    return Checkpoint(
        shapes,
        tuple(files),
        decoder_sources(weights, shapes),
        TextPart(text_config, text, folder, text_section.get("_name_or_path")),
        CodecPart(codec_config, codec),
        adapter.base if adapter else None,
    )


def read_text(folder: Path, name: object) -> TextPart:
    """A folder of T5 alone, encoder-only or whole; raises ``InvalidCheckpoint``."""
    config = t5_config(read_json(folder / "config.json"))
    return TextPart(config, t5_sources(read_tensors(weight_files(folder))), folder, name)


def read_codec(folder: Path) -> CodecPart:
    """A folder of EnCodec alone; raises ``InvalidCheckpoint``."""
    config = encodec_config(read_json(folder / "config.json"))
    return CodecPart(config, encodec_sources(read_tensors(weight_files(folder))))


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    if not isinstance(section, dict):
        raise InvalidCheckpoint(f"config.json lacks the section {name!r} of MusicGen.")
    return section


def _shapes(config: Mapping[str, Any]) -> DecoderConfig:
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        wanted = " or ".join(repr(family) for family in _FAMILIES)
        raise InvalidCheckpoint(f"config.json says model_type {kind!r}, not {wanted}.")
    melody = kind == "musicgen_melody"
    decoder, text = _section(config, "decoder"), _section(config, "text_encoder")
    activation = decoder.get("activation_function", "gelu")
    if activation != "gelu":
        raise InvalidCheckpoint(f"The decoder's activation is {activation!r}, not 'gelu'.")
    try:
        return DecoderConfig(
            width=decoder["hidden_size"],
            heads=decoder["num_attention_heads"],
            layers=decoder["num_hidden_layers"],
            ffn_dim=decoder["ffn_dim"],
            codebooks=decoder["num_codebooks"],
            codebook_size=decoder["vocab_size"],
            text_width=text["d_model"],
            channels=decoder.get("audio_channels", 1),
            chroma_bins=config["num_chroma"] if melody else 0,
            chroma_frames=config["chroma_length"] if melody else 0,
        )
    except KeyError as error:
        raise InvalidCheckpoint(f"config.json lacks a field of MusicGen: {error}.") from None


_PREFIX = "decoder.model.decoder."

# One decoder layer: our name → transformers' tensors that are concatenated to it.
_LAYER = {
    "self_attn_norm.weight": ["self_attn_layer_norm.weight"],
    "self_attn_norm.bias": ["self_attn_layer_norm.bias"],
    "self_attn.qkv_proj.weight": [f"self_attn.{projection}_proj.weight" for projection in "qkv"],
    "self_attn.out_proj.weight": ["self_attn.out_proj.weight"],
    "ffn_norm.weight": ["final_layer_norm.weight"],
    "ffn_norm.bias": ["final_layer_norm.bias"],
    "fc1.weight": ["fc1.weight"],
    "fc2.weight": ["fc2.weight"],
}
_LAYER_WITH_CROSS_ATTENTION = {
    **_LAYER,
    "cross_attn_norm.weight": ["encoder_attn_layer_norm.weight"],
    "cross_attn_norm.bias": ["encoder_attn_layer_norm.bias"],
    "cross_attn.q_proj.weight": ["encoder_attn.q_proj.weight"],
    "cross_attn.kv_proj.weight": [f"encoder_attn.{projection}_proj.weight" for projection in "kv"],
    "cross_attn.out_proj.weight": ["encoder_attn.out_proj.weight"],
}


def decoder_sources(weights: Weights, shapes: DecoderConfig) -> Sources:
    """The tensors of our decoder, of a model's ``weights``; raises ``InvalidCheckpoint``."""
    names = _names(shapes)
    known = {name for theirs in names.values() for name in theirs}
    known.add(f"{_PREFIX}embed_positions.weights")  # computed, but older versions stored it
    unknown = sorted(name for name in weights.keys() - known if name.startswith(_PREFIX))
    if any(".lora_" in name for name in unknown):
        raise InvalidCheckpoint(
            f"{unknown[0]} belongs to an adapter that was saved with its base, unmerged. "
            "PEFT's save_pretrained() saves the adapter alone, its merge_and_unload() merges it."
        )
    if unknown:
        raise InvalidCheckpoint(f"{unknown[0]} is not a weight of a MusicGen of this shape.")
    try:
        sources = {ours: [weights[name] for name in theirs] for ours, theirs in names.items()}
    except KeyError as missing:
        raise InvalidCheckpoint(f"The checkpoint lacks the decoder's weight {missing}.") from None
    sources |= _projection(weights, "enc_to_dec_proj", "text_proj", shapes.text_width, shapes)
    if shapes.follows_melody:
        sources |= _projection(
            weights, "audio_enc_to_dec_proj", "chroma_proj", shapes.chroma_bins, shapes
        )
    return sources


def _names(shapes: DecoderConfig) -> dict[str, list[str]]:
    """Our name → transformers' tensors that are concatenated to it."""
    codebooks = range(shapes.codebooks)
    names = {
        "embeddings": [f"{_PREFIX}embed_tokens.{k}.weight" for k in codebooks],
        "lm_heads.weight": [f"decoder.lm_heads.{k}.weight" for k in codebooks],
        "norm.weight": [f"{_PREFIX}layer_norm.weight"],
        "norm.bias": [f"{_PREFIX}layer_norm.bias"],
    }
    layer = _LAYER if shapes.follows_melody else _LAYER_WITH_CROSS_ATTENTION
    for index in range(shapes.layers):
        for ours, theirs in layer.items():
            names[f"layers.{index}.{ours}"] = [f"{_PREFIX}layers.{index}.{name}" for name in theirs]
    return names


@dataclass(frozen=True, slots=True)
class _Identity:
    """A patch that replaces a square weight by the identity."""

    tensors: tuple[torch.Tensor, ...] = ()
    scale: float = 1.0

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``Patch.apply``."""
        return torch.eye(len(weight), device=weight.device)


def _projection(
    weights: Weights, theirs: str, ours: str, width: int, shapes: DecoderConfig
) -> Sources:
    """A projection to the decoder's width; transformers omits it where ``width`` is the same."""
    if f"{theirs}.weight" not in weights and width == shapes.width:
        name = f"the identity for {theirs}"
        # Expanded from one number: ``width`` is unchecked, and the identity is built on load.
        identity = LazyTensor(name, torch.zeros(()).expand(width, width), _Identity())
        zeros = LazyTensor(name, torch.zeros(width))
        return {f"{ours}.weight": [identity], f"{ours}.bias": [zeros]}
    try:
        return {f"{ours}.{half}": [weights[f"{theirs}.{half}"]] for half in ("weight", "bias")}
    except KeyError as missing:
        raise InvalidCheckpoint(f"The checkpoint lacks the decoder's weight {missing}.") from None
