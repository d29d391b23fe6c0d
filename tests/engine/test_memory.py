from __future__ import annotations

import ctypes
import gc
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen_space.backends.local.published import PUBLISHED, Published
from musicgen_space.clip import Clip
from musicgen_space.engine import memory
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.model import Condition, Decoder
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.registry import choose_runtime
from musicgen_space.engine.runtimes.torch.runtime import TorchRuntime
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest
from tests.conftest import TORCH, the_kernel
from tests.engine.test_codec import random_codec

IN_TORCH, HALF = (TorchRuntime(dtype, CPU.device) for dtype in (torch.float32, torch.float16))
MEGABYTE, GIGABYTE = 10**6, 10**9


_MALLINFO2 = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO2.split()]


def allocated() -> int:
    """Bytes of C's heap that are in use: torch's and the kernel's among them; 0 if none tells.

    What earlier tests left for Python's collector is not among them.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return 0
    libc.mallinfo2.restype = _Mallinfo2
    found = libc.mallinfo2()
    return int(found.uordblks + found.hblkhd)


counts_memory = pytest.mark.skipif(not allocated(), reason="only glibc tells what is allocated")


def test_a_checkpoint_needs_its_weights_in_the_numbers_it_computes_in(tiny_folder: Path) -> None:
    weights = load_file(tiny_folder / "model.safetensors")
    decoder = sum(
        tensor.numel()
        for name, tensor in weights.items()
        if name.startswith(("decoder.", "enc_to_dec_proj."))
    )
    others = sum(tensor.numel() for tensor in weights.values()) - decoder
    codec = sum(w.numel() for name, w in weights.items() if name.startswith("audio_encoder."))
    for runtime, width in ((IN_TORCH, 4), (HALF, 2)):
        exactly = decoder * width + (others - codec) * 4 + codec * 10
        assert exactly <= memory.checkpoint_bytes(tiny_folder, runtime) <= 1.2 * exactly


@counts_memory
@pytest.mark.parametrize("quant", ["torch", "none", "int8", "int4"])
def test_a_loaded_model_holds_no_more_than_what_its_loading_needs(quant: str) -> None:
    placement = TORCH if quant == "torch" else replace(CPU, quant=quant)
    before = allocated()
    model = load(embedded_folder(), placement)
    held = allocated() - before
    need = memory.checkpoint_bytes(embedded_folder(), choose_runtime(placement))
    assert model.codec.uses_bfloat16 <= (quant in ("int8", "int4"))
    assert 0.4 * need < held < need


def test_weights_that_are_converted_are_there_twice_meanwhile() -> None:
    decoder = memory.Weights(decoder=10**9)
    exact, int8 = (choose_runtime(replace(CPU, quant=quant)) for quant in ("none", "int8"))
    if not (exact.converted_width and int8.converted_width):
        pytest.skip("no native kernel here")
    assert memory.model_bytes(decoder, exact) == int(1.1 * 8 * 10**9)  # float32, and as it was
    assert 3 * 10**9 < memory.model_bytes(decoder, int8) < 4 * 10**9  # float16 and 8 bits


def test_how_a_checkpoint_is_stored_does_not_matter(tiny_folder: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_folder / "model.safetensors")
    need = memory.checkpoint_bytes(tiny_folder, IN_TORCH)
    (tmp_path / "half").mkdir()
    (tmp_path / "pickled").mkdir()
    save_file({name: t.half() for name, t in weights.items()}, tmp_path / "half/model.safetensors")
    torch.save(weights, tmp_path / "pickled/pytorch_model.bin")
    assert memory.checkpoint_bytes(tmp_path / "half", IN_TORCH) == need
    assert memory.checkpoint_bytes(tmp_path / "pickled", IN_TORCH) == need


def test_a_damaged_file_counts_by_its_size(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "pytorch_model.bin"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(tiny_folder / "model.safetensors", folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:100_000])
        assert memory.checkpoint_bytes(folder, IN_TORCH) == int(1.1 * 50_000 * 4)


def test_whatever_the_damage_a_size_comes_of_it(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save({"some": torch.zeros(3, 4), "more": torch.ones(5)}, file)
    whole, chance = file.read_bytes(), random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[chance.randrange(600)] = chance.randrange(256)  # where the pickle lies
        file.write_bytes(damaged)
        assert memory.checkpoint_bytes(tmp_path, IN_TORCH) > 0
    torch.save({1: torch.zeros(3)}, file)
    assert memory.checkpoint_bytes(tmp_path, IN_TORCH) == int(1.1 * 3 * 4)


def needed(model: MusicGen, **knobs: Any) -> int:
    return memory.takes_bytes(model, [MusicRequest("jazz", **knobs)])


@counts_memory
@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize("runtime", ["torch", "none", "int8"])
def test_a_take_needs_the_cache_that_is_allocated_for_it(
    tiny_folder: Path, runtime: str, guidance: float
) -> None:
    """The rest of what it needs is for its sound."""
    placement = TORCH if runtime == "torch" else replace(CPU, quant=runtime)
    model = load(tiny_folder, placement)
    rows, variations, steps = 4 * (1 + (guidance != 1)), 4, 12 * 50
    condition = Condition(model.text.encode(["jazz"] * variations), rows=rows)
    model.decoder.start(condition, max_steps=4)  # what it works in is there
    before = allocated()
    with torch.inference_mode():
        state, _ = model.decoder.start(condition, max_steps=steps)
    cache = allocated() - before
    assert state.rows == rows
    knobs = {"variations": variations, "guidance_scale": guidance}
    of_sound = 2 * 4 * variations * model.codec.sample_rate * 11  # float32, twice
    need = needed(model, duration=12, **knobs) - needed(model, duration=1, **knobs)
    estimated = (need / 1.25 - of_sound) * 12 / 11
    assert cache == pytest.approx(estimated, rel=0.15)


def test_a_long_take_needs_no_larger_cache_but_memory_for_its_sound(tiny: MusicGen) -> None:
    short, long, longer = (needed(tiny, duration=seconds) for seconds in (30, 100, 170))
    assert long - short == pytest.approx(1.25 * 70 * 2 * 4 * 32_000, abs=2)
    assert longer - long == pytest.approx(long - short, abs=2)


def test_of_a_long_clip_counts_what_the_model_hears_of_it(tiny: MusicGen) -> None:
    sound = 1.25 * 2 * 4 * 32_000
    needs = [
        needed(tiny, duration=7, continue_from=Clip(np.zeros((1, 100 * seconds), np.float32), 100))
        - sound * (7 + seconds)
        for seconds in (23, 100)
    ]
    assert needs[0] == pytest.approx(needs[1], abs=2)


def test_takes_that_are_made_together_share_what_decodes_them(tiny: MusicGen) -> None:
    request = MusicRequest("jazz", duration=10)
    one, two = (memory.takes_bytes(tiny, [request] * count) for count in (1, 2))
    assert two == pytest.approx(2 * one - 1.25 * tiny.codec.push_bytes, abs=2)
    assert two - one < one


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the most")
@pytest.mark.parametrize("bfloat16", [False, True])
def test_decoding_needs_no_more_than_what_is_counted_for_it(bfloat16: bool) -> None:
    codec = random_codec(library=the_kernel() if bfloat16 else None, num_filters=64)
    codes = torch.zeros(4, 4, 60, dtype=torch.long)
    memory.release()
    Path("/proc/self/clear_refs").write_text("5")  # the most begins at what there is
    before = most_resident()
    codec.stream().push(codes, last=False)
    assert most_resident() - before <= 4 * codec.push_bytes


def most_resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return 1024 * int(kilobytes)


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
