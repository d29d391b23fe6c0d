from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from musicgen_space.engine.generate import generate
from musicgen_space.engine.loader import load
from musicgen_space.errors import InvalidCheckpoint, OutOfMemory
from musicgen_space.request import MusicRequest


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be damaged."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_folder_without_config_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"has no config\.json"):
        load(tmp_path)


def test_another_kind_of_model_is_named(folder: Path) -> None:
    edit(folder / "config.json", model_type="llama")
    with pytest.raises(InvalidCheckpoint, match="model_type 'llama'"):
        load(folder)


def test_a_config_that_is_no_json_is_an_error(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(InvalidCheckpoint, match="not JSON"):
        load(folder)


def test_a_truncated_file_is_an_error(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InvalidCheckpoint, match=r"model\.safetensors is damaged"):
        load(folder)


def test_missing_weights_are_named(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["decoder.lm_heads.2.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"lm_heads\.2\.weight"):
        load(folder)


def test_weights_of_another_shape_are_an_error(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["enc_to_dec_proj.weight"] = torch.zeros(3, 3)
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match="do not fit the decoder"):
        load(folder)


def test_no_weights_at_all_is_an_error(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidCheckpoint, match="has no weights"):
        load(folder)


def test_weights_may_be_a_pytorch_file_of_plain_tensors(folder: Path) -> None:
    request = MusicRequest("jazz", duration=1)
    before = [piece.samples.sum() for piece in generate(load(folder), request)]
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    after = [piece.samples.sum() for piece in generate(load(folder), request)]
    assert sum(before) == sum(after) != 0


def test_a_pickle_that_wants_to_run_code_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"hook": print}, folder / "pytorch_model.bin")
    with pytest.raises(InvalidCheckpoint, match=r"pytorch_model\.bin is damaged or unsafe"):
        load(folder)


def test_shards_are_put_together(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for index, part in enumerate((names[::2], names[1::2]), start=1):
        shard = {name: weights[name] for name in part}
        safetensors.torch.save_file(shard, folder / f"model-0000{index}-of-00002.safetensors")
    assert load(folder).codec.sample_rate == 32000


@pytest.mark.parametrize(
    "dropped", ["text_encoder.encoder.embed_tokens.weight", "text_encoder.shared.weight"]
)
def test_a_checkpoint_of_the_first_publications_loads(folder: Path, dropped: str) -> None:
    """Old names of the weight norm, positions that were saved, an embedding saved once."""
    request = MusicRequest("jazz", duration=1)
    before = [piece.samples.sum() for piece in generate(load(folder), request)]
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in weights.items()
    }
    assert any(name.endswith("weight_g") for name in old)
    old.pop(dropped, None)
    shared = weights.get("text_encoder.shared.weight")
    if shared is not None and dropped == "text_encoder.shared.weight":
        old["text_encoder.encoder.embed_tokens.weight"] = shared
    old["decoder.model.decoder.embed_positions.weights"] = torch.zeros(2048, 32)
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    after = [piece.samples.sum() for piece in generate(load(folder), request)]
    assert sum(before) == sum(after) != 0


def test_a_full_memory_is_told_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB")

    monkeypatch.setattr(safetensors.torch, "load_file", full)
    with pytest.raises(OutOfMemory, match="not enough memory for the model"):
        load(folder)
