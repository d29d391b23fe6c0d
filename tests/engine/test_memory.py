from __future__ import annotations

import random
import shutil
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen_space.backends.local.published import PUBLISHED, Published
from musicgen_space.engine import memory
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.model import Condition, Decoder
from musicgen_space.engine.placement import CPU, Placement
from tests.conftest import TORCH

HALF = Placement(CPU.device, torch.float16, CPU.device)
GIGABYTE = 10**9


def test_a_checkpoint_needs_its_weights_in_the_numbers_it_computes_in(tiny_folder: Path) -> None:
    weights = load_file(tiny_folder / "model.safetensors")
    decoder = sum(
        tensor.numel()
        for name, tensor in weights.items()
        if name.startswith(("decoder.", "enc_to_dec_proj."))
    )
    others = sum(tensor.numel() for tensor in weights.values()) - decoder
    for placement, width in ((CPU, 4), (HALF, 2)):
        exactly = decoder * width + others * 4
        assert exactly <= memory.checkpoint_bytes(tiny_folder, placement) <= 1.2 * exactly


def test_how_a_checkpoint_is_stored_does_not_matter(tiny_folder: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_folder / "model.safetensors")
    need = memory.checkpoint_bytes(tiny_folder, CPU)
    (tmp_path / "half").mkdir()
    (tmp_path / "pickled").mkdir()
    save_file({name: t.half() for name, t in weights.items()}, tmp_path / "half/model.safetensors")
    torch.save(weights, tmp_path / "pickled/pytorch_model.bin")
    assert memory.checkpoint_bytes(tmp_path / "half", CPU) == need
    assert memory.checkpoint_bytes(tmp_path / "pickled", CPU) == need


def test_a_damaged_file_counts_by_its_size(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "pytorch_model.bin"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(tiny_folder / "model.safetensors", folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:100_000])
        assert memory.checkpoint_bytes(folder, CPU) == int(1.1 * 50_000 * 4)


def test_whatever_the_damage_a_size_comes_of_it(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save({"some": torch.zeros(3, 4), "more": torch.ones(5)}, file)
    whole, chance = file.read_bytes(), random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[chance.randrange(600)] = chance.randrange(256)  # where the pickle lies
        file.write_bytes(damaged)
        assert memory.checkpoint_bytes(tmp_path, CPU) > 0
    torch.save({1: torch.zeros(3)}, file)
    assert memory.checkpoint_bytes(tmp_path, CPU) == int(1.1 * 3 * 4)


@pytest.mark.parametrize("guided", [False, True])
def test_a_take_needs_the_cache_that_it_allocates(tiny_folder: Path, guided: bool) -> None:
    tiny = load(tiny_folder, TORCH)
    text = tiny.text.encode(["jazz"])
    codes = torch.zeros(1, tiny.decoder.config.codebooks, 1, dtype=torch.long)
    with torch.inference_mode():
        condition = Condition(text, rows=1 + guided)
        _, cache = tiny.decoder.prefill(codes, condition, max_steps=10 * 50)
    allocated = sum(kv.nbytes for kv in cache.self_attn)
    need = memory.take_bytes(tiny.decoder.config, CPU, seconds=10, rows=1 + guided, frame_rate=50)
    assert allocated <= need <= 1.2 * allocated


def test_a_take_of_five_minutes_needs_no_more_than_one_of_thirty_seconds(tiny: MusicGen) -> None:
    short, long = (
        memory.take_bytes(tiny.decoder.config, CPU, seconds=seconds, rows=2, frame_rate=50)
        for seconds in (30, 300)
    )
    assert short == long


# AudioCraft's config/model/lm/model_scale: width, layers; each head has 64 features.
SCALES = {"small": (1024, 24), "medium": (1536, 48), "large": (2048, 48)}


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda each: each.choice.name)
def test_published_sizes_are_those_of_the_shapes(published: Published) -> None:
    name = published.choice.name
    scale = next((scale for scale in SCALES if name.endswith(scale)), "medium")
    width, layers = SCALES[scale]
    shapes = DecoderConfig(
        width=width,
        heads=width // 64,
        layers=layers,
        ffn_dim=4 * width,
        codebooks=8 if "stereo" in name else 4,
        codebook_size=2048,
        text_width=768,
    )
    with torch.device("meta"):
        decoder = Decoder(shapes)
    counted = sum(weights.numel() for weights in decoder.parameters())
    if published.choice.melody:
        attentions = [layer.cross_attn for layer in decoder.layers]
        counted -= sum(w.numel() for each in attentions for w in each.parameters())
    assert published.decoder_weights == pytest.approx(counted, rel=0.003)


def test_what_is_free_is_some_of_what_there_is() -> None:
    assert 0 < memory.free_bytes(CPU.device) <= psutil.virtual_memory().total


def control_group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)


def rooms(tmp_path: Path, membership: str) -> list[int]:
    (tmp_path / "membership").write_text(membership)
    return list(memory._cgroup_headroom(tmp_path / "membership", tmp_path / "cgroup"))


def test_a_containers_limit_counts_without_its_cache_of_files(tmp_path: Path) -> None:
    group = {
        "memory.max": f"{16 * GIGABYTE}\n",
        "memory.current": f"{10 * GIGABYTE}\n",
        "memory.stat": f"anon 1\ninactive_file {3 * GIGABYTE}\nactive_file {GIGABYTE}\n",
    }
    control_group(tmp_path / "cgroup", group)
    assert rooms(tmp_path, "0::/\n") == [10 * GIGABYTE]


def test_the_limit_of_a_group_above_counts_as_well(tmp_path: Path) -> None:
    inner = {"memory.max": "max\n", "memory.current": "1\n", "memory.stat": "anon 1\n"}
    outer = inner | {"memory.max": "500\n", "memory.current": "100\n"}
    control_group(tmp_path / "cgroup/pod/container", inner)
    control_group(tmp_path / "cgroup/pod", outer)
    assert rooms(tmp_path, "0::/pod/container\n") == [400]


def test_the_older_kind_of_container_counts_as_well(tmp_path: Path) -> None:
    group = {
        "memory.limit_in_bytes": "1000\n",
        "memory.usage_in_bytes": "700\n",
        "memory.stat": "inactive_file 0\ntotal_inactive_file 50\ntotal_active_file 0\n",
    }
    control_group(tmp_path / "cgroup/memory", group)
    lines = "5:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f\n0::/\n"
    assert rooms(tmp_path, lines) == [350]


def test_without_control_groups_there_is_no_such_limit(tmp_path: Path) -> None:
    assert list(memory._cgroup_headroom(tmp_path / "none")) == []
