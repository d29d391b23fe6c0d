"""A checkpoint folder in transformers' format becomes a ``MusicGen``.

The decoder is ours; T5 and EnCodec are transformers' own classes, given their share of
the weights. Only files of plain tensors are read: safetensors, or ``.bin`` under
``weights_only=True``, so a checkpoint can't run code.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, EncodecConfig, EncodecModel, T5Config, T5EncoderModel

from musicgen_space.engine.codec import Codec
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.model import Decoder
from musicgen_space.engine.placement import CPU, Placement
from musicgen_space.engine.quantise import halve_lossless
from musicgen_space.engine.text import TextEncoder
from musicgen_space.errors import InvalidCheckpoint, OutOfMemory, is_out_of_memory

__all__ = ["load"]

Weights = dict[str, torch.Tensor]


def load(folder: Path, placement: Placement = CPU) -> MusicGen:
    """Read a folder with ``config.json``, a tokenizer and the weights.

    Raises ``InvalidCheckpoint`` or ``OutOfMemory``.
    """
    try:
        return _load(folder, placement)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"There is not enough memory for the model {folder.name}. Choose a smaller one."
        ) from None


def _load(folder: Path, placement: Placement) -> MusicGen:
    config = _read_json(folder / "config.json")
    shapes = DecoderConfig.from_transformers(config)
    weights = _read_weights(folder)
    text = T5EncoderModel(T5Config(**config["text_encoder"]))
    codec = EncodecModel(EncodecConfig(**config["audio_encoder"]))
    with torch.device("meta"):
        decoder = Decoder(shapes)
    _fill(text, _part(weights, "text_encoder."), "the text encoder")
    _fill(codec, _part(weights, "audio_encoder."), "EnCodec")
    _fill(decoder, _decoder_weights(weights, shapes), "the decoder")
    decoder.eval().requires_grad_(False).to(placement.device, placement.dtype)
    halve_lossless(decoder)
    return MusicGen(
        TextEncoder(_tokenizer(folder, text.config), text.float().eval().to(placement.device)),
        decoder,
        Codec(codec.float().eval().requires_grad_(False).to(placement.codec_device)),
        placement.device,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidCheckpoint(f"{path.parent} has no {path.name}: not a checkpoint.") from None
    except ValueError as error:
        raise InvalidCheckpoint(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise InvalidCheckpoint(f"{path} holds no JSON object.")
    return content


def _read_weights(folder: Path) -> Weights:
    """All tensors of the folder, by name; safetensors first, sharded or not."""
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        files = sorted(folder.glob(pattern))
        if files:
            weights: Weights = {}
            for file in files:
                weights |= _read_tensors(file)
            return weights
    raise InvalidCheckpoint(f"{folder} has no weights (model.safetensors or pytorch_model.bin).")


def _read_tensors(file: Path) -> Weights:
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        tensors: Weights = torch.load(file, map_location="cpu", weights_only=True)
        return tensors
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        if is_out_of_memory(error):
            raise
        raise InvalidCheckpoint(f"{file.name} is damaged or unsafe: {error}") from None


def _part(weights: Weights, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def _decoder_weights(weights: Weights, shapes: DecoderConfig) -> Weights:
    """Transformers' names → ours: matrices that read the same input are joined into one.

    Takes them out of ``weights``, so that a large model is not in memory twice.
    """

    def joined(names: list[str]) -> torch.Tensor:
        tensors = [weights.pop(name) for name in names]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    trunk = "decoder.model.decoder."
    codebooks = range(shapes.codebooks)
    sources = {
        "embeddings": [f"{trunk}embed_tokens.{k}.weight" for k in codebooks],
        "heads.weight": [f"decoder.lm_heads.{k}.weight" for k in codebooks],
        "text_projection.weight": ["enc_to_dec_proj.weight"],
        "text_projection.bias": ["enc_to_dec_proj.bias"],
        "norm.weight": [f"{trunk}layer_norm.weight"],
        "norm.bias": [f"{trunk}layer_norm.bias"],
    }
    for index in range(shapes.layers):
        for ours, theirs in _LAYER.items():
            sources[f"layers.{index}.{ours}"] = [f"{trunk}layers.{index}.{name}" for name in theirs]
    try:
        return {ours: joined(theirs) for ours, theirs in sources.items()}
    except KeyError as missing:
        raise InvalidCheckpoint(f"The checkpoint lacks the decoder's weight {missing}.") from None


# One decoder layer: our names, and the tensors of transformers' that each is made of.
_LAYER = {
    "self_attention_norm.weight": ["self_attn_layer_norm.weight"],
    "self_attention_norm.bias": ["self_attn_layer_norm.bias"],
    "self_attention.queries_keys_values.weight": [
        f"self_attn.{part}_proj.weight" for part in "qkv"
    ],
    "self_attention.output.weight": ["self_attn.out_proj.weight"],
    "cross_attention_norm.weight": ["encoder_attn_layer_norm.weight"],
    "cross_attention_norm.bias": ["encoder_attn_layer_norm.bias"],
    "cross_attention.queries.weight": ["encoder_attn.q_proj.weight"],
    "cross_attention.keys_values.weight": [f"encoder_attn.{part}_proj.weight" for part in "kv"],
    "cross_attention.output.weight": ["encoder_attn.out_proj.weight"],
    "feed_forward_norm.weight": ["final_layer_norm.weight"],
    "feed_forward_norm.bias": ["final_layer_norm.bias"],
    "expand.weight": ["fc1.weight"],
    "contract.weight": ["fc2.weight"],
}


_T5_EMBEDDING = ("shared.weight", "encoder.embed_tokens.weight")


def _fill(module: torch.nn.Module, weights: Weights, what: str) -> None:
    """Give ``module`` its weights; raises ``InvalidCheckpoint`` unless they all fit."""
    # T5 has one embedding under two names; a file may hold either or both.
    weights = dict(weights)
    for one, other in (_T5_EMBEDDING, _T5_EMBEDDING[::-1]):
        if one in weights:
            weights.setdefault(other, weights[one])
    try:
        missing, _ = module.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        raise InvalidCheckpoint(f"The weights do not fit {what}: {error}") from None
    if missing:
        raise InvalidCheckpoint(
            f"The checkpoint lacks weights of {what}: {', '.join(missing[:3])}."
        )


def _tokenizer(folder: Path, config: T5Config) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, config=config, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InvalidCheckpoint(f"{folder} has no usable tokenizer: {error}") from None
