from __future__ import annotations

import contextlib
import copy
import gc
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicgen_space.backends.local.folders import folder_of
from musicgen_space.engine.checkpoint import tensors
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.generate import MusicGen
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable, OutOfMemory
from tests.checkpoint.audiocraft_format import audiocraft_from, save
from tests.checkpoint.audiocraft_format import codec_config as audiocraft_codec
from tests.checkpoint.audiocraft_format import decoder_config as audiocraft_decoder
from tests.conftest import TORCH, a_second_of


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be damaged."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of ``folder``."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    change(weights)
    safetensors.torch.save_file(weights, folder / "model.safetensors")


def shard(folder: Path, suffix: str, *, index: bool) -> list[Path]:
    """Split the weights of ``folder`` into two shards."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    files = [folder / f"{stem}-0000{n}-of-00002.{suffix}" for n in (1, 2)]
    places = {}
    for file, names in zip(files, (sorted(weights)[::2], sorted(weights)[1::2]), strict=True):
        content = {name: weights[name] for name in names}
        places |= dict.fromkeys(names, file.name)
        if suffix == "bin":
            torch.save(content, file)
        else:
            safetensors.torch.save_file(content, file)
    if index:
        text = json.dumps({"metadata": {}, "weight_map": places})
        (folder / f"{stem}.{suffix}.index.json").write_text(text)
    return files


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
    rewrite(folder, lambda weights: weights.pop("decoder.lm_heads.2.weight"))
    with pytest.raises(InvalidCheckpoint, match=r"lm_heads\.2\.weight"):
        load(folder)


def test_a_config_with_fewer_layers_than_the_weights_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(folder / "config.json", decoder={**config["decoder"], "num_hidden_layers": 2})
    with pytest.raises(InvalidCheckpoint, match=r"layers\.2\..* is not a weight of a MusicGen"):
        load(folder)


def test_weights_of_another_shape_are_named_with_both_shapes(folder: Path) -> None:
    wrong = {"enc_to_dec_proj.weight": torch.zeros(3, 3)}
    rewrite(folder, lambda weights: weights.update(wrong))
    with pytest.raises(InvalidCheckpoint) as caught:
        load(folder)
    assert str(caught.value) == (
        "enc_to_dec_proj.weight has the shape 3 × 3, "
        "but by the checkpoint's configuration it should be 32 × 24."
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(folder: Path, number: float) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights["decoder.lm_heads.1.weight"][3, 4] = number

    rewrite(folder, spoil)
    with pytest.raises(InvalidCheckpoint, match=r"lm_heads\.1\.weight holds numbers"):
        load(folder)


def test_quantised_weights_are_refused(folder: Path) -> None:
    whole = {"enc_to_dec_proj.weight": torch.zeros(32, 24, dtype=torch.int8)}
    rewrite(folder, lambda weights: weights.update(whole))
    with pytest.raises(InvalidCheckpoint, match="is stored as int8"):
        load(folder)


def test_no_weights_at_all_is_an_error(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidCheckpoint, match="has no weights"):
        load(folder)


def test_an_encodec_that_can_not_play_what_is_written_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(folder / "config.json", audio_encoder={**config["audio_encoder"], "codebook_size": 32})
    with pytest.raises(InvalidCheckpoint, match=r"64 entries .* EnCodec has \d of 32"):
        load(folder)


def test_a_text_encoder_of_the_decoder_s_width_needs_no_projection(folder: Path) -> None:
    """transformers stores none then: T5's states are read as they are."""
    from transformers import MusicgenConfig, MusicgenForConditionalGeneration

    config = json.loads((folder / "config.json").read_text())
    config["text_encoder"]["d_model"] = 32
    torch.manual_seed(0)
    theirs = MusicgenForConditionalGeneration(MusicgenConfig.from_dict(config)).eval()
    theirs.save_pretrained(folder)
    assert not hasattr(theirs, "enc_to_dec_proj")
    ours = load(folder, TORCH)
    states = ours.text.encode(["jazz"]).states
    assert torch.equal(ours.decoder.text_proj(states), states)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["tiny", "tiny_stereo", "tiny_melody", "tiny_stereo_melody"])
