"""LoRA adapters sound as their base with the merged weights does."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicgen_space.audio.files import encode, read_take
from musicgen_space.backends.base import ModelChoice
from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.engine import memory
from musicgen_space.engine.checkpoint.formats import transformers_format
from musicgen_space.engine.checkpoint.formats.adapter import Adapter
from musicgen_space.engine.checkpoint.loader import load, weights_folder
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.registry import choose_runtime
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take
from tests.checkpoint.adapters import EMBEDDING, PROJECTION, QUERIES, numbers, pair, write_adapter
from tests.checkpoint.conftest import not_needed
from tests.checkpoint.test_loader import damaged
from tests.conftest import TORCH, a_second_of

Weights = dict[str, torch.Tensor]


def merged(base: Path, folder: Path, change: Callable[[Weights], object]) -> MusicGen:
    """The base with changed weights, as ``merge_and_unload`` would save it."""
    shutil.copytree(base, folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    change(weights)
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    return load(folder, TORCH)


def same(one: MusicGen, other: MusicGen) -> bool:
    """Whether the decoders' weights are equal, but for rounding."""
    tensors, others = one.decoder.state_dict(), other.decoder.state_dict()
    return all(torch.allclose(tensors[name].float(), others[name].float()) for name in others)


# What is merged.


@pytest.mark.parametrize(("suffix", "rslora"), [("safetensors", False), ("bin", True)])
def test_it_sounds_as_its_base_with_the_weights_merged(
    tiny_folder: Path, tmp_path: Path, suffix: str, rslora: bool
) -> None:
    scale = 8 / (math.sqrt(2) if rslora else 2)

    def change(weights: Weights) -> None:
        weights[f"{QUERIES}.weight"] += scale * numbers(32, 2) @ numbers(2, 32)
        weights[f"{EMBEDDING}.weight"] += scale * (numbers(32, 2) @ numbers(2, 65)).T

    adapter = write_adapter(
        tmp_path / "adapter",
        tiny_folder,
        {**pair(QUERIES), **pair(EMBEDDING)},
        suffix=suffix,
        use_rslora=rslora,
    )
    ours = load(adapter, TORCH, not_needed)
    theirs = merged(tiny_folder, tmp_path / "merged", change)
    assert same(ours, theirs)
    assert not same(ours, load(tiny_folder, TORCH))
    assert np.allclose(a_second_of(ours), a_second_of(theirs), atol=1e-3)


def test_modules_may_have_ranks_and_strengths_of_their_own(
    tiny_folder: Path, tmp_path: Path
) -> None:
    def change(weights: Weights) -> None:
        weights[f"{QUERIES}.weight"] += 8 / 2 * numbers(32, 2) @ numbers(2, 32)
        weights[f"{PROJECTION}.weight"] += 3 / 4 * numbers(32, 4) @ numbers(4, 24)

    adapter = write_adapter(
        tmp_path / "adapter",
        tiny_folder,
        {**pair(QUERIES), **pair(PROJECTION, rank=4)},
        rank_pattern={"layers.7.fc1": 9, PROJECTION: 4},
        alpha_pattern={"enc_.*proj": 3},
    )
    assert same(load(adapter, TORCH), merged(tiny_folder, tmp_path / "merged", change))


def test_dora_turns_the_rows_and_gives_them_lengths(tiny_folder: Path, tmp_path: Path) -> None:
    lengths = numbers(32).abs()

    def turned(weight: torch.Tensor) -> torch.Tensor:
        return lengths.unsqueeze(1) * torch.nn.functional.normalize(weight)

    def change(weights: Weights) -> None:
        linear, embedding = weights[f"{QUERIES}.weight"], weights[f"{EMBEDDING}.weight"]
        weights[f"{QUERIES}.weight"] = turned(linear + 4 * numbers(32, 2) @ numbers(2, 32))
        rows = turned(embedding.T + 4 * numbers(32, 2) @ numbers(2, 65))
        weights[f"{EMBEDDING}.weight"] = rows.T.contiguous()

    tensors = {**pair(QUERIES), **pair(EMBEDDING)}
    tensors |= {
        f"{module}.lora_magnitude_vector": lengths.clone() for module in (QUERIES, EMBEDDING)
    }
    adapter = write_adapter(tmp_path / "adapter", tiny_folder, tensors, use_dora=True)
    assert same(load(adapter, TORCH), merged(tiny_folder, tmp_path / "merged", change))


