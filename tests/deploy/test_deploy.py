"""`musicgen-space deploy`: with a hub on loopback, which keeps what it is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from packaging.requirements import Requirement

from musicgen_space.cli import main
from tests.servers.app import ROOT, serving
from tests.servers.spaces import TOKEN, Hub, Space, running

NAME = "someone/music"
PYTHON = ROOT / ".venv-space/bin/python"
OURS = {"musicgen_space/__init__.py": b"", "musicgen_space/older.py": b"", "notes.md": b"mine"}


def deployed(hub: str, *options: str) -> str:
    """Run the command as a user whom ``hub`` knows; → what it says."""
    ours = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
    # Large files in one piece each, as without Xet: the stand-in doesn't have its protocol.
    ours["HF_HUB_DISABLE_XET"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "musicgen_space", "deploy", *options],
        env={**os.environ, **ours},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@dataclass
class Deployed:
    space: Space
    private_buckets: dict[str, bool]
    told: str
    header: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        _, header, _ = self.space.files["README.md"].decode().split("---\n")
        self.header = yaml.safe_load(header)


@pytest.fixture(scope="module")
def new() -> Iterator[Deployed]:
    hub = Hub(paid=False)
    with running(hub) as url:
        told = deployed(url, NAME, "--bucket", "takes", "--private")
        yield Deployed(hub.spaces[NAME], hub.buckets, told)


def test_a_new_space_has_the_whole_package_its_weights_as_large_files(new: Deployed) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "musicgen_space", "app.py"], cwd=ROOT, capture_output=True, text=True
    )
    files = set(tracked.stdout.split()) or {*new.space.files}  # not everybody has a clone
    assert files <= new.space.files.keys()
    for name in files & {"app.py", "musicgen_space/cli.py"} | new.space.large:
        assert new.space.files[name] == (ROOT / name).read_bytes()
    weights = {name for name in new.space.files if name.endswith(".safetensors")}
    assert weights
    assert weights <= new.space.large
    assert {"LICENSE", "README.md", "app.py", "requirements.txt"} <= new.space.files.keys()
    assert not [name for name in new.space.files if "__pycache__" in name or "tests/" in name]


def test_the_hub_shows_it_with_a_picture_that_it_has(new: Deployed) -> None:
    address, name = new.header["thumbnail"].split("/resolve/main/")
    assert address == f"https://huggingface.co/spaces/{NAME}"
    assert new.space.files[name].startswith(b"\x89PNG")
    assert len(new.space.files[name]) < 100_000
    assert (new.header["sdk"], new.header["sdk_version"]) == ("gradio", version("gradio"))
    assert new.header["app_file"] in new.space.files
    assert new.header["python_version"] == "3.12.12"
    assert "facebook/musicgen-small" in new.header["models"]


def test_a_free_account_gets_zerogpu_with_a_torch_that_runs_there(new: Deployed) -> None:
    assert new.space.hardware == new.header["suggested_hardware"] == "zero-a10g"
    lines = new.space.files["requirements.txt"].decode().splitlines()
    needs = {need.name: need for need in map(Requirement, filter(_is_need, lines))}
    for release, runs in [("2.7.1", False), ("2.8.0", True), ("2.11.0", True), ("2.13.0", False)]:
        assert needs["torch"].specifier.contains(release) == runs
    assert needs["gradio"].specifier.contains(new.header["sdk_version"])


def test_without_a_gpu_torch_comes_without_its_libraries_and_no_large_model_is_fetched(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "space"
    assert main(["deploy", NAME, "--hardware", "cpu-basic", "--write", str(folder)]) == 0
    first, *rest = (folder / "requirements.txt").read_text().splitlines()
    assert first == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert rest == (ROOT / "requirements.txt").read_text().splitlines()
    assert "preload_from_hub" not in (folder / "README.md").read_text()


def _is_need(line: str) -> bool:
    return not line.startswith("#")


def test_takes_are_kept_in_the_bucket_which_nobody_else_sees(new: Deployed) -> None:
    assert new.private_buckets == {"someone/takes": True}
    [volume] = new.space.volumes
    assert (volume["source"], volume["mountPath"]) == ("someone/takes", "/data")
    assert new.space.variables == {"MUSICGEN_LIBRARY": "/data"}
    assert new.space.private


def test_it_says_where_the_space_is_and_never_the_token(new: Deployed) -> None:
    assert f"/spaces/{NAME} is built now" in new.told
    assert "someone/takes" in new.told
    assert TOKEN not in new.told


@pytest.mark.skipif(not PYTHON.exists(), reason="needs Python 3.12: make space")
def test_what_was_uploaded_serves_the_page_with_the_python_of_spaces(
    new: Deployed, tmp_path: Path
) -> None:
    folder = tmp_path / "space"
    for name, data in new.space.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    on_a_space = {"SYSTEM": "spaces", "SPACE_ID": NAME, "PYTHONPATH": ""}
    with serving(tmp_path / "log", python=PYTHON, cwd=folder, **on_a_space) as address:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5) as answer:
            assert "segmind" in json.load(answer)["backends"]
        with urllib.request.urlopen(address, timeout=5) as answer:
            assert b"MusicGen" in answer.read()


def test_an_update_replaces_what_is_of_this_project_and_keeps_what_is_the_owners() -> None:
    owners = [{"type": "model", "source": "a/b", "mountPath": "/models"}]
    space = Space("t4-small", files={**OURS}, variables={"MINE": "1"}, volumes=owners)
    hub = Hub(**{NAME: space})
    hub.buckets["someone/takes"] = True
    with running(hub) as url:
        deployed(url, NAME, "--update", "--bucket", "takes")
    assert "musicgen_space/older.py" not in space.files
    assert space.files["notes.md"] == b"mine"
    assert "musicgen_space/cli.py" in space.files
    assert [volume["mountPath"] for volume in space.volumes] == ["/models", "/data"]
    assert space.variables == {"MINE": "1", "MUSICGEN_LIBRARY": "/data"}
    assert space.hardware == "t4-small"
    assert b"suggested_hardware: t4-small" in space.files["README.md"]
    assert b"\ntorch==" in space.files["requirements.txt"]


OWNERS_README = b"""---
title: Our Music
sdk: gradio
sdk_version: 5.0.0
app_file: old.py
hf_oauth: true
suggested_hardware: t4-small
preload_from_hub:
- another/model
---