def test_weights_may_be_stored_in_any_precision(
    kind: str, dtype: torch.dtype, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = shutil.copytree(request.getfixturevalue(f"{kind}_folder"), tmp_path / "copy")

    def convert(weights: dict[str, torch.Tensor]) -> None:
        weights.update({name: tensor.to(dtype) for name, tensor in weights.items()})

    rewrite(folder, convert)
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    model = load(folder, TORCH)
    samples = a_second_of(model)
    assert np.isfinite(samples).all()
    assert np.ptp(samples) > 0
    expected = stored["decoder.model.decoder.layer_norm.weight"].float()
    assert torch.equal(model.decoder.norm.weight, expected)


def test_weights_may_be_a_pytorch_file_of_plain_tensors(folder: Path, tiny: MusicGen) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for zipped in (True, False):  # today's format, and torch's before 1.6
        file = folder / "pytorch_model.bin"
        torch.save(weights, file, _use_new_zipfile_serialization=zipped)
        assert np.array_equal(a_second_of(load(folder)), a_second_of(tiny))


def test_a_pickle_that_wants_to_run_code_is_refused(folder: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> object:
            return Path.touch, (tmp_path / "ran",)

    (folder / "model.safetensors").unlink()
    torch.save({"hook": Attack()}, folder / "pytorch_model.bin")
    with pytest.raises(InvalidCheckpoint) as caught:
        load(folder)
    assert re.fullmatch(
        r"pytorch_model\.bin was refused: its pickle refers to [\w.]+\. Only plain tensors "
        r"are read, because anything else in such a file could run code here\.",
        str(caught.value),
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [[1, 2], {"weights": {"a": torch.zeros(1)}}, {1: torch.zeros(1)}, "text"]
)
def test_a_pickle_of_something_else_is_refused(folder: Path, content: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(InvalidCheckpoint, match="does not hold tensors"):
        load(folder)


@pytest.mark.parametrize("kept", [0, 1, 100, 5000, 200_000])
@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_a_file_that_was_cut_short_is_refused(folder: Path, suffix: str, kept: int) -> None:
    whole = folder / "model.safetensors"
    data = whole.read_bytes()
    if suffix == "bin":
        weights = safetensors.torch.load_file(whole)
        whole.unlink()
        whole = folder / "pytorch_model.bin"
        torch.save(weights, whole)
        data = whole.read_bytes()
    whole.write_bytes(data[:kept])
    with pytest.raises(InvalidCheckpoint, match=f"{whole.name} (is damaged|was refused|holds)"):
        load(folder)


def test_a_plain_pickle_is_no_file_of_tensors(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": [1.0]}))
    with pytest.raises(InvalidCheckpoint):
        load(folder)


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "base_model.model.", "module._orig_mod."]
)
def test_what_training_wraps_around_the_model_is_not_part_of_its_names(
    folder: Path, tiny: MusicGen, prefix: str
) -> None:
    def wrap(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            weights[f"{prefix}{name}"] = weights.pop(name)

    rewrite(folder, wrap)
    assert np.array_equal(a_second_of(load(folder)), a_second_of(tiny))


def test_parts_of_the_model_may_have_been_wrapped(folder: Path, tiny: MusicGen) -> None:
    def wrap(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            inner = name.replace("decoder.model.", "decoder._orig_mod.model.")
            weights[inner.replace("text_encoder.", "text_encoder.module.")] = weights.pop(name)

    rewrite(folder, wrap)
    assert np.array_equal(a_second_of(load(folder)), a_second_of(tiny))


def test_weights_that_are_there_twice_are_refused(folder: Path) -> None:
    name = "enc_to_dec_proj.weight"
    rewrite(folder, lambda weights: weights.update({f"module.{name}": torch.zeros(32, 24)}))
    with pytest.raises(InvalidCheckpoint, match=rf"holds {name} twice"):
        load(folder)


# What training leaves behind.


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("checkpoint.th", r"training checkpoint of AudioCraft.*export_lm.*export_encodec"),
        ("checkpoint_40.th", r"training checkpoint of AudioCraft"),
        ("last.ckpt", r"training checkpoint of PyTorch Lightning.*place of best_state"),
        ("lm_final.pt", r"without their configuration.*place of best_state"),
        ("musicgen.pth", r"without their configuration.*save_pretrained"),
    ],
)
def test_a_training_checkpoint_is_told_as_such_with_what_makes_a_model_of_it(
    tmp_path: Path, name: str, told: str
) -> None:
    for beside in ("optimizer.pt", "a.txt"):
        (tmp_path / beside).write_bytes(b"")
    (tmp_path / name).write_bytes(b"weights")
    for folder in (tmp_path, tmp_path / name):
        with pytest.raises((InvalidCheckpoint, ModelUnavailable), match=rf"{name} is .*{told}"):
            load(folder_of(str(folder)))


def test_the_last_of_several_checkpoints_in_a_folder_is_named(
    tiny_folder: Path, tmp_path: Path
) -> None:
    for step in (500, 1000):
        shutil.copytree(tiny_folder, tmp_path / "run" / f"checkpoint-{step}")
    with pytest.raises(InvalidCheckpoint, match=r"run/checkpoint-1000 is one\."):
        load(tmp_path / "run")


def test_a_file_of_a_model_is_told_to_be_named_by_its_folder(folder: Path) -> None:
    with pytest.raises(ModelUnavailable, match="is a file: a model is named by its folder"):
        folder_of(str(folder / "model.safetensors"))


def test_a_whole_state_of_training_in_place_of_weights_is_told_as_such(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": weights, "epoch": 3}, folder / "pytorch_model.bin")
    with pytest.raises(InvalidCheckpoint, match=r"may be a training checkpoint.*save_pretrained"):
        load(folder)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_put_together(folder: Path, tiny: MusicGen, suffix: str, index: bool) -> None:
    shard(folder, suffix, index=index)
    assert np.array_equal(a_second_of(load(folder)), a_second_of(tiny))


@pytest.mark.parametrize("index", [True, False])
def test_a_missing_shard_is_named(folder: Path, index: bool) -> None:
    shard(folder, "safetensors", index=index)[1].unlink()
    with pytest.raises(InvalidCheckpoint, match=r"lacks model-00002-of-00002\.safetensors"):
        load(folder)


def test_shards_that_the_index_does_not_name_are_left_alone(folder: Path, tiny: MusicGen) -> None:
    shard(folder, "safetensors", index=True)
    (folder / "model-00003-of-00003.safetensors").write_bytes(b"from an earlier upload")
    assert np.array_equal(a_second_of(load(folder)), a_second_of(tiny))


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "{"])
def test_an_index_that_says_nothing_is_refused(folder: Path, text: str) -> None:
    shard(folder, "safetensors", index=True)
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InvalidCheckpoint):
        load(folder)