def test_modules_and_biases_that_were_trained_as_a_whole_take_the_base_s_place(
    tiny_folder: Path, tmp_path: Path
) -> None:
    norm = "decoder.model.decoder.layer_norm.bias"

    def change(weights: Weights) -> None:
        weights[f"{PROJECTION}.weight"] = numbers(32, 24)
        weights[f"{PROJECTION}.bias"] = numbers(32) + 4 * numbers(32)
        weights[f"{PROJECTION}.weight"] += 4 * numbers(32, 2) @ numbers(2, 24)
        weights[norm] = numbers(32)

    tensors = {
        **pair(PROJECTION),
        f"{PROJECTION}.base_layer.weight": numbers(32, 24),
        f"{PROJECTION}.base_layer.bias": numbers(32),
        f"{PROJECTION}.lora_B.bias": numbers(32),
        norm: numbers(32),
    }
    adapter = write_adapter(
        tmp_path / "adapter", tiny_folder, tensors, bias="all", modules_to_save=["layer_norm"]
    )
    assert same(load(adapter, TORCH), merged(tiny_folder, tmp_path / "merged", change))


def test_the_text_encoder_may_have_been_trained(tiny_folder: Path, tmp_path: Path) -> None:
    module = "text_encoder.encoder.block.0.layer.0.SelfAttention.q"
    tensors = {
        f"{module}.lora_A.weight": numbers(2, 24),
        f"{module}.lora_B.weight": numbers(24, 2),
    }

    def change(weights: Weights) -> None:
        weights[f"{module}.weight"] += 4 * numbers(24, 2) @ numbers(2, 24)

    ours = load(write_adapter(tmp_path / "adapter", tiny_folder, tensors), TORCH)
    theirs = merged(tiny_folder, tmp_path / "merged", change)
    states = [model.text.encode(["jazz"]).states for model in (ours, theirs)]
    assert torch.allclose(*states, atol=1e-4)
    assert not torch.allclose(states[0], load(tiny_folder).text.encode(["jazz"]).states, atol=1e-4)


@pytest.mark.parametrize(
    ("prefix", "named"),
    [
        ("base_model.model.", "lora_A.default.weight"),
        ("module.base_model.model._orig_mod.", "lora_A.weight"),
        ("", "lora_A.weight"),
    ],
)
def test_names_may_have_more_in_them(
    tiny_folder: Path, tmp_path: Path, prefix: str, named: str
) -> None:
    plain = load(write_adapter(tmp_path / "plain", tiny_folder), TORCH)
    tensors = {name.replace("lora_A.weight", named): t for name, t in pair(QUERIES).items()}
    adapter = write_adapter(tmp_path / "other", tiny_folder, tensors, prefix=prefix)
    assert same(load(adapter, TORCH), plain)


def test_it_may_have_been_trained_on_the_decoder_alone(tiny_folder: Path, tmp_path: Path) -> None:
    plain = load(write_adapter(tmp_path / "plain", tiny_folder), TORCH)
    alone = {name.removeprefix("decoder."): tensor for name, tensor in pair(QUERIES).items()}
    assert same(load(write_adapter(tmp_path / "alone", tiny_folder, alone), TORCH), plain)


