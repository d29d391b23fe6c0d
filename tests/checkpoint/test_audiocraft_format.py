"""Checkpoints in AudioCraft's own format sound as the same weights in transformers' do."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.generate import MusicGen
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable
from tests.checkpoint.audiocraft_format import audiocraft_from
from tests.checkpoint.conftest import not_needed
from tests.conftest import a_second_of

KINDS = ["tiny", "tiny_stereo", "tiny_melody", "tiny_stereo_melody"]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint in AudioCraft's format, to be changed."""
    return audiocraft_from(tiny_folder, tmp_path / "audiocraft")


def change(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    package = torch.load(file, weights_only=True)
    edit(package)
    torch.save(package, file)


def configure(file: Path, path: str, value: object) -> None:
    """Set one option of the file's ``xp.cfg``."""

    def edit(package: dict[str, Any]) -> None:
        config = section = yaml.safe_load(package["xp.cfg"])
        *outer, last = path.split(".")
        for key in outer:
            section = section.setdefault(key, {})
        section[last] = value
        package["xp.cfg"] = yaml.safe_dump(config)

    change(file, edit)


@pytest.mark.parametrize("kind", KINDS)
def test_it_sounds_as_the_same_weights_in_transformers_format(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source = request.getfixturevalue(f"{kind}_folder")
    theirs = load(audiocraft_from(source, tmp_path / kind), fetch=not_needed)
    ours = load(source)
    assert theirs.decoder.config == ours.decoder.config
    assert theirs.codec.sample_rate == ours.codec.sample_rate
    assert np.array_equal(a_second_of(theirs), a_second_of(ours))
    noise = 0.1 * torch.randn(1, 20000)
    assert torch.equal(theirs.codec.encode(noise), ours.codec.encode(noise))


def test_a_published_checkpoint_says_its_version_and_may_be_in_half_precision(
    folder: Path, tiny: MusicGen
) -> None:
    def export(package: dict[str, Any]) -> None:
        package["best_state"] = {k: v.half() for k, v in package["best_state"].items()}
        package |= {"version": "1.3.0", "exported": True}

    change(folder / "state_dict.bin", export)
    assert np.isfinite(a_second_of(load(folder))).all()


def test_weights_of_torch_s_own_attention_have_a_longer_name(folder: Path, tiny: MusicGen) -> None:
    def rename(package: dict[str, Any]) -> None:
        package["best_state"] = {
            name.replace("attn.", "attn.mha.").replace("attention.", "attention.mha."): tensor
            for name, tensor in package["best_state"].items()
        }

    change(folder / "state_dict.bin", rename)
    assert np.array_equal(a_second_of(load(folder)), a_second_of(tiny))


def test_t5_is_found_beside_the_checkpoint(folder: Path, tiny: MusicGen) -> None:
    shutil.move(folder / "t5-base", folder.parent / "t5-base")
    assert np.array_equal(a_second_of(load(folder, fetch=not_needed)), a_second_of(tiny))


def test_t5_is_fetched_when_it_is_not_here(folder: Path, tmp_path: Path, tiny: MusicGen) -> None:
    (tmp_path / "cache").mkdir()
    elsewhere = shutil.move(folder / "t5-base", tmp_path / "cache" / "snapshot")
    asked: list[str] = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return Path(elsewhere)

    assert np.array_equal(a_second_of(load(folder, fetch=fetch)), a_second_of(tiny))
    assert asked == ["t5-base"]


def test_a_hub_without_t5_is_told_as_such(folder: Path) -> None:
    shutil.rmtree(folder / "t5-base")
    with pytest.raises(ModelUnavailable, match="t5-base"):
        load(folder, fetch=not_needed)


def test_encodec_may_be_named_only(folder: Path, tiny_folder: Path, tiny: MusicGen) -> None:
    import json

    import safetensors.torch

    codec = folder / "facebook" / "encodec_32khz"
    codec.mkdir(parents=True)
    config = json.loads((tiny_folder / "config.json").read_text())["audio_encoder"]
    (codec / "config.json").write_text(json.dumps(config))
    weights = safetensors.torch.load_file(tiny_folder / "model.safetensors")
    prefix = "audio_encoder."
    own = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    safetensors.torch.save_file(own, codec / "model.safetensors")
    package = {"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.3.0"}
    torch.save(package, folder / "compression_state_dict.bin")
    assert np.array_equal(a_second_of(load(folder, fetch=not_needed)), a_second_of(tiny))


def trained(package: dict[str, Any]) -> None:
    """As checkpoint.th has it, where the configuration is text."""
    package["best_state"] = {"model": package["best_state"]}
    package["optimizer"] = {}


def bare(package: dict[str, Any]) -> None:
    """As ``torch.save(model.lm.state_dict(), …)`` writes it."""
    weights = package["best_state"]
    package.clear()
    package.update(weights)


@pytest.mark.parametrize("name", ["state_dict.bin", "compression_state_dict.bin"])
@pytest.mark.parametrize(
    ("edit", "told"),
    [(trained, "training checkpoint of AudioCraft.*export_lm"), (bare, "without their configura")],
)
def test_what_training_writes_under_an_exported_file_s_name_is_told_as_such(
    folder: Path, name: str, edit: Callable[[dict[str, Any]], object], told: str
) -> None:
    change(folder / name, edit)
    with pytest.raises(InvalidCheckpoint, match=rf"^{name} holds .*{told}"):
        load(folder, fetch=not_needed)


def test_a_configuration_as_training_keeps_it_is_told_as_such(folder: Path) -> None:
    class DictConfig(dict[str, object]):
        pass

    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf", "DictConfig"
    module = types.ModuleType("omegaconf")
    vars(module)["DictConfig"] = DictConfig
    with pytest.MonkeyPatch.context() as patch:  # it is not installed here
        patch.setitem(sys.modules, "omegaconf", module)
        change(folder / "state_dict.bin", lambda package: package.update({"xp.cfg": DictConfig()}))
    with pytest.raises(InvalidCheckpoint, match=r"training checkpoint of AudioCraft.*export_lm"):
        load(folder, fetch=not_needed)


def test_a_language_model_that_was_exported_alone_says_what_else_to_export(folder: Path) -> None:
    (folder / "compression_state_dict.bin").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"lacks comp.*export_pretrained_compression_model"):
        load(folder, fetch=not_needed)


def test_what_training_wraps_around_the_model_is_not_part_of_its_names(
    folder: Path, tiny: MusicGen
) -> None:
    def wrap(package: dict[str, Any]) -> None:
        package["best_state"] = {f"_orig_mod.{n}": t for n, t in package["best_state"].items()}

    for name in ("state_dict.bin", "compression_state_dict.bin"):
        change(folder / name, wrap)
    assert np.array_equal(a_second_of(load(folder)), a_second_of(tiny))


def test_a_name_that_leads_out_of_the_folder_is_refused(folder: Path) -> None:
    configure(folder / "state_dict.bin", "conditioners.description.t5.name", "../../secret")
    with pytest.raises(InvalidCheckpoint, match="by the invalid name"):
        load(folder, fetch=not_needed)


def test_an_encodec_with_more_codebooks_gives_those_that_are_needed(
    folder: Path, tiny: MusicGen
) -> None:
    def add(package: dict[str, Any]) -> None:
        state = package["best_state"]
        for name in [name for name in state if ".layers.3._codebook" in name]:
            state[name.replace(".3.", ".4.")] = torch.randn_like(state[name])

    change(folder / "compression_state_dict.bin", add)
    configure(folder / "compression_state_dict.bin", "rvq.n_q", 5)
    model = load(folder)
    assert np.array_equal(a_second_of(model), a_second_of(tiny))
    assert model.codec.encode(torch.zeros(1, 3200)).shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("lm_model", "transformer_lm_magnet"),
        ("transformer_lm.activation", "relu"),
        ("transformer_lm.norm_first", False),
        ("transformer_lm.bias_ff", True),
        ("transformer_lm.positional_embedding", "rope"),
        ("transformer_lm.past_context", 500),
        ("transformer_lm.kv_repeat", 2),
        ("transformer_lm.dim", "wide"),
        ("transformer_lm.num_layers", -1),
        ("transformer_lm.hidden_scale", float("nan")),
        ("codebooks_pattern.modeling", "parallel"),
        ("codebooks_pattern.delay.delays", [0, 0, 0, 0]),
        ("codebooks_pattern.delay.flatten_first", 2),
        ("interleave_stereo_codebooks.per_timestep", True),
        ("fuser.cross", []),
        ("fuser.cross_attention_pos_emb", True),
        ("conditioners.genre", {"model": "lut"}),
        ("conditioners.description.t5.finetune", True),
        ("sample_rate", "${sample_rate}"),
    ],
)
def test_a_model_of_another_kind_is_refused(folder: Path, path: str, value: object) -> None:
    if path == "sample_rate":  # only read where another option refers to it
        configure(folder / "state_dict.bin", "transformer_lm.dim", "${sample_rate}")
    configure(folder / "state_dict.bin", path, value)
    with pytest.raises(InvalidCheckpoint):
        load(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("compression_model", "dac"),
        ("encodec.renormalize", True),
        ("seanet.causal", True),
        ("seanet.norm", "time_group_norm"),
        ("seanet.pad_mode", "circular"),
        ("seanet.lstm", 0),
        ("seanet.ratios", [8, 5, 4]),
        ("seanet.decoder.final_activation", "Tanh"),
        ("seanet.encoder.n_filters", 8),
        ("rvq.n_q", 3),
        ("rvq.bins", 128),
    ],
)
def test_an_encodec_of_another_kind_is_refused(folder: Path, path: str, value: object) -> None:
    configure(folder / "compression_state_dict.bin", path, value)
    with pytest.raises(InvalidCheckpoint):
        load(folder)