def test_an_index_can_not_name_files_elsewhere(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "model.safetensors", tmp_path / "elsewhere.safetensors")
    text = json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}})
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InvalidCheckpoint, match="lacks"):
        load(folder)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidCheckpoint, match="no usable tokenizer"):
        load(folder)


def test_a_tokenizer_at_which_its_library_panics_is_refused(folder: Path) -> None:
    damaged = {"type": "Precompiled", "precompiled_charsmap": "////fwAAAAA="}
    edit(folder / "tokenizer.json", normalizer=damaged)
    with pytest.raises(InvalidCheckpoint, match="no usable tokenizer"):
        load(folder)


@pytest.mark.parametrize(
    "dropped", ["text_encoder.encoder.embed_tokens.weight", "text_encoder.shared.weight"]
)
def test_a_checkpoint_of_the_first_publications_loads(folder: Path, dropped: str) -> None:
    """Old names of the weight norm, positions that were saved, an embedding saved once."""
    before = a_second_of(load(folder))
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
    assert np.array_equal(a_second_of(load(folder)), before)


def test_a_full_memory_is_told_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB")

    monkeypatch.setattr(tensors, "_stacked", full)
    with pytest.raises(OutOfMemory, match="not enough memory for the model"):
        load(folder)


def test_a_failed_load_keeps_nothing_in_memory(folder: Path) -> None:
    """Even while its error is still held, as the page does until it is shown."""

    def spoil(weights: dict[str, torch.Tensor]) -> None:  # EnCodec comes last
        weights["audio_encoder.decoder.layers.15.conv.bias"].fill_(float("nan"))

    def tensors_alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    rewrite(folder, spoil)
    before = tensors_alive()
    try:
        load(folder)
    except InvalidCheckpoint as error:
        held = error
    assert "not finite" in str(held)
    assert tensors_alive() == before


