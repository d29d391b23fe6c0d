"""Models that come and go in the local backend, and memory that runs out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from musicgen_space.backends.base import Loading, Update
from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.backends.local.default_model import BETTER_MODEL, default_model
from musicgen_space.engine import memory
from musicgen_space.engine.checkpoint import loader
from musicgen_space.engine.model import Decoder
from musicgen_space.engine.runtimes.native.decoder import NativeDecoder
from musicgen_space.errors import BackendError, InvalidCheckpoint, InvalidSetting, OutOfMemory
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take

GIGABYTE = 10**9
# As torch words it: a CUDA card's memory, and the machine's own.
FULL_CARD = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
FULL_MACHINE = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")


@contextmanager
def opened(**settings: object) -> Iterator[LocalBackend]:
    backend = LocalBackend(Settings(**settings))  # type: ignore[arg-type]
    try:
        yield backend
    finally:
        backend.close()


@pytest.fixture
def other_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "other")


def made(backend: LocalBackend, model: str | Path, **knobs: Any) -> list[Update]:
    request = MusicRequest("jazz", model=str(model), **{"duration": 1, **knobs})
    return list(backend.generate(request, threading.Event()))


def loads(updates: list[Update]) -> bool:
    """Whether the take had to wait for its model; in the end it was made."""
    assert isinstance(updates[-1], Take)
    return any(isinstance(update, Loading) for update in updates)


def test_one_model_stays_in_memory(tiny_folder: Path, other_folder: Path) -> None:
    with opened() as backend:
        assert loads(made(backend, tiny_folder))
        assert not loads(made(backend, tiny_folder))
        assert loads(made(backend, other_folder))
        assert loads(made(backend, tiny_folder))


def test_more_models_stay_where_the_owner_says_so(tiny_folder: Path, other_folder: Path) -> None:
    with opened(max_models=2) as backend:
        assert loads(made(backend, tiny_folder))
        assert loads(made(backend, other_folder))
        assert not loads(made(backend, tiny_folder))
        assert not loads(made(backend, other_folder))


def test_memory_that_a_model_keeps_for_takes_is_there_for_them(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose slots stay when their takes have gone."""
    with opened() as backend:
        made(backend, tiny_folder)
        monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
        with pytest.raises(OutOfMemory, match="This take needs"):
            made(backend, tiny_folder)
        monkeypatch.setattr(NativeDecoder, "spare_bytes", GIGABYTE)
        assert isinstance(made(backend, tiny_folder)[-1], Take)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_owner_can_choose_half_precision(tiny_folder: Path, dtype: str) -> None:
    with opened(device="cpu", dtype=dtype) as backend:
        assert loads(made(backend, tiny_folder))


def test_a_device_that_is_not_there_is_told_at_the_start() -> None:
    with pytest.raises(InvalidSetting, match="MUSICGEN_DEVICE is cuda:99, but torch finds only"):
        LocalBackend(Settings(device="cuda:99"))