def test_a_missing_option_is_named(folder: Path) -> None:
    def drop(package: dict[str, Any]) -> None:
        config = yaml.safe_load(package["xp.cfg"])
        del config["transformer_lm"]["n_q"]
        package["xp.cfg"] = yaml.safe_dump(config)

    change(folder / "state_dict.bin", drop)
    with pytest.raises(InvalidCheckpoint, match=r"state_dict\.bin lacks transformer_lm\.n_q"):
        load(folder)


@pytest.mark.parametrize("text", ["{", "- a list", "", "[" * 5000, "2026-99-99"])
def test_a_configuration_that_is_none_is_refused(folder: Path, text: str) -> None:
    change(folder / "state_dict.bin", lambda package: package.update({"xp.cfg": text}))
    with pytest.raises(InvalidCheckpoint):
        load(folder)


def test_weights_that_are_missing_or_foreign_are_named(folder: Path) -> None:
    name = "transformer.layers.1.linear1.weight"
    change(folder / "state_dict.bin", lambda package: package["best_state"].pop(name))
    with pytest.raises(InvalidCheckpoint, match=r"lacks .*transformer\.layers\.1\.linear1\.weight"):
        load(folder)
    extra = {name: torch.zeros(80, 32), "transformer.layers.1.linear1.bias": torch.zeros(80)}
    change(folder / "state_dict.bin", lambda package: package["best_state"].update(extra))
    with pytest.raises(InvalidCheckpoint, match=r"layers\.1\.linear1\.bias is not a weight"):
        load(folder)


def test_weights_of_another_shape_are_named(folder: Path) -> None:
    name = "transformer.layers.0.cross_attention.in_proj_weight"
    change(
        folder / "state_dict.bin",
        lambda package: package["best_state"].update({name: torch.zeros(64, 32)}),
    )
    with pytest.raises(InvalidCheckpoint, match=r"cross_attention\.in_proj_weight has the shape"):
        load(folder)


def test_without_its_encodec_it_is_no_checkpoint(folder: Path) -> None:
    (folder / "compression_state_dict.bin").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"lacks compression_state_dict\.bin"):
        load(folder)


def test_a_training_checkpoint_is_refused_with_the_reason(folder: Path) -> None:
    change(folder / "state_dict.bin", lambda package: package.update({"xp.cfg": Path("x")}))
    with pytest.raises(InvalidCheckpoint, match=r"refers to pathlib\.\w+\. Only plain tensors"):
        load(folder)