@pytest.mark.parametrize("kind", ["tiny_stereo_folder", "tiny_melody_folder"])
def test_any_kind_of_musicgen_can_be_the_base(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = request.getfixturevalue(kind)
    ours, theirs = load(write_adapter(tmp_path / "adapter", base), TORCH), load(base, TORCH)
    assert ours.decoder.config == theirs.decoder.config
    assert not same(ours, theirs)


# Where the base is.


def test_the_base_is_found_beside_the_adapter(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    shutil.copytree(tiny_folder, tmp_path / "facebook" / "musicgen-small")
    for n, named in enumerate(
        ["/home/trainer/models/tiny", r"C:\models\tiny", "../x/tiny", "facebook/musicgen-small"]
    ):
        adapter = write_adapter(tmp_path / f"adapter{n}", named)
        assert load(adapter, TORCH, not_needed).base == named if "face" in named else "tiny"


def test_else_it_is_fetched_by_its_name(tiny_folder: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return tiny_folder

    model = load(write_adapter(tmp_path / "adapter", "facebook/musicgen-small"), TORCH, fetch)
    assert asked == [model.base] == ["facebook/musicgen-small"]


def test_a_base_that_is_nowhere_is_told_with_what_to_do(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", "/home/trainer/models/mine")
    with pytest.raises(InvalidCheckpoint, match=r"adapter of /home/trainer.* base_model_name_or_p"):
        load(adapter, fetch=not_needed)


# What is refused.


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"peft_type": "LOHA"}, r"peft_type 'LOHA'.*merge_and_unload"),
        ({"peft_type": None}, "peft_type None"),
        ({"base_model_name_or_path": None}, "does not name the base model"),
        ({"base_model_name_or_path": ""}, "does not name the base model"),
        ({"init_lora_weights": "pissa_niter_16"}, r"init_lora_weights 'pissa_niter_16' .*merge"),
        ({"alora_invocation_tokens": [1, 2]}, r"alora_invocation_tokens '\[1, 2\]'"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"revision": "v2"}, "revision 'v2'"),
        ({"alpha_pattern": {"(a+)+": 3}}, "alpha_pattern"),
        ({"alpha_pattern": {"q_proj": "much"}}, "alpha_pattern 'much'"),
        ({"lora_alpha": float("nan")}, "lora_alpha 'nan'"),
        ({"r": 16}, "has rank 2 .* says 16"),
        ({"use_dora": True}, "disagree about use_dora"),
    ],
)
def test_an_option_that_is_not_supported_is_named(
    tiny_folder: Path, tmp_path: Path, options: dict[str, object], complaint: str
) -> None:
    adapter = write_adapter(tmp_path / "adapter", tiny_folder, **options)
    with pytest.raises(InvalidCheckpoint, match=complaint):
        load(adapter, fetch=not_needed)


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({}, "lacks .*q_proj.lora_B"),
        ({f"{QUERIES}.lora_B.weight": numbers(30, 2)}, r"was not made for tiny .*\(30, 2\)"),
        ({f"{QUERIES}.lora_B.weight": numbers(32, 3)}, "was not made for tiny"),
        ({f"{QUERIES}.lora_B.weight": torch.zeros(32, 2, dtype=torch.int8)}, "was not made for"),
        ({f"{QUERIES}.lora_B.weight": torch.full((32, 2), math.nan)}, "are not finite"),
        ({f"{QUERIES}.oft_R": numbers(2, 2)}, "changes .*oft_R, which is not there"),
        ({"layers.9.lora_A.weight": numbers(2, 2)}, "lacks layers.9.lora_B"),
        ({f"{PROJECTION}.weight": numbers(3, 3)}, r"as \(3, 3\), which is \(32, 24\) there"),
    ],
)
def test_weights_that_do_not_fit_the_base_are_named(
    tiny_folder: Path, tmp_path: Path, tensors: Weights, complaint: str
) -> None:
    half = {name: tensor for name, tensor in pair(QUERIES).items() if "lora_A" in name}
    whole = {**(pair(QUERIES) if tensors else half), **tensors}
    with pytest.raises(InvalidCheckpoint, match=complaint):
        load(write_adapter(tmp_path / "adapter", tiny_folder, whole))