Words of ours.
"""


def test_an_update_keeps_the_owners_readme_but_for_what_belongs_to_a_version() -> None:
    space = Space("t4-small", files={**OURS, "README.md": OWNERS_README})
    hub = Hub(**{NAME: space})
    with running(hub) as url:
        header = Deployed(space, {}, deployed(url, NAME, "--update")).header
        assert header["title"] == "Our Music"
        assert header["hf_oauth"] is True
        assert header["suggested_hardware"] == "t4-small"
        assert (header["sdk_version"], header["app_file"]) == (version("gradio"), "app.py")
        assert "another/model" not in header["preload_from_hub"]
        assert header["emoji"]
        assert space.files["README.md"].endswith(b"---\n\nWords of ours.\n")
        deployed(url, NAME, "--update", "--hardware", "cpu-basic")
    assert b"suggested_hardware: cpu-basic" in space.files["README.md"]


REFUSALS = [
    ([NAME, "--hardware", "cpu-basic"], "--hardware zero-gpu is what works"),
    (["another/music"], "another must be you or an organisation of yours"),
    (["someone/ours"], "exists already. --update"),
    (["someone/theirs", "--update"], "is another program"),
    (["someone/broken", "--update"], "README.md of someone/broken has no header that can be read"),
    (["music"], "name must be OWNER/SPACE, as in my-name/my-space, got 'music'"),
    ([NAME, "--hardware", "h900"], "hardware must be one of zero-gpu, cpu-basic"),
    ([NAME, "--bucket", "a/b/c"], "bucket must be a name"),
    ([NAME, "--write", "."], "write must be a folder that is not there yet"),
]


THERE = ("someone/ours", "someone/theirs", "someone/broken")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    theirs = Space(files={"app.py": b""})
    broken = Space(files={**OURS, "README.md": b"---\ntitle: [\n---\n"})
    hub = Hub(paid=False, **dict(zip(THERE, (Space(files={**OURS}), theirs, broken), strict=True)))
    with running(hub):
        yield hub


@pytest.fixture
def refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command in this process, which is quicker; → why it did nothing."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    def run(*options: str) -> str:
        try:
            code = main(["deploy", *options])
        except SystemExit as ended:
            code = int(str(ended.code))
        told = capsys.readouterr().err
        assert code in (1, 2)
        assert "hf_" not in told
        assert hub.spaces.keys() == {*THERE}
        return " ".join(told.split())

    return run


@pytest.mark.parametrize(("options", "words"), REFUSALS)
def test_what_can_not_be_is_said_with_what_to_do(
    refused: Callable[..., str], options: list[str], words: str
) -> None:
    assert words in refused(*options)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "run `hf auth login`"),
        ("hf_ofSomebodyElse", "run `hf auth login`"),
        ("hf_with…", "can't be reached (UnicodeEncodeError)"),
    ],
)
def test_whom_the_hub_does_not_know_is_told_to_log_in(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, token: str, words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert words in refused(NAME)


def test_a_hub_that_can_not_be_reached_is_told(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 can't be reached (Connect" in refused(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(NAME)


def test_a_space_that_was_made_but_not_filled_is_filled() -> None:
    space = Space("zero-a10g", files={"README.md": b"", ".gitattributes": b""})
    with running(Hub(**{NAME: space})) as url:
        deployed(url, NAME)
    assert "app.py" in space.files
