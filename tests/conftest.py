"""Checkpoints for the tests: the embedded one, and a tiny random one made on the spot."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Nothing here may reach the network; a test of the hub sets its own address.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import pytest
import torch
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
)

from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.loader import load
from musicgen_space.models import embedded_folder

# Tiny matrices gain nothing from a second thread, and a busy machine makes them wait for it.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of MusicGen's layout, a few hundred kilobytes, in float32."""
    torch.manual_seed(0)
    model = MusicgenForConditionalGeneration(
        MusicgenConfig(
            text_encoder=T5Config(
                vocab_size=4096, d_model=24, d_kv=8, d_ff=48, num_layers=2, num_heads=3
            ).to_dict(),
            audio_encoder=EncodecConfig(
                sampling_rate=32000,
                audio_channels=1,
                num_filters=4,
                upsampling_ratios=[8, 5, 4, 4],
                hidden_size=16,
                codebook_size=64,
                codebook_dim=16,
                target_bandwidths=[1.2],
                use_causal_conv=False,
                use_conv_shortcut=False,
                normalize=False,
            ).to_dict(),
            decoder=MusicgenDecoderConfig(
                vocab_size=64,
                pad_token_id=64,
                bos_token_id=64,
                num_codebooks=4,
                hidden_size=32,
                ffn_dim=80,
                num_hidden_layers=3,
                num_attention_heads=4,
                max_position_embeddings=2048,
                initializer_factor=0.3,
            ).to_dict(),
        )
    )
    for layer in model.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_()
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(embedded_folder() / name, folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> MusicGen:
    return load(tiny_folder)


@pytest.fixture(scope="session")
def nano() -> MusicGen:
    return load(embedded_folder())


def reference(folder: Path) -> MusicgenForConditionalGeneration:
    """transformers' own model of a folder, in float32."""
    return MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
