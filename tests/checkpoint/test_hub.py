"""Downloading a checkpoint by the real hub client, from a local hub."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from musicgen_space.backends.base import Loading
from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.cli import main
from musicgen_space.engine import memory
from musicgen_space.engine.checkpoint import hub
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable, OutOfMemory
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from tests.checkpoint.adapters import write_adapter
from tests.checkpoint.audiocraft_format import audiocraft_from
from tests.servers.hub import REPOSITORY, Refusal, hub_of
from tests.servers.proxies import REFUSED, Proxy, Socks, serving_proxy

Told = Callable[..., tuple[int, str]]  # the exit code, and what is said on the way to it

FETCH = f"""
from musicgen_space.process.environment import prepare_environment
from musicgen_space.settings import Settings

with prepare_environment(Settings()):
    from musicgen_space.engine.checkpoint.hub import fetch

    print(fetch({REPOSITORY!r}))
    from huggingface_hub.utils import build_hf_headers

    print(build_hf_headers()["user-agent"])
"""


def _command(tmp_path: Path, model: str = REPOSITORY) -> list[str]:
    return ["jazz", "--duration", "1", "--model", model, "-o", str(tmp_path / "take.wav")]


def run(tmp_path: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """The command line as a user runs it."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
    }
    return subprocess.run(
        [sys.executable, "-m", "musicgen_space", *_command(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def in_process(
    at_hub: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Told:
    """The same in this process, which is faster by what torch takes: exit code and messages."""

    def run(endpoint: str, model: str = REPOSITORY) -> tuple[int, str]:
        at_hub(endpoint)
        code = main(_command(tmp_path, model))
        return code, capsys.readouterr().err

    return run


def test_a_model_is_downloaded_with_progress_and_then_works_offline(
    in_process: Told, tiny_folder: Path, tmp_path: Path
) -> None:
    with hub_of(tiny_folder) as endpoint:
        online = run(tmp_path, endpoint)
        assert online.returncode == 0, online.stderr
        assert re.search(r"Downloading .*: 0\.\d of 0\.\d GB", online.stderr)
    assert in_process(endpoint)[0] == 0
    assert (tmp_path / "take.wav").stat().st_size > 64000


def test_a_hub_that_can_not_be_reached_says_what_to_do(
    in_process: Told,
) -> None:
    code, said = in_process("http://127.0.0.1:9")
    assert code == 1
    assert "the model hub can't be reached" in said
    assert "musicgen-nano" in said
    assert "Traceback" not in said


def test_a_model_that_the_hub_does_not_have_is_named(in_process: Told, tiny_folder: Path) -> None:
    with hub_of(tiny_folder) as endpoint:
        code, said = in_process(endpoint, model="someone/else")
    assert code == 1
    assert "There is no model 'someone/else' on the hub" in said


def snapshot(tmp_path: Path, name: str = REPOSITORY) -> set[str]:
    """The files of a repository that are in the cache."""
    folders = tmp_path.glob(f"cache/hub/models--{name.replace('/', '--')}/snapshots/*")
    folder = next(folders)
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_of_a_repository_with_both_formats_only_transformers_is_downloaded(
    in_process: Told, tiny_folder: Path, tmp_path: Path
) -> None:
    offered = Path(shutil.copytree(tiny_folder, tmp_path / "offered"))
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    for name in ("state_dict.bin", "compression_state_dict.bin", "pytorch_model.bin", "README.md"):
        (offered / name).write_bytes(b"not to be downloaded")
    (offered / "onnx").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (offered / "onnx" / name).write_bytes(b"neither is this")
    with hub_of(offered) as endpoint:
        assert in_process(endpoint)[0] == 0
    assert snapshot(tmp_path) == wanted


def test_audiocraft_s_own_format_is_downloaded_and_t5_with_it(
    in_process: Told, tiny_folder: Path, tmp_path: Path
) -> None:
    offered = audiocraft_from(tiny_folder, tmp_path / "offered")
    t5 = Path(shutil.move(offered / "t5-base", tmp_path / "t5"))
    (t5 / "tf_model.h5").write_bytes(b"another program's")
    (offered / "README.md").write_text("not to be downloaded")
    with hub_of(offered, **{"t5-base": t5}) as endpoint:
        assert in_process(endpoint)[0] == 0
    assert snapshot(tmp_path) == {"state_dict.bin", "compression_state_dict.bin"}
    assert "tf_model.h5" not in snapshot(tmp_path, "t5-base")
    assert in_process(endpoint)[0] == 0


def test_shards_of_a_pytorch_checkpoint_come_with_their_index(
    in_process: Told, tiny_folder: Path, tmp_path: Path
) -> None:
    offered = Path(shutil.copytree(tiny_folder, tmp_path / "offered"))
    weights = safetensors.torch.load_file(offered / "model.safetensors")
    (offered / "model.safetensors").unlink()
    torch.save(weights, offered / "pytorch_model-00001-of-00001.bin")
    (offered / "pytorch_model.bin.index.json").write_text(
        '{"weight_map": {"all": "pytorch_model-00001-of-00001.bin"}}'
    )
    with hub_of(offered) as endpoint:
        assert in_process(endpoint)[0] == 0
    assert "pytorch_model.bin.index.json" in snapshot(tmp_path)


def test_a_repository_without_a_checkpoint_is_told_as_such(
    in_process: Told, tmp_path: Path
) -> None:
    offered = tmp_path / "offered"
    offered.mkdir()
    (offered / "config.json").write_text("{}")
    with hub_of(offered) as endpoint:
        code, said = in_process(endpoint)
    assert code == 1
    assert "holds no checkpoint" in said


TOKEN = "hf_neverToBeShown"
GATED = {"X-Error-Code": "GatedRepo"}


@pytest.mark.parametrize(
    ("refusal", "token", "told"),
    [
        (Refusal(401, {"X-Error-Code": "RepoNotFound"}), None, "There is no model.*private.*login"),
        (Refusal(404, {"X-Error-Code": "RepoNotFound"}), TOKEN, "There is no model"),
        (
            Refusal(401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
            TOKEN,
            r"does not accept .* token \(401\).*expired.*settings/tokens.*unset HF_TOKEN",
        ),
        (
            Refusal(401, {"X-Error-Message": "User Access Token is expired"}),
            TOKEN,
            r"does not accept .* token \(401\)",
        ),
        (Refusal(401, GATED), None, f"licence first: do so at .*/{REPOSITORY} with your.*log in"),
        (Refusal(403, GATED), TOKEN, f"licence first: do so at .*/{REPOSITORY}, with the account"),
        (Refusal(403, GATED, files_only=True), TOKEN, "licence first"),
        (Refusal(403, {"X-Error-Message": "no"}), TOKEN, r"may not read .* \(403\).*the right"),
        (
            Refusal(403, {"X-Error-Message": "Access to this resource is disabled."}),
            None,
            r"has disabled .* \(403\)",
        ),
        (Refusal(429), None, r"too many requests.*\(429\).*in a few minutes.*logged in"),
        (Refusal(429, {"Retry-After": "90"}), None, "Try again in 90 s"),
        (Refusal(429, {"RateLimit": '"api";r=0;t=55'}), None, "Try again in 55 s"),
        *((Refusal(status), None, rf"out of order \({status}\)") for status in (500, 502, 503)),
        (Refusal(451), None, r"does not give .* \(HTTP 451\)"),
        (Refusal(200, body=b"<html>Welcome to the hotel</html>"), None, "answers is not the hub"),
        (Refusal(200), f"{TOKEN}ä", "characters in it that none has"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Refusal) else None,
)
def test_each_refusal_of_the_hub_has_its_words_and_its_remedy(
    at_hub: Callable[[str], None],
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refusal: Refusal,
    token: str | None,
    told: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with hub_of(tiny_folder, refusal) as address:
        at_hub(address)
        with pytest.raises(ModelUnavailable, match=told) as caught:
            hub.fetch(REPOSITORY)
    assert "internet connection" not in str(caught.value)
    assert TOKEN not in f"{caught.value} {caught.value.args} {caplog.text}"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("status", [401, 503])
def test_what_is_here_already_is_used_whatever_the_hub_says(
    at_hub: Callable[[str], None], tiny_folder: Path, status: int
) -> None:
    refusal = Refusal(status, {"X-Error-Code": "RepoNotFound"} if status == 401 else {})
    with hub_of(tiny_folder) as address:
        at_hub(address)
        folder = hub.fetch(REPOSITORY)
    with hub_of(tiny_folder, refusal) as address:
        at_hub(address)
        assert hub.fetch(REPOSITORY) == folder


def test_of_a_text_encoder_whose_tokenizer_is_lacking_only_that_is_downloaded(
    at_hub: Callable[[str], None], tiny_folder: Path, tmp_path: Path
) -> None:
    offered = Path(shutil.copytree(tiny_folder, tmp_path / "offered"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (offered / name).unlink()
    config = json.loads((offered / "config.json").read_text())
    config["text_encoder"]["_name_or_path"] = "t5-base"
    (offered / "config.json").write_text(json.dumps(config))
    with hub_of(offered, **{"t5-base": tiny_folder}) as address:
        at_hub(address)
        online = load(hub.fetch(REPOSITORY))
    at_hub("http://127.0.0.1:9")
    offline = load(hub.fetch(REPOSITORY))
    assert snapshot(tmp_path, "t5-base") == {"tokenizer.json", "tokenizer_config.json"}
    for model in (online, offline):
        assert not torch.equal(*(model.text.encode([word]).states for word in ("sad", "fast")))
    with pytest.raises(ModelUnavailable, match="t5-base is not on this machine"):
        hub.fetch("t5-base")  # the tokenizer is not the whole


def test_a_text_encoder_without_a_tokenizer_is_told_as_such(
    at_hub: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "tokenizer_config.json").write_text("{}")
    with hub_of(tmp_path / "t5") as address:
        at_hub(address)
        with pytest.raises(ModelUnavailable, match="holds no tokenizer"):
            hub.fetch(REPOSITORY, tokenizer_only=True)


def test_an_adapter_is_downloaded_and_then_its_base(
    at_hub: Callable[[str], None], tiny_folder: Path, tmp_path: Path
) -> None:
    """By the name of the adapter alone; afterwards it works offline."""
    offered = write_adapter(tmp_path / "offered", "someone/base")
    for name in ("config.json", "tokenizer.json"):  # as trainers write them, too
        shutil.copy(tiny_folder / name, offered)
    for name in ("optimizer.pt", "training_args.bin"):
        (offered / name).write_bytes(b"not to be downloaded")
    request = MusicRequest("jazz", model=REPOSITORY, duration=1)
    with hub_of(offered, **{"someone/base": tiny_folder}) as address:
        at_hub(address)
        updates = made(request)
    loading = [str(update.what) for update in updates if isinstance(update, Loading)]
    downloads = [what for what in loading if what.startswith("Downloading")]
    assert REPOSITORY in downloads[0]
    assert "someone/base" in downloads[-1]
    assert (updates[-1].model, updates[-1].base_model) == (REPOSITORY, "someone/base")
    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    assert snapshot(tmp_path) == {*adapter, "config.json", "tokenizer.json"}
    assert "model.safetensors" in snapshot(tmp_path, "someone/base")
    at_hub("http://127.0.0.1:9")
    again = made(request)[-1]
    assert np.array_equal(updates[-1].samples, again.samples)


def made(request: MusicRequest) -> list[Any]:
    """All that a page is told of a take."""
    backend = LocalBackend(Settings())
    try:
        return list(backend.generate(request, threading.Event()))
    finally:
        backend.close()


def test_an_adapter_of_a_model_that_does_not_fit_is_refused_before_that_is_downloaded(
    at_hub: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 10**9)
    offered = write_adapter(tmp_path / "offered", "facebook/musicgen-large")
    with hub_of(offered) as address:
        at_hub(address)
        with pytest.raises(OutOfMemory, match="facebook/musicgen-large needs about"):
            made(MusicRequest("jazz", model=REPOSITORY, duration=1))


def test_a_repository_with_an_adapter_beside_whole_weights_is_not_downloaded(
    at_hub: Callable[[str], None], tiny_folder: Path, tmp_path: Path
) -> None:
    offered = write_adapter(tmp_path / "offered", "someone/base")
    shutil.copy(tiny_folder / "model.safetensors", offered)
    with hub_of(offered) as address:
        at_hub(address)
        with pytest.raises(InvalidCheckpoint, match=f"{REPOSITORY} holds full weights"):
            hub.fetch(REPOSITORY)


@pytest.mark.parametrize("name", ["checkpoint.th", "last.ckpt", "lm_final.pt"])
def test_a_repository_with_training_s_files_only_is_told_as_such(
    at_hub: Callable[[str], None], tmp_path: Path, name: str
) -> None:
    (tmp_path / "offered").mkdir()
    (tmp_path / "offered" / name).write_bytes(b"weights")
    with hub_of(tmp_path / "offered") as address:
        at_hub(address)
        with pytest.raises(ModelUnavailable, match=f"holds no checkpoint.* {name} is "):
            hub.fetch(REPOSITORY)


@pytest.mark.parametrize("audiocraft", [False, True])
def test_a_download_that_was_not_finished_is_not_taken_for_the_model(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audiocraft: bool
) -> None:
    commit = "0" * 40
    cache = tmp_path / "models--someone--model"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    (cache / "snapshots").mkdir()
    folder = cache / "snapshots" / commit
    if audiocraft:
        audiocraft_from(tiny_folder, folder)
        late = folder / "compression_state_dict.bin"
    else:
        shutil.copytree(tiny_folder, folder)
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        late = folder / "model-00002-of-00002.safetensors"
    monkeypatch.setattr(
        hub, "snapshot_download", functools.partial(hub.snapshot_download, cache_dir=tmp_path)
    )
    late.unlink(missing_ok=True)
    with pytest.raises(ModelUnavailable, match="not on this machine"):
        hub.fetch("someone/model")
    late.write_bytes(b"now it is there")
    assert hub.fetch("someone/model") == folder


@pytest.mark.parametrize(
    ("number", "complaint"),
    [
        *((number, "can't be written to.*HF_HOME") for number in (errno.EACCES, errno.EROFS)),
        *((number, "disk is full") for number in (errno.ENOSPC, errno.EDQUOT)),
    ],
)
def test_a_disk_that_takes_no_download_is_not_blamed_on_the_network(
    number: int, complaint: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(hub, "_download", broken)
    with pytest.raises(ModelUnavailable, match=complaint):
        hub.fetch("someone/model")
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(tiny_folder))
    assert hub.fetch("someone/model") == tiny_folder  # what is there needs no room


def fetched(tmp_path: Path, endpoint: str, **proxies: str) -> subprocess.CompletedProcess[str]:
    """A download and no more, through the proxies of its environment."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache")}
    return subprocess.run(
        [sys.executable, "-c", FETCH],
        env={**environment, "HF_HUB_OFFLINE": "0", **proxies},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_download_through_a_socks_proxy_tells_nothing_of_what_is_installed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with hub_of(tiny_folder) as endpoint, serving_proxy(Socks()) as socks:
        socks.port = int(endpoint.rpartition(":")[2])
        proxy = f"socks5://127.0.0.1:{socks.server_address[1]}"
        result = fetched(tmp_path, "http://hub.invalid", ALL_PROXY=proxy)
    assert result.returncode == 0, result.stderr
    assert "model.safetensors" in snapshot(tmp_path)
    assert set(socks.asked) == {"hub.invalid:80"}
    assert "hf_hub" in result.stdout
    assert "torch" not in result.stdout


@pytest.mark.parametrize(
    ("given", "told", "reason"),
    [
        ("http://me:secret@127.0.0.1", "http://127.0.0.1", "407 Proxy Authentication Required"),
        ("socks5://127.0.0.1", "socks5h://127.0.0.1", "Malformed reply"),
    ],
)
def test_a_download_that_a_proxy_refuses_says_so(
    given: str, told: str, reason: str, tmp_path: Path
) -> None:
    with serving_proxy(Proxy()) as proxy:
        proxy.answer = REFUSED
        port = proxy.server_address[1]
        result = fetched(tmp_path, "https://hub.invalid", HTTPS_PROXY=f"{given}:{port}")
    complaint = f"the model hub can't be reached through the proxy {told}:{port} ({reason})"
    assert complaint in result.stderr
    assert "HTTPS_PROXY" in result.stderr
    assert "secret" not in result.stderr
