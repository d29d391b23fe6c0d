"""Rewrites a tiny checkpoint of transformers' format in AudioCraft's own.

Its layout, names and configuration are those that AudioCraft 1.3.0 exports.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

Weights = dict[str, torch.Tensor]

_CONFIGS = Path(__file__).parents[1] / "audiocraft" / "configs"

_LAYER = {
    "self_attn_layer_norm": "norm1",
    "self_attn.out_proj": "self_attn.out_proj",
    "encoder_attn.out_proj": "cross_attention.out_proj",
    "encoder_attn_layer_norm": "norm_cross",
    "final_layer_norm": "norm2",
    "fc1": "linear1",
    "fc2": "linear2",
}


def audiocraft_from(source: Path, folder: Path) -> Path:
    """Write the checkpoint ``source`` to ``folder``, with T5 in it; → ``folder``."""
    config = json.loads((source / "config.json").read_text())
    weights: Weights = {}
    for file in source.glob("*.safetensors"):
        weights |= safetensors.torch.load_file(file)
    folder.mkdir()
    save(folder / "state_dict.bin", _decoder(weights), _whole("text", decoder_config(config)))
    codec = _whole("codec", codec_config(config))
    save(folder / "compression_state_dict.bin", _codec(weights), codec)
    _write_t5(source, folder / "t5-base", config["text_encoder"], weights)
    return folder


def _whole(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with the options that AudioCraft asks for besides."""
    return _laid_over(yaml.safe_load((_CONFIGS / f"{name}.yaml").read_text()), config)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: _laid_over(below[name], value)
        for name, value in above.items()
        if isinstance(value, dict) and value and isinstance(below.get(name), dict)
    }
    return {**below, **above, **both}


def save(file: Path, best_state: Weights, config: dict[str, Any], **more: object) -> None:
    torch.save({"best_state": best_state, "xp.cfg": yaml.safe_dump(config), **more}, file)


def _part(weights: Weights, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def _decoder(weights: Weights) -> Weights:
    trunk = _part(weights, "decoder.model.decoder.")
    state = {
        "out_norm.weight": trunk["layer_norm.weight"],
        "out_norm.bias": trunk["layer_norm.bias"],
    }
    for name, tensor in _part(trunk, "embed_tokens.").items():
        state[f"emb.{name}"] = tensor
    for name, tensor in _part(weights, "decoder.lm_heads.").items():
        state[f"linears.{name}"] = tensor
    conditioners = "condition_provider.conditioners."
    for name, tensor in _part(weights, "enc_to_dec_proj.").items():
        state[f"{conditioners}description.output_proj.{name}"] = tensor
    for name, tensor in _part(weights, "audio_enc_to_dec_proj.").items():
        state[f"{conditioners}self_wav.output_proj.{name}"] = tensor
        state[f"{conditioners}self_wav.chroma.spec.window"] = torch.hann_window(2**14)
    for name, tensor in _part(trunk, "layers.").items():
        index, inner = name.split(".", 1)
        module, half = inner.rsplit(".", 1)
        there = f"transformer.layers.{index}."
        if module in _LAYER:
            state[f"{there}{_LAYER[module]}.{half}"] = tensor
        elif module.endswith("q_proj"):
            attention = "cross_attention" if module.startswith("encoder") else "self_attn"
            qkv = [trunk[f"layers.{index}.{module[:-6]}{part}_proj.weight"] for part in "qkv"]
            state[f"{there}{attention}.in_proj_weight"] = torch.cat(qkv)
    return state


def _codec(weights: Weights) -> Weights:
    """Every convolution lies one or two wrappers deeper in AudioCraft."""
    state = {}
    for name, tensor in _part(weights, "audio_encoder.").items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        transposed = re.match(r"decoder\.layers\.(\d+)\.conv", name)
        wrapper = "convtr" if transposed and 0 < int(transposed[1]) < 15 else "conv"
        name = name.replace(".conv.", f".{wrapper}.{wrapper}.").replace(".layers.", ".model.", 1)
        state[re.sub(r"quantizer\.model\.(\d+)\.", r"quantizer.vq.layers.\1._", name)] = tensor
    return state


def decoder_config(config: dict[str, Any]) -> dict[str, Any]:
    """What MusicGen's ``xp.cfg`` says of the model ``config``."""
    decoder = config["decoder"]
    codebooks, channels = decoder["num_codebooks"], decoder["audio_channels"]
    melody = config["model_type"] == "musicgen_melody"
    description = {"model": "t5", "t5": {"name": "t5-base", "finetune": False}}
    conditioners: dict[str, Any] = {"args": {}, "description": description}
    if melody:
        chroma = {"sample_rate": "${sample_rate}", "n_chroma": 12, "radix2_exp": 14, "argmax": True}
        conditioners["self_wav"] = {"model": "chroma_stem", "chroma_stem": chroma}
    return {
        "solver": "musicgen",
        "sample_rate": 32000,
        "dataset": {"segment_duration": 30},
        "interleave_stereo_codebooks": {"use": channels == 2, "per_timestep": False},
        "lm_model": "transformer_lm",
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {
                "delays": [codebook // channels for codebook in range(codebooks)],
                "flatten_first": 0,
                "empty_initial": 0,
            },
        },
        "transformer_lm": {
            "dim": decoder["hidden_size"],
            "num_heads": decoder["num_attention_heads"],
            "num_layers": decoder["num_hidden_layers"],
            "hidden_scale": decoder["ffn_dim"] / decoder["hidden_size"],
            "n_q": codebooks,
            "card": decoder["vocab_size"],
            "activation": "gelu",
            "norm_first": True,
            "bias_ff": False,
            "bias_attn": False,
            "bias_proj": False,
            "past_context": None,
            "causal": True,
            "positional_embedding": "sin",
        },
        "fuser": {
            "cross_attention_pos_emb": False,
            "sum": [],
            "prepend": ["self_wav", "description"] if melody else [],
            "cross": [] if melody else ["description"],
            "input_interpolate": [],
        },
        "conditioners": conditioners,
    }


def codec_config(config: dict[str, Any]) -> dict[str, Any]:
    """What EnCodec's ``xp.cfg`` says of the model ``config``."""
    codec = config["audio_encoder"]
    return {
        "sample_rate": codec["sampling_rate"],
        "channels": 1,
        "compression_model": "encodec",
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": "${sample_rate}",
            "channels": "${channels}",
            "causal": False,
            "renormalize": False,
        },
        "seanet": {
            "dimension": codec["hidden_size"],
            "channels": "${channels}",
            "causal": "${encodec.causal}",
            "n_filters": codec["num_filters"],
            "n_residual_layers": codec["num_residual_layers"],
            "ratios": codec["upsampling_ratios"],
            "activation": "ELU",
            "activation_params": {"alpha": 1.0},
            "norm": "weight_norm",
            "norm_params": {},
            "kernel_size": codec["kernel_size"],
            "residual_kernel_size": codec["residual_kernel_size"],
            "last_kernel_size": codec["last_kernel_size"],
            "dilation_base": codec["dilation_growth_rate"],
            "pad_mode": codec["pad_mode"],
            "true_skip": not codec["use_conv_shortcut"],
            "compress": codec["compress"],
            "lstm": codec["num_lstm_layers"],
            "disable_norm_outer_blocks": 0,
            "decoder": {"trim_right_ratio": 1.0, "final_activation": None},
            "encoder": {},
        },
        "rvq": {"n_q": 4, "bins": codec["codebook_size"]},
    }


def _write_t5(source: Path, folder: Path, config: dict[str, Any], weights: Weights) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(_part(weights, "text_encoder."), folder / "model.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