def test_an_adapter_of_another_model_is_told_as_such(
    tiny_folder: Path, tiny_melody_folder: Path, tmp_path: Path
) -> None:
    cross = QUERIES.replace("self_attn", "encoder_attn")
    tensors = {name.replace(QUERIES, cross): tensor for name, tensor in pair(QUERIES).items()}
    assert load(write_adapter(tmp_path / "right", tiny_folder, tensors))
    with pytest.raises(InvalidCheckpoint, match="was not made for tiny-melody"):
        load(write_adapter(tmp_path / "wrong", tiny_melody_folder, tensors))


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin", "state_dict.bin"])
def test_whole_weights_beside_an_adapter_are_not_taken_for_the_model(
    tiny_folder: Path, tmp_path: Path, weights: str
) -> None:
    """Nobody can tell whether the adapter is in them already."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "both"))
    (folder / "model.safetensors").rename(folder / weights)
    shutil.copytree(write_adapter(tmp_path / "adapter", tiny_folder), folder, dirs_exist_ok=True)
    with pytest.raises(InvalidCheckpoint, match=rf"\({weights}\) and an adapter.*a folder of thei"):
        load(folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(InvalidCheckpoint, match="and an adapter"):
        load(folder)


def test_a_part_of_an_adapter_says_what_is_missing(tiny_folder: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", tiny_folder)
    kept = (adapter / "adapter_model.safetensors").rename(tmp_path / "kept")
    with pytest.raises(InvalidCheckpoint, match=r"no adapter_model\.safetensors"):
        load(adapter)
    kept.rename(adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"no adapter_config\.json"):
        load(adapter)


def test_an_adapter_of_an_adapter_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    first = write_adapter(tmp_path / "first", tiny_folder)
    (first / "config.json").write_text("{}")  # trainers write the base's there
    with pytest.raises(InvalidCheckpoint, match="is an adapter itself"):
        load(write_adapter(tmp_path / "second", first))


def test_a_base_in_audiocraft_s_format_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "state_dict.bin").write_bytes(b"")
    adapter = write_adapter(tmp_path / "adapter", "someone/base")
    with pytest.raises(InvalidCheckpoint, match="not in transformers' format"):
        load(adapter, fetch=lambda name: base)


def test_layers_of_an_adapter_in_whole_weights_are_told_as_such(
    tiny_folder: Path, tmp_path: Path
) -> None:
    def wrap(weights: Weights) -> None:
        weights[f"base_model.model.{QUERIES}.base_layer.weight"] = weights.pop(f"{QUERIES}.weight")
        weights[f"base_model.model.{QUERIES}.lora_A.default.weight"] = numbers(2, 32)

    with pytest.raises(InvalidCheckpoint, match=r"unmerged.*merge_and_unload"):
        merged(tiny_folder, tmp_path / "unmerged", wrap)


# As a model of this machine.


def test_it_is_on_offer_and_its_takes_tell_of_both(tiny_folder: Path, tmp_path: Path) -> None:
    name = str(write_adapter(tmp_path / "adapter", tiny_folder))
    backend = LocalBackend(Settings(models=(name,)))
    try:
        assert ModelChoice(name, "the owner's choice", melody=None) in backend.models()
        request = MusicRequest("jazz", model=name, duration=1)
        *_, take = backend.generate(request, threading.Event())
    finally:
        backend.close()
    assert isinstance(take, Take)
    assert (take.model, take.base_model) == (name, "tiny")
    read = read_take(encode(take, "flac"))
    assert read is not None
    assert (read.model, read.base_model) == (name, "tiny")
    assert read.made_by == f"{name} + tiny"


def test_it_needs_the_memory_of_its_base(tiny_folder: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", tiny_folder)
    need = memory.checkpoint_bytes(weights_folder(adapter, not_needed), choose_runtime(CPU))
    assert need == memory.checkpoint_bytes(tiny_folder, choose_runtime(CPU)) > 0


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_configuration_is_understood_or_refused(
    tiny_folder: Path, tmp_path: Path, data: st.DataObject
) -> None:
    folder = tmp_path / "adapter"
    if not folder.exists():
        write_adapter(folder, tiny_folder)
        (folder / "adapter_config.json").rename(tmp_path / "config.json")
    config = json.loads((tmp_path / "config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(damaged(config, data)))
    with contextlib.suppress(InvalidCheckpoint, ModelUnavailable):
        adapter = Adapter.of(folder)
        assert adapter is not None
        transformers_format.read(adapter.base_folder(not_needed), adapter)
