"""A checkpoint folder in transformers' format becomes a ``MusicGen``.

The decoder is ours; T5 and EnCodec are transformers' own classes, given their share of
the weights. Only files of plain tensors are read: safetensors, or ``.bin`` under
``weights_only=True``, so a checkpoint can't run code.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
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
from musicgen_space.engine.quantise import halve_lossless
from musicgen_space.engine.text import TextEncoder
from musicgen_space.errors import InvalidCheckpoint, OutOfMemory

__all__ = ["load", "pick_device"]

Weights = dict[str, torch.Tensor]


def pick_device(name: str) -> torch.device:
    """The torch device for the setting ``auto``, ``cpu`` or ``cuda``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def load(folder: Path, device: torch.device) -> MusicGen:
    """Read a folder with ``config.json``, a tokenizer and the weights.

    The decoder computes in float32 on a CPU and in bfloat16 on a GPU; T5 and EnCodec, small
    and sensitive, always in float32. Raises ``InvalidCheckpoint`` or ``OutOfMemory``.
    """
    try:
        return _load(folder, device)
    except (MemoryError, torch.OutOfMemoryError):
        raise OutOfMemory(
            f"There is not enough memory for the model {folder.name}. Choose a smaller one."
        ) from None


def _load(folder: Path, device: torch.device) -> MusicGen:
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
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    decoder.eval().requires_grad_(False).to(device, dtype)
    halve_lossless(decoder)
    return MusicGen(
        TextEncoder(_tokenizer(folder, text.config), text.float().eval().to(device)),
        decoder,
        Codec(codec.float().eval().requires_grad_(False).to(device)),
        device,
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
        raise InvalidCheckpoint(f"{file.name} is damaged or incomplete: {error}") from None


def _part(weights: Weights, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def _decoder_weights(weights: Weights, shapes: DecoderConfig) -> Weights:
    """transformers' names → ours: projections of the same input are joined into one matrix."""
    try:
        return dict(_renamed(weights, shapes))
    except KeyError as missing:
        raise InvalidCheckpoint(f"The checkpoint lacks the decoder's weight {missing}.") from None


def _renamed(weights: Weights, shapes: DecoderConfig) -> Any:
    """Yield (our name, tensor); raises ``KeyError`` for a missing one."""
    trunk = "decoder.model.decoder."

    def joined(template: str, choices: Any) -> torch.Tensor:
        return torch.cat([weights[template.format(choice)] for choice in choices])

    codebooks = range(shapes.codebooks)
    yield "embeddings", joined(trunk + "embed_tokens.{}.weight", codebooks)
    yield "heads.weight", joined("decoder.lm_heads.{}.weight", codebooks)
    for kind in ("weight", "bias"):
        yield f"text_projection.{kind}", weights[f"enc_to_dec_proj.{kind}"]
        yield f"norm.{kind}", weights[f"{trunk}layer_norm.{kind}"]
    for index in range(shapes.layers):
        ours, theirs = f"layers.{index}.", f"{trunk}layers.{index}."
        self_attention, cross_attention = theirs + "self_attn.", theirs + "encoder_attn."
        yield (
            f"{ours}self_attention.queries_keys_values.weight",
            joined(self_attention + "{}_proj.weight", "qkv"),
        )
        yield f"{ours}self_attention.output.weight", weights[self_attention + "out_proj.weight"]
        yield f"{ours}cross_attention.queries.weight", weights[cross_attention + "q_proj.weight"]
        yield (
            f"{ours}cross_attention.keys_values.weight",
            joined(cross_attention + "{}_proj.weight", "kv"),
        )
        yield f"{ours}cross_attention.output.weight", weights[cross_attention + "out_proj.weight"]
        yield f"{ours}expand.weight", weights[theirs + "fc1.weight"]
        yield f"{ours}contract.weight", weights[theirs + "fc2.weight"]
        for kind in ("weight", "bias"):
            yield f"{ours}self_attention_norm.{kind}", weights[f"{theirs}self_attn_layer_norm.{kind}"]
            yield (
                f"{ours}cross_attention_norm.{kind}",
                weights[f"{theirs}encoder_attn_layer_norm.{kind}"],
            )
            yield f"{ours}feed_forward_norm.{kind}", weights[f"{theirs}final_layer_norm.{kind}"]


def _fill(module: torch.nn.Module, weights: Weights, what: str) -> None:
    """Give ``module`` its weights; raises ``InvalidCheckpoint`` unless they all fit."""
    # T5 stores its embedding under two names that are one tensor.
    weights = dict(weights)
    if "shared.weight" in weights:
        weights.setdefault("encoder.embed_tokens.weight", weights["shared.weight"])
    try:
        missing, _ = module.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        raise InvalidCheckpoint(f"The weights do not fit {what}: {error}") from None
    if missing:
        raise InvalidCheckpoint(f"The checkpoint lacks weights of {what}: {', '.join(missing[:3])}.")


def _tokenizer(folder: Path, config: T5Config) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, config=config, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InvalidCheckpoint(f"{folder} has no usable tokenizer: {error}") from None
