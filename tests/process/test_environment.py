from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from uvicorn import Config

from musicgen_space.errors import InvalidSetting
from musicgen_space.process.environment import prepare_environment
from musicgen_space.settings import Settings

SPACE = {"SPACE_ID": "someone/space"}
FOLDERS = ("GRADIO_TEMP_DIR", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR")


@pytest.fixture
def no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody who chose none."""
    for name in FOLDERS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_folders")
def test_temporary_files_are_where_nobody_else_can_look_and_gone_at_the_end() -> None:
    with prepare_environment(Settings()):
        (folder,) = {Path(os.environ[name]).parent for name in FOLDERS}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not [name for name in FOLDERS if Path(os.environ[name]).exists()]
        Path(os.environ["GRADIO_TEMP_DIR"]).mkdir()
    assert not folder.exists()


def test_each_process_has_a_folder_of_its_own(no_folders: None) -> None:
    with prepare_environment(Settings()):
        first = os.environ.pop("GRADIO_TEMP_DIR")
        with prepare_environment(Settings()):
            assert os.environ["GRADIO_TEMP_DIR"] != first


def test_folders_that_were_chosen_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in FOLDERS:
        monkeypatch.setenv(name, str(tmp_path / name))
    with prepare_environment(Settings.from_environment()):
        assert [os.environ[name] for name in FOLDERS] == [str(tmp_path / name) for name in FOLDERS]


@pytest.mark.parametrize(
    ("environ", "peer", "noted", "visitor"),
    [
        ({}, "127.0.0.1", "8.8.4.4", "127.0.0.1"),  # nobody is believed
        ({}, "192.168.0.7", "8.8.4.4", "192.168.0.7"),
        (SPACE, "10.0.0.7", "1.1.1.1, 8.8.4.4", "8.8.4.4"),  # before that anybody can write
        (SPACE, "10.0.0.7", "1.1.1.1, 8.8.4.4, 10.0.0.9", "8.8.4.4"),  # two proxies
        (SPACE, "8.8.8.8", "1.1.1.1", "8.8.8.8"),
        ({"MUSICGEN_PROXIES": "8.8.8.0/24"}, "8.8.8.8", "1.1.1.1, 8.8.4.4", "8.8.4.4"),
        ({"MUSICGEN_PROXIES": "8.8.8.0/24"}, "127.0.0.1", "8.8.4.4", "127.0.0.1"),
    ],
)
def test_only_named_proxies_are_believed_whom_they_speak_for(
    environ: dict[str, str], peer: str, noted: str, visitor: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    seen: list[str] = []
    with prepare_environment(Settings.from_environment(environ)):
        server = Config(app)
        server.load()
    scope = {
        **{"type": "http", "client": (peer, 1), "scheme": "http"},
        "headers": [(b"x-forwarded-for", noted.encode())],
    }
    asyncio.run(server.loaded_app(scope, None, None))  # type: ignore[arg-type]
    assert seen == [visitor]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_end_leaves_no_files(
    number: int, tmp_path: Path, no_folders: None
) -> None:
    code = f"""
import os, pathlib, signal
from musicgen_space.process.environment import prepare_environment
from musicgen_space.settings import Settings

with prepare_environment(Settings()):
    pathlib.Path(os.environ["GRADIO_TEMP_DIR"]).mkdir()
    signal.raise_signal({int(number)})
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert ended.returncode == -number
    assert not [*tmp_path.iterdir()]


def test_a_machine_without_a_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.TemporaryDirectory", nowhere)
    with pytest.raises(InvalidSetting, match="TMPDIR must be"), prepare_environment(Settings()):
        pass


@pytest.mark.parametrize("name", ["HF_HOME", "XDG_CACHE_HOME", "GRADIO_NUM_PORTS", "HF_ENDPOINT"])
def test_a_variable_of_a_library_that_is_empty_means_its_default(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, " ")
    with prepare_environment(Settings()):
        assert name not in os.environ
    assert os.environ[name] == " "


def test_libraries_tell_nobody_what_they_are_used_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    with prepare_environment(Settings()):
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
        assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
