"""For the tests: the embedded checkpoint, tiny random ones made on the spot, an empty library."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

# Nothing here may reach the network; a test of the hub sets its own address.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

# Their defaults are folders that another user of this machine may have, or whoever runs this.
# numba's is shared by the processes, too, which crash on what two of them wrote at once
# (https://github.com/numba/numba/issues/10128).
FILES = tempfile.TemporaryDirectory(prefix="musicgen-space-tests-")
for variable in (
    "GRADIO_TEMP_DIR",
    "NUMBA_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "XDG_CONFIG_HOME",
):
    os.environ[variable] = f"{FILES.name}/{variable.lower()}"

import hypothesis
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForTextToWaveform,
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.native import kernel
from musicgen_space.library import Library
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest

# How long an example takes says nothing on a machine that others use, too.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

Reference = MusicgenForConditionalGeneration | MusicgenMelodyForConditionalGeneration

# Without our kernel: torch computes.
TORCH = replace(CPU, native=False)

# Tiny matrices gain nothing from a second thread, and a busy machine makes them wait for it.
torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares an expensive fixture runs in one process (xdist's ``--dist loadgroup``).

    The browser's tests, which wait most, come first: the other files fill what time they leave.
    """
    items.sort(key=lambda item: item.path.parent.name != "browser")
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group_of(item)))


def pytest_collection_finish() -> None:
    """Whoever lets a model go collects garbage: not among all that was imported, each time."""
    gc.collect()
    gc.freeze()


def _group_of(item: pytest.Item) -> str:
    """In the browser a page; elsewhere a file, but one for all that librosa compiles code for."""
    if item.path.parent.name == "browser":
        pages = {"address", "fast"} & set(getattr(item, "fixturenames", ()))
        return min(pages, default=item.path.stem)
    return "measure" if item.path.stem.startswith("test_measure") else str(item.path)


def the_kernel() -> ctypes.CDLL:
    """The native kernel, which comes with the package for the usual machines."""
    library = kernel.load()
    assert library is not None
    return library


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of MusicGen's layout, a few hundred kilobytes, in float32."""
    return _save(_random_model(), tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def tiny_stereo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in stereo: eight codebooks, left and right in turns, over one mono codec."""
    model = _random_model(num_codebooks=8, audio_channels=2)
    return _save(model, tmp_path_factory.mktemp("checkpoint") / "tiny-stereo")


@pytest.fixture(scope="session")
def tiny_melody_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a melody model: a tune and the text are read before the first column."""
    model = _random_model(melody=True)
    return _save(model, tmp_path_factory.mktemp("checkpoint") / "tiny-melody")


@pytest.fixture(scope="session")
def tiny_stereo_melody_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A melody model in stereo."""
    model = _random_model(melody=True, num_codebooks=8, audio_channels=2)
    return _save(model, tmp_path_factory.mktemp("checkpoint") / "tiny-stereo-melody")


def _random_model(
    *, melody: bool = False, num_codebooks: int = 4, audio_channels: int = 1
) -> Reference:
    torch.manual_seed(0)
    text = T5Config(vocab_size=4096, d_model=24, d_kv=8, d_ff=48, num_layers=2, num_heads=3)
    codec = EncodecConfig(
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
    )
    decoder = (MusicgenMelodyDecoderConfig if melody else MusicgenDecoderConfig)(
        vocab_size=64,
        pad_token_id=64,
        bos_token_id=64,
        num_codebooks=num_codebooks,
        audio_channels=audio_channels,
        hidden_size=32,
        ffn_dim=80,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=2048,
        initializer_factor=0.3,
    )
    parts = {
        "text_encoder": text.to_dict(),
        "audio_encoder": codec.to_dict(),
        "decoder": decoder.to_dict(),
    }
    if melody:
        config = MusicgenMelodyConfig(num_chroma=12, chroma_length=235, **parts)
        model = MusicgenMelodyForConditionalGeneration(config)
    else:
        model = MusicgenForConditionalGeneration(MusicgenConfig(**parts))
    for layer in model.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_()
    return model


def _save(model: Reference, folder: Path) -> Path:
    """Write ``model`` and a tokenizer to ``folder``; → ``folder``."""
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


def reference(folder: Path) -> Reference:
    """transformers' own model of a folder, in float32."""
    return AutoModelForTextToWaveform.from_pretrained(folder, dtype=torch.float32).eval()


def a_second_of(model: MusicGen) -> np.ndarray:
    """What a checkpoint plays: [1, channels, n]."""
    pieces = generate(model, MusicRequest("jazz", duration=1, seed=1))
    return np.concatenate([piece.samples for piece in pieces], axis=-1)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    library = Library(tmp_path / "library", total_bytes=10**8, visitor_bytes=None)
    yield library
    library.close()
