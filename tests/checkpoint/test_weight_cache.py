"""Converted weights on disk: the same music without reading a checkpoint's decoder again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from musicgen_space.backends.local.checkpoints import Checkpoints
from musicgen_space.engine.checkpoint import loader
from musicgen_space.engine.checkpoint import weight_cache as conversions
from musicgen_space.engine.checkpoint.weight_cache import Conversion
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.model import Decoder
from musicgen_space.engine.placement import CPU, Placement
from musicgen_space.engine.runtimes.native import build
from musicgen_space.errors import InvalidCheckpoint
from musicgen_space.settings import Settings
from tests.checkpoint.adapters import write_adapter
from tests.conftest import a_second_of

FORMS = {
    "exact": replace(CPU, quant="none"),
    "int8": replace(CPU, quant="int8"),
    "int4": replace(CPU, quant="int4"),
}
ARRAYS = {
    "some.bytes": np.arange(7, dtype=np.uint8),
    "numbers": np.arange(6, dtype=np.float32).reshape(2, 3),
}


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be changed."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "checkpoint"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for conversions, in which tiny ones are kept too."""
    monkeypatch.setattr(conversions, "SMALLEST", 0)
    return tmp_path / "cache"


@pytest.fixture
def placement(cache: Path) -> Placement:
    return replace(CPU, quant="int8", cache=cache)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Placement], tuple[MusicGen, bool]]:
    """→ the model, and whether its decoder's weights were read."""

    def loaded(folder: Path, placement: Placement) -> tuple[MusicGen, bool]:
        filled, fill = [], loader.fill
        with monkeypatch.context() as patch:
            patch.setattr(loader, "fill", lambda m, *rest: (filled.append(m), fill(m, *rest)))
            model = loader.load(folder, placement)
        return model, any(isinstance(module, Decoder) for module in filled)

    return loaded


def kept(cache: Path) -> list[Path]:
    """What there is but the kernel."""
    return sorted((cache / "converted").iterdir())


def change_weight(folder: Path, by: float, index: tuple[int, int]) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["decoder.lm_heads.1.weight"][index] += by
    safetensors.torch.save_file(weights, folder / "model.safetensors")


# The next load.


@pytest.mark.parametrize(
    ("name", "form"),
    [*(("tiny_folder", form) for form in FORMS), ("tiny_stereo_melody_folder", "int8")],
)
def test_the_second_load_reads_no_decoder_weights_and_plays_the_same(
    request: pytest.FixtureRequest, cache: Path, load: Callable, name: str, form: str
) -> None:
    checkpoint, placement = request.getfixturevalue(name), replace(FORMS[form], cache=cache)
    first, read_first = load(checkpoint, placement)
    second, read_second = load(checkpoint, placement)
    assert (read_first, read_second) == (True, False)
    assert type(first.decoder) is type(second.decoder)
    assert np.array_equal(a_second_of(first), a_second_of(second))


def test_numbers_finer_than_half_precision_are_kept_as_they_are(
    folder: Path, cache: Path, load: Callable
) -> None:
    change_weight(folder, 1e-7, (0, 0))
    placement = replace(FORMS["exact"], cache=cache)
    first, _ = load(folder, placement)
    second, read = load(folder, placement)
    assert not read
    assert np.array_equal(a_second_of(first), a_second_of(second))


def test_each_form_has_a_file_of_its_own(tiny_folder: Path, cache: Path, load: Callable) -> None:
    for placement in FORMS.values():
        assert load(tiny_folder, replace(placement, cache=cache))[1]
    assert len(kept(cache)) == len(FORMS)


def test_whoever_reads_while_others_write_finds_the_whole(tmp_path: Path) -> None:
    conversion = Conversion(tmp_path / "a.npz")
    conversion.write(ARRAYS)

    def write_and_read(_: int) -> bool:
        conversion.write(ARRAYS)
        found = conversion.read(dict)
        return found is not None and same(found, ARRAYS)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(write_and_read, range(100)))
    assert list(tmp_path.iterdir()) == [conversion.file]