def test_the_command_line_tells_it_as_wrong_usage() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "musicgen_space", "models"],
        env={"MUSICGEN_DEVICE": "cuda:99"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "MUSICGEN_DEVICE is cuda:99" in result.stderr


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def emptied(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize("damage", [cut_short, emptied])
def test_a_damaged_checkpoint_leaves_the_model_before_it_in_memory(
    tiny_folder: Path, other_folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(other_folder)
    with opened() as backend:
        made(backend, tiny_folder)
        with pytest.raises(InvalidCheckpoint):
            made(backend, other_folder)
        assert not loads(made(backend, tiny_folder))


def test_a_download_that_fails_leaves_the_model_before_it_in_memory(tiny_folder: Path) -> None:
    with opened() as backend:
        made(backend, tiny_folder)
        with pytest.raises(BackendError, match="while HF_HUB_OFFLINE is set"):
            made(backend, "someone/musicgen")
        assert not loads(made(backend, tiny_folder))


@pytest.mark.parametrize("full", [FULL_CARD, FULL_MACHINE, MemoryError()])
def test_memory_that_runs_out_while_loading_is_told_and_freed(
    tiny_folder: Path, other_folder: Path, monkeypatch: pytest.MonkeyPatch, full: Exception
) -> None:
    half_loaded: list[weakref.ref[torch.Tensor]] = []

    def load(*_: object) -> None:
        weights = torch.zeros(1000)
        half_loaded.append(weakref.ref(weights))
        raise full

    with opened() as backend:
        made(backend, tiny_folder)
        with monkeypatch.context() as patched:
            patched.setattr(loader, "load", load)
            with pytest.raises(OutOfMemory, match=f"ran out while {other_folder} was loaded"):
                made(backend, other_folder)
        full.__traceback__ = None  # this test's own hold on it
        assert half_loaded[0]() is None
        assert not loads(made(backend, tiny_folder))


@pytest.mark.parametrize("full", [FULL_CARD, FULL_MACHINE])
def test_memory_that_runs_out_in_a_take_is_told_and_the_next_take_works(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, full: Exception
) -> None:
    def step(*_: object) -> None:
        raise full

    with opened() as backend:
        made(backend, tiny_folder)
        with monkeypatch.context() as patched:
            for kind in (Decoder, NativeDecoder):
                patched.setattr(kind, "step", step)
            with pytest.raises(OutOfMemory, match="shorter length, fewer variations or a smaller"):
                made(backend, tiny_folder)
        assert not loads(made(backend, tiny_folder))


def test_a_model_that_can_not_fit_is_refused_before_its_download(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 6.2 * GIGABYTE)
    with opened(device="cpu") as backend:
        made(backend, tiny_folder)
        with pytest.raises(OutOfMemory) as refusal:
            made(backend, "facebook/musicgen-large")
        assert str(refusal.value) == (
            "facebook/musicgen-large needs about 13 GB here, 6.2 GB are free. What fits: "
            "musicgen-nano, facebook/musicgen-small, facebook/musicgen-melody, "
            "facebook/musicgen-stereo-small, facebook/musicgen-stereo-melody."
        )
        assert not loads(made(backend, tiny_folder))


def test_a_take_that_can_not_fit_says_what_needs_less(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened() as backend:
        made(backend, tiny_folder)
        with monkeypatch.context() as patched:
            patched.setattr(memory, "free_bytes", lambda _: 200_000)
            with pytest.raises(OutOfMemory, match=r"This take needs .* A shorter length"):
                made(backend, tiny_folder, duration=30)
        assert not loads(made(backend, tiny_folder, duration=30))


def test_the_models_on_offer_begin_with_what_is_here() -> None:
    with opened(models=("./mine", "facebook/musicgen-small")) as backend:
        choices = backend.models()
    assert [choice.name for choice in choices[:5]] == [
        "musicgen-nano",
        "./mine",
        "facebook/musicgen-small",
        "facebook/musicgen-medium",
        "facebook/musicgen-large",
    ]
    assert len({choice.name for choice in choices}) == len(choices) == 12
    follows = {choice.name: choice.melody for choice in choices}
    assert follows["./mine"] is None
    assert follows["facebook/musicgen-stereo-melody"] is True
    assert follows["facebook/musicgen-large"] is False
    about = {choice.name: choice.about for choice in choices}
    assert about["facebook/musicgen-small"] == "420 M weights, 2.4 GB download"


@pytest.mark.parametrize(
    ("model", "first"),
    [
        (None, ["musicgen-nano", "./mine", "facebook/musicgen-small"]),
        ("musicgen-nano", ["musicgen-nano", "./mine", "facebook/musicgen-small"]),
        ("facebook/musicgen-large", ["facebook/musicgen-large", "musicgen-nano", "./mine"]),
        ("./mine", ["./mine", "musicgen-nano", "facebook/musicgen-small"]),
        ("some/other", ["some/other", "musicgen-nano", "./mine"]),
        ("auto", ["musicgen-nano", "./mine", "facebook/musicgen-small"]),
    ],
)
def test_the_owners_default_comes_first_and_every_model_once(
    model: str | None, first: list[str]
) -> None:
    with opened(model=model, models=("./mine",), device="cpu") as backend:
        names = [choice.name for choice in backend.models()]
    assert names[:3] == first
    assert len(names) == len({*names, "facebook/musicgen-large", "./mine"})


def test_where_there_is_a_gpu_auto_is_musicgen_small_and_only_auto() -> None:
    for model, default in {
        "auto": BETTER_MODEL,
        None: "musicgen-nano",
        "./mine": "./mine",
    }.items():
        assert default_model(Settings(model=model), has_gpu=lambda: True) == default


def test_whoever_names_no_model_gets_the_owners_default(tiny_folder: Path) -> None:
    with opened(model=str(tiny_folder)) as backend:
        request = MusicRequest("jazz", duration=1)
        [*_, take] = backend.generate(request, threading.Event())
        assert isinstance(take, Take)
        assert take.model == backend.request({"prompt": "jazz"}).model == str(tiny_folder)


def test_the_owners_default_is_the_one_that_is_loaded_in_advance(tiny_folder: Path) -> None:
    with opened(model=str(tiny_folder)) as backend:
        backend.warm_up()
        assert not loads(made(backend, tiny_folder))


UNDER_A_LIMIT = """
import resource, sys, threading
import psutil, torch
from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.errors import OutOfMemory
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take
from musicgen_space.settings import Settings

def made(model):
    request = MusicRequest("jazz", model=model, duration=1)
    return list(backend.generate(request, threading.Event()))

torch.set_num_threads(1)
backend = LocalBackend(Settings(device="cpu", threads=1))
made(sys.argv[1])
size = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (size + 80_000_000, resource.RLIM_INFINITY))
try:
    made("musicgen-nano")
except OutOfMemory as error:
    print(error)
updates = made(sys.argv[1])
assert isinstance(updates[-1], Take), updates
print(len([update for update in updates if type(update).__name__ == "Loading"]), "loaded")
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert isinstance(made("musicgen-nano")[-1], Take)
backend.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces this limit")
def test_memory_that_really_runs_out_ends_one_take_and_not_the_program(tiny_folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, str(tiny_folder)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "The memory ran out while musicgen-nano was loaded" in result.stdout
    assert "0 loaded" in result.stdout