def test_what_does_not_fit_is_found_before_the_weights_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "_stacked", lambda *_: pytest.fail("weights were read"))
    wrong = {"audio_encoder.decoder.layers.15.conv.bias": torch.zeros(2)}
    rewrite(folder, lambda weights: weights.update(wrong))
    with pytest.raises(InvalidCheckpoint, match=r"layers\.15\.conv\.bias has the shape 2"):
        load(folder)


def test_the_model_does_not_depend_on_its_files_any_more(folder: Path, tiny: MusicGen) -> None:
    model = load(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(bytes(file.seek(0, 2)))  # all zeros
        file.truncate(0)
    assert np.array_equal(a_second_of(model), a_second_of(tiny))


# Damage. Whatever a configuration says, it loads or is refused in words.

nonsense = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2, 3, 7, 33, 10**6, 10**12, 10**30, 0.5, 1e300]),
    st.sampled_from([float("nan"), float("inf"), "", "x", "8", "gelu", "float16", "eager"]),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-2, 9), max_size=5),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every value in nested objects."""
    if not isinstance(value, dict):
        return [path]
    inner = [found for key in value for found in places(value[key], (*path, key))]
    return [path, *inner] if path else inner


def damaged(config: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """``config`` with one or two of its values replaced or left out."""
    config = copy.deepcopy(config)
    for _ in range(data.draw(st.integers(1, 2))):
        *outer, last = data.draw(st.sampled_from(places(config)))
        section = config
        for key in outer:
            section = section[key]
        if data.draw(st.booleans()):
            section[last] = data.draw(nonsense)
        else:
            del section[last]
    return config


relaxed = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@relaxed
@given(st.data())
def test_a_damaged_config_loads_or_is_refused(
    tiny_melody_folder: Path, tmp_path: Path, data: st.DataObject
) -> None:
    folder = Path(shutil.copytree(tiny_melody_folder, tmp_path / "copy", dirs_exist_ok=True))
    config = json.loads((tiny_melody_folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(damaged(config, data)))
    with contextlib.suppress(InvalidCheckpoint):
        use(load(folder))


@relaxed
@given(st.data())
def test_a_damaged_configuration_of_audiocraft_loads_or_is_refused(
    tiny_stereo_folder: Path, tmp_path: Path, data: st.DataObject
) -> None:
    folder = tmp_path / "audiocraft"
    if not folder.exists():
        audiocraft_from(tiny_stereo_folder, folder)
    config = json.loads((tiny_stereo_folder / "config.json").read_text())
    for name, of in (
        ("state_dict.bin", audiocraft_decoder),
        ("compression_state_dict.bin", audiocraft_codec),
    ):
        state = torch.load(folder / name, weights_only=True)["best_state"]
        whole = of(config)
        save(folder / name, state, damaged(whole, data) if data.draw(st.booleans()) else whole)
    with contextlib.suppress(InvalidCheckpoint, ModelUnavailable):
        use(load(folder, fetch=unreachable))


def use(model: MusicGen) -> None:
    """What was loaded works: it reads a prompt, and codes become sound and sound codes."""
    config = model.decoder.config
    assert model.text.encode(["jazz"]).states.isfinite().all()
    codebooks = config.codebooks // config.channels
    samples = model.codec.decode(torch.randint(config.codebook_size, (1, codebooks, 3)))
    assert samples.isfinite().all()
    assert model.codec.encode(samples).shape == (1, codebooks, 3)


def unreachable(name: str) -> Path:
    raise ModelUnavailable(f"{name} can't be reached")
