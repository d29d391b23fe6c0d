"""A better model from a local hub, while takes are made; and the default that it then is."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants, snapshot_download

from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.backends.local.downloads import Downloads
from musicgen_space.backends.upgrade import UpgradeState
from musicgen_space.engine import memory
from musicgen_space.engine.checkpoint import hub
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take
from tests.checkpoint.conftest import not_needed
from tests.servers.app import ROOT
from tests.servers.hub import hub_of

SMALL = "facebook/musicgen-small"
NOWHERE = "http://127.0.0.1:9"


class Gate:
    """Holds up a file's bytes at the hub until it is opened."""

    def __init__(self) -> None:
        self._open, self._asked = threading.Event(), threading.Event()

    def __call__(self, path: str) -> bool:
        if path.endswith("model.safetensors"):
            self._asked.set()
            return self._open.wait(60)
        return True

    def wait_for_somebody(self) -> None:
        assert self._asked.wait(60)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of a machine with much room, whose owner has named no model."""
    monkeypatch.setattr(memory, "free_bytes", lambda _: 10**10)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 60)
    return Settings(config=tmp_path / "config", device="cpu")


@contextmanager
def opened(settings: Settings) -> Iterator[LocalBackend]:
    backend = LocalBackend(settings)
    try:
        yield backend
    finally:
        backend.close()


def default_of(settings: Settings) -> str:
    with opened(settings) as backend:
        return backend.models()[0].name


def after_download(backend: LocalBackend) -> UpgradeState:
    deadline = time.monotonic() + 60
    while (state := backend.upgrade.state()).phase == "downloading":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return state


def take_by(backend: LocalBackend, model: str | None = None) -> Take:
    request = MusicRequest("jazz", model=model, duration=1)
    [*_, take] = backend.generate(request, threading.Event())
    assert isinstance(take, Take)
    return take


def test_takes_are_made_while_the_better_model_comes_and_then_it_is_the_default(
    at_hub: Callable[[str], None], settings: Settings, tiny_folder: Path, tmp_path: Path
) -> None:
    gate = Gate()
    with hub_of(tiny_folder, answers=gate, **{SMALL: tiny_folder}) as address:
        at_hub(address)
        with opened(settings) as backend:
            assert backend.upgrade.state().phase == "offered"
            backend.upgrade.start()
            gate.wait_for_somebody()
            assert take_by(backend, str(tiny_folder)).duration == 1
            assert backend.upgrade.state().phase == "downloading"
            gate.open()
            assert after_download(backend) == UpgradeState("here")
            assert take_by(backend).model == SMALL
            assert [each.name for each in backend.models()][:2] == [SMALL, "musicgen-nano"]
    at_hub(NOWHERE)
    assert default_of(settings) == SMALL
    with opened(settings) as backend:
        assert backend.upgrade.state().phase == "none"
    assert default_of(Settings(config=settings.config, model="musicgen-nano")) == "musicgen-nano"
    shutil.rmtree(tmp_path / "cache")
    assert default_of(settings) == "musicgen-nano"  # a download that nobody asked for is none


def test_a_download_that_is_stopped_can_be_begun_again(
    at_hub: Callable[[str], None], settings: Settings, tiny_folder: Path
) -> None:
    gate = Gate()
    with hub_of(tiny_folder, answers=gate, **{SMALL: tiny_folder}) as address:
        at_hub(address)
        with opened(settings) as backend:
            backend.upgrade.start()
            gate.wait_for_somebody()
            backend.upgrade.stop()
            assert backend.upgrade.state() == UpgradeState("offered")
            assert default_of(settings) == "musicgen-nano"
            backend.upgrade.start()  # waits for the first to leave
            gate.open()
            assert after_download(backend).phase == "here"


def test_a_hub_that_can_not_be_reached_is_told_and_the_offer_stays(
    at_hub: Callable[[str], None], settings: Settings, tiny_folder: Path
) -> None:
    at_hub(NOWHERE)
    with opened(settings) as backend:
        backend.upgrade.start()
        state = after_download(backend)
        assert state.phase == "offered"
        assert "the model hub can't be reached" in str(state.trouble)
        assert backend.models()[0].name == "musicgen-nano"
        assert take_by(backend, str(tiny_folder)).duration == 1


@pytest.mark.parametrize(
    "lacking", ["memory", "disk", "the network's consent", "a choice that is the owner's to make"]
)
def test_it_is_only_offered_where_it_is_of_use(
    lacking: str, at_hub: Callable[[str], None], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_hub(NOWHERE)
    usage: Any = shutil.disk_usage("/")
    match lacking:
        case "memory":
            monkeypatch.setattr(memory, "free_bytes", lambda _: 10**9)
        case "disk":
            monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4 * 10**9))
        case "the network's consent":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        case _:
            settings = Settings(model="musicgen-nano", device="cpu")
    with opened(settings) as backend:
        assert backend.upgrade.state() == UpgradeState("none")


def test_two_who_want_a_model_download_it_once_and_one_may_give_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    downloading, finished = threading.Event(), threading.Event()
    begun: list[str] = []

    def fetch(name: str, report: Callable[[int, int], None], *, tokenizer_only: bool) -> Path:
        begun.append(name)
        report(1, 2)
        downloading.set()
        assert finished.wait(60)
        return Path(name)

    class GaveUp(Exception):
        pass

    def give_up(done: int, total: int) -> None:
        raise GaveUp(done, total)

    monkeypatch.setattr(hub, "fetch", fetch)
    downloads = Downloads()
    first = threading.Thread(target=downloads.fetch, args=(SMALL, lambda *_: None))
    first.start()
    assert downloading.wait(60)
    with pytest.raises(GaveUp, match=r"\(1, 2\)"):
        downloads.fetch(SMALL, give_up)
    assert begun == [SMALL]
    finished.set()
    assert downloads.fetch("someone/else", lambda *_: None) == Path("someone/else")
    assert downloads.fetch(SMALL, lambda *_: None) == Path(SMALL)
    first.join()


def test_what_a_space_loads_in_advance_is_a_whole_model(
    at_hub: Callable[[str], None], tiny_folder: Path, tmp_path: Path
) -> None:
    """The files that the README's header names, as they are in the cache without the network."""
    _, header, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    [(model, files)] = [line.split() for line in yaml.safe_load(header)["preload_from_hub"]]
    assert model == SMALL
    offered = shutil.copytree(tiny_folder, tmp_path / "offered")
    for name in ("special_tokens_map.json", "preprocessor_config.json"):
        (offered / name).write_text("{}")
    for name in ("pytorch_model.bin", "state_dict.bin", "compression_state_dict.bin"):
        (offered / name).write_bytes(b"another format")
    with hub_of(offered, **{SMALL: offered}) as address:
        at_hub(address)
        snapshot_download(SMALL, allow_patterns=files.split(","))
        folder = hub.fetch(SMALL)
        assert {file.name for file in folder.iterdir()} == {*files.split(",")}  # no more is needed
    at_hub(NOWHERE)
    assert hub.fetch(SMALL) == folder
    assert load(folder, fetch=not_needed).codec.sample_rate == 32_000
    assert not re.search(r"\.bin", files)
