"""Writes adapters as PEFT does, for tiny checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch

# What PEFT 0.21 writes of a LoRA, and musicgen-dreamboothing with an older one, as far as it is
# looked at.
_CONFIG = {
    "peft_type": "LORA",
    "auto_mapping": {"base_model_class": "MusicgenForConditionalGeneration"},
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 8,
    "lora_dropout": 0.05,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "qalora_group_size": 16,
    "r": 2,
    "revision": None,
    "target_modules": ["q_proj"],
    "use_dora": False,
    "use_rslora": False,
}
QUERIES = "decoder.model.decoder.layers.1.self_attn.q_proj"
EMBEDDING = "decoder.model.decoder.embed_tokens.2"
PROJECTION = "enc_to_dec_proj"


def numbers(*shape: int) -> torch.Tensor:
    """Random ones, always the same for a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def pair(module: str, rank: int = 2) -> dict[str, torch.Tensor]:
    """A and B for one of the modules above in the tiny checkpoint: 32 wide, 64 entries."""
    if module == EMBEDDING:
        return {
            f"{module}.lora_embedding_A": numbers(rank, 65),
            f"{module}.lora_embedding_B": numbers(32, rank),
        }
    width = 24 if module == PROJECTION else 32
    return {
        f"{module}.lora_A.weight": numbers(rank, width),
        f"{module}.lora_B.weight": numbers(32, rank),
    }


def write_adapter(
    folder: Path,
    base: object,
    tensors: dict[str, torch.Tensor] | None = None,
    *,
    suffix: str = "safetensors",
    prefix: str = "base_model.model.",
    **options: object,
) -> Path:
    """An adapter of ``base`` with ``tensors`` by their module's name; → ``folder``."""
    folder.mkdir(parents=True)
    config = {**_CONFIG, "base_model_name_or_path": str(base), **options}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    content = {f"{prefix}{name}": tensor for name, tensor in (tensors or pair(QUERIES)).items()}
    if suffix == "bin":
        torch.save(content, folder / "adapter_model.bin")
    else:
        safetensors.torch.save_file(content, folder / "adapter_model.safetensors")
    return folder