def test_small_decoders_are_not_worth_a_file(tiny_folder: Path, tmp_path: Path) -> None:
    loader.load(tiny_folder, replace(FORMS["int8"], cache=tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_the_checkpoint_is_still_checked(folder: Path, placement: Placement) -> None:
    loader.load(folder, placement)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["decoder.lm_heads.2.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"lm_heads\.2\.weight"):
        loader.load(folder, placement)


# What is stale.


@pytest.mark.parametrize("index", [(0, 0), (63, 31)])
def test_changed_weights_are_converted_anew(
    folder: Path, placement: Placement, load: Callable, index: tuple[int, int]
) -> None:
    load(folder, placement)
    change_weight(folder, 1.0, index)
    model, read = load(folder, placement)
    assert read
    fresh = loader.load(folder, replace(placement, cache=None))
    assert np.array_equal(a_second_of(model), a_second_of(fresh))


def test_another_checkpoint_of_the_same_size_and_time_is_told_apart(
    folder: Path, placement: Placement, load: Callable
) -> None:
    change_weight(folder, 0.0, (0, 0))
    load(folder, placement)
    status = (folder / "model.safetensors").stat()
    change_weight(folder, 1.0, (0, 0))
    os.utime(folder / "model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (folder / "model.safetensors").stat().st_size == status.st_size
    assert load(folder, placement)[1]


def test_an_adapter_is_told_apart_from_its_base_and_from_others(
    tiny_folder: Path, placement: Placement, load: Callable, tmp_path: Path
) -> None:
    weak, strong = (
        write_adapter(tmp_path / f"alpha{alpha}", tiny_folder, lora_alpha=alpha) for alpha in (8, 9)
    )
    folders = (tiny_folder, weak, strong)
    music = [load(folder, placement) for folder in folders]
    assert all(read for _, read in music)
    again = [load(folder, placement) for folder in folders]
    assert not any(read for _, read in again)
    first, *others = (a_second_of(model) for model, _ in again)
    assert np.array_equal(first, a_second_of(music[0][0]))
    assert not any(np.array_equal(first, other) for other in others)


def test_another_version_of_the_engine_converts_anew(
    tiny_folder: Path, placement: Placement, load: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tiny_folder, placement)
    monkeypatch.setattr(conversions, "_sources", lambda: "others")
    assert load(tiny_folder, placement)[1]


# What is damaged.


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", None])
def test_a_damaged_file_is_made_anew(
    tiny_folder: Path,
    placement: Placement,
    load: Callable,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes] | None,
) -> None:
    music = a_second_of(load(tiny_folder, placement)[0])
    (file,) = kept(placement.cache)
    file.write_bytes((damage or a_byte_wrong)(file.read_bytes()))
    model, read = load(tiny_folder, placement)
    assert read
    assert caplog.text.count("made anew") == 1
    assert np.array_equal(a_second_of(model), music)
    assert not load(tiny_folder, placement)[1]


def a_byte_wrong(data: bytes, at: int | None = None) -> bytes:
    at = len(data) // 2 if at is None else at
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.filterwarnings("ignore")
def test_no_wrong_byte_goes_unnoticed_where_it_matters(tmp_path: Path) -> None:
    """Wherever it is, the arrays are as they were, or there are none."""
    conversion = Conversion(tmp_path / "a.npz")
    conversion.write(ARRAYS)
    whole = conversion.file.read_bytes()
    noticed = 0
    for at in range(len(whole)):
        conversion.file.write_bytes(a_byte_wrong(whole, at))
        found = conversion.read(lambda arrays: {name: arrays[name] for name in ARRAYS})
        noticed += found is None
        assert found is None or same(found, ARRAYS)
    assert noticed > len(whole) / 2
    for length in range(len(whole)):
        conversion.file.write_bytes(whole[:length])
        assert conversion.read(dict) is None


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    return all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array)
        for name, array in wanted.items()
    )


# What can't be written.


def test_a_folder_that_can_not_be_written_is_no_error(
    tiny_folder: Path, placement: Placement, load: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    placement.cache.write_text("a file in the folder's place")
    model, _ = load(tiny_folder, placement)
    assert a_second_of(model).shape == (1, 1, 32000)
    assert "The converted weights are not kept" in caplog.text


def test_a_disk_that_is_nearly_full_is_left_alone(
    tiny_folder: Path,
    placement: Placement,
    load: Callable,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1000))
    load(tiny_folder, placement)
    assert "no room" in caplog.text
    assert not kept(placement.cache)


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_of_a_write_that_fails_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(file: Path, **arrays: np.ndarray) -> None:
        file.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(np, "savez", fail)
    conversion = Conversion(tmp_path / "cache" / "a.npz")
    try:
        conversion.write(ARRAYS)
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    assert not list((tmp_path / "cache").iterdir())


# How much is kept.


def test_what_was_not_used_for_longest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (Conversion(tmp_path / f"{name}.npz") for name in "abc")
    first.write(ARRAYS)
    size = first.file.stat().st_size
    monkeypatch.setattr(conversions, "MOST_BYTES", 2.5 * size)
    second.write(ARRAYS)
    for age, conversion in enumerate((second, first)):
        os.utime(conversion.file, (time.time() - 100 - age,) * 2)
    assert first.read(dict) is not None  # now the second is the older one
    third.write(ARRAYS)
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["a.npz", "c.npz"]


def test_the_newest_stays_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversions, "MOST_BYTES", 10)
    conversion = Conversion(tmp_path / "a.npz")
    conversion.write(ARRAYS)
    assert conversion.read(len) == len(ARRAYS)


WRITE = """
import sys
from pathlib import Path
import numpy as np
from musicgen_space.engine.checkpoint.weight_cache import Conversion

def wait(*_, **arrays):
    print("half of it", flush=True)
    sys.stdin.read()

np.savez = wait
Conversion(Path(sys.argv[1])).write({"a": np.ones(9)})
"""


def test_what_a_killed_process_was_writing_is_swept_away_at_the_next_start(tmp_path: Path) -> None:
    conversion = Conversion(tmp_path / "a.npz")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, conversion.file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half of it\n"
        assert conversion.read(len) is None
        assert len([*tmp_path.iterdir()]) == 1  # somebody is writing
        writer.kill()
    assert conversion.read(len) is None
    assert [*tmp_path.iterdir()] == []
    conversion.write(ARRAYS)
    assert conversion.read(len) == len(ARRAYS)


# The setting.


def test_the_folder_is_the_owners_choice_or_the_usual_one(tmp_path: Path) -> None:
    chosen = Settings.from_environment({"MUSICGEN_CACHE": str(tmp_path / "mine")})
    assert Checkpoints(chosen)._placement.cache == tmp_path / "mine"
    assert Checkpoints(Settings())._placement.cache == build.default_cache()


def test_tensors_are_not_shared_with_the_file(tiny_folder: Path, placement: Placement) -> None:
    """The file may go, or be replaced, while its model plays."""
    music = a_second_of(loader.load(tiny_folder, placement))
    model = loader.load(tiny_folder, placement)
    (file,) = kept(placement.cache)
    file.write_bytes(b"")
    with torch.inference_mode():
        assert np.array_equal(a_second_of(model), music)
