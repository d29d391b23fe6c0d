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
from musicgen_space.engine.checkpoint.tensors import Rows, Sources, Weights, part, read_tensors
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.errors import InvalidCheckpoint

__all__ = ["read", "read_codec", "read_text"]

_FAMILIES = ("musicgen", "musicgen_melody")


def read(folder: Path, adapter: Adapter | None = None) -> Checkpoint:
    """A ``Musicgen(Melody)ForConditionalGeneration`` folder, as ``adapter`` changes it.

    Raises ``InvalidCheckpoint``.
    """
    config = read_json(folder / "config.json")
    shapes = _shapes(config)
    of_text = _section(config, "text_encoder")
    text = t5_config(of_text)
    codec = encodec_config(_section(config, "audio_encoder"))
    files = weight_files(folder)
    weights = read_tensors(files)
    if adapter is not None:
        weights = adapter.applied(weights)
        files = [*files, adapter.file]
    return Checkpoint(
        shapes,
        tuple(files),
        _decoder(weights, shapes),
        TextPart(
            text, t5_sources(part(weights, "text_encoder.")), folder, of_text.get("_name_or_path")
        ),
        CodecPart(codec, encodec_sources(part(weights, "audio_encoder."))),
        adapter.base if adapter else None,
    )


def read_text(folder: Path, name: object) -> TextPart:
    """A folder of T5 alone, with or without its decoder; raises ``InvalidCheckpoint``."""
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
            feed_forward=decoder["ffn_dim"],
            codebooks=decoder["num_codebooks"],
            codebook_size=decoder["vocab_size"],
            text_width=text["d_model"],
            channels=decoder.get("audio_channels", 1),
            chroma_bins=config["num_chroma"] if melody else 0,
            chroma_frames=config["chroma_length"] if melody else 0,
        )
    except KeyError as error:
        raise InvalidCheckpoint(f"config.json lacks a field of MusicGen: {error}.") from None


_TRUNK = "decoder.model.decoder."

# One decoder layer: our names, and the tensors of transformers' that each is stacked from.
_LAYER = {
    "self_attention_norm.weight": ["self_attn_layer_norm.weight"],
    "self_attention_norm.bias": ["self_attn_layer_norm.bias"],
    "self_attention.queries_keys_values.weight": [
        f"self_attn.{projection}_proj.weight" for projection in "qkv"
    ],
    "self_attention.output.weight": ["self_attn.out_proj.weight"],
    "feed_forward_norm.weight": ["final_layer_norm.weight"],
    "feed_forward_norm.bias": ["final_layer_norm.bias"],
    "expand.weight": ["fc1.weight"],
    "contract.weight": ["fc2.weight"],
}
_LAYER_WITH_TEXT = {
    **_LAYER,
    "cross_attention_norm.weight": ["encoder_attn_layer_norm.weight"],
    "cross_attention_norm.bias": ["encoder_attn_layer_norm.bias"],
    "cross_attention.queries.weight": ["encoder_attn.q_proj.weight"],
    "cross_attention.keys_values.weight": [
        f"encoder_attn.{projection}_proj.weight" for projection in "kv"
    ],
    "cross_attention.output.weight": ["encoder_attn.out_proj.weight"],
}


def _decoder(weights: Weights, shapes: DecoderConfig) -> Sources:
    names = _names(shapes)
    known = {name for theirs in names.values() for name in theirs}
    known.add(f"{_TRUNK}embed_positions.weights")  # computed, but older versions stored it
    foreign = sorted(name for name in weights.keys() - known if name.startswith(_TRUNK))
    if any(".lora_" in name for name in foreign):
        raise InvalidCheckpoint(
            f"{foreign[0]} is of an adapter that was saved with its base, not merged into it. "
            "PEFT's save_pretrained() writes the adapter alone, its merge_and_unload() merges."
        )
    if foreign:
        raise InvalidCheckpoint(f"{foreign[0]} is no weight of a MusicGen of this shape.")
    try:
        sources = {ours: [weights[name] for name in theirs] for ours, theirs in names.items()}
    except KeyError as missing:
        raise InvalidCheckpoint(f"The checkpoint lacks the decoder's weight {missing}.") from None
    sources |= _projection(weights, "enc_to_dec_proj", "text_projection", shapes.text_width, shapes)
    if shapes.follows_melody:
        sources |= _projection(
            weights, "audio_enc_to_dec_proj", "chroma_projection", shapes.chroma_bins, shapes
        )
    return sources


def _names(shapes: DecoderConfig) -> dict[str, list[str]]:
    """Our names, and the tensors of transformers' that each is stacked from."""
    codebooks = range(shapes.codebooks)
    names = {
        "embeddings": [f"{_TRUNK}embed_tokens.{k}.weight" for k in codebooks],
        "heads.weight": [f"decoder.lm_heads.{k}.weight" for k in codebooks],
        "norm.weight": [f"{_TRUNK}layer_norm.weight"],
        "norm.bias": [f"{_TRUNK}layer_norm.bias"],
    }
    layer = _LAYER if shapes.follows_melody else _LAYER_WITH_TEXT
    for index in range(shapes.layers):
        for ours, theirs in layer.items():
            names[f"layers.{index}.{ours}"] = [f"{_TRUNK}layers.{index}.{name}" for name in theirs]
    return names


@dataclass(frozen=True, slots=True)
class _Identity:
    """Makes the identity of any square weight."""

    tensors: tuple[torch.Tensor, ...] = ()
    scale: float = 1.0

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        """In float32, on the device of ``weight``."""
        return torch.eye(len(weight), device=weight.device)


def _projection(
    weights: Weights, theirs: str, ours: str, width: int, shapes: DecoderConfig
) -> Sources:
    """A projection to the decoder's width; transformers has none where ``width`` is that."""
    if f"{theirs}.weight" not in weights and width == shapes.width:
        name = f"the identity for {theirs}"
        # Its size is only claimed so far: its numbers are made when they are read.
        identity = Rows(name, torch.zeros(()).expand(width, width), _Identity())
        none = Rows(name, torch.zeros(width))
        return {f"{ours}.weight": [identity], f"{ours}.bias": [none]}
    try:
        return {f"{ours}.{half}": [weights[f"{theirs}.{half}"]] for half in ("weight", "bias")}
    except KeyError as missing:
        raise InvalidCheckpoint(f"The checkpoint lacks the decoder's weight {missing}.") from None
