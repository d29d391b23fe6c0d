"""Downloading a checkpoint by the real hub client, from a local hub, in its own process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.hub_server import REPOSITORY, hub_of


def run(tmp_path: Path, endpoint: str, model: str = REPOSITORY) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    output = str(tmp_path / "take.wav")
    command = ["jazz", "--duration", "1", "--model", model, "-o", output]
    return subprocess.run(
        [sys.executable, "-m", "musicgen_space", *command],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_model_is_downloaded_with_progress_and_then_works_offline(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with hub_of(tiny_folder) as endpoint:
        online = run(tmp_path, endpoint)
        assert online.returncode == 0, online.stderr
        assert re.search(r"Downloading .*: 0\.\d of 0\.\d GB", online.stderr)
    offline = run(tmp_path, endpoint)
    assert offline.returncode == 0, offline.stderr
    assert (tmp_path / "take.wav").stat().st_size > 64000


def test_a_hub_that_can_not_be_reached_says_what_to_do(tmp_path: Path) -> None:
    result = run(tmp_path, "http://127.0.0.1:9")
    assert result.returncode == 1
    assert "the model hub can't be reached" in result.stderr
    assert "musicgen-nano" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_that_the_hub_does_not_have_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    with hub_of(tiny_folder) as endpoint:
        result = run(tmp_path, endpoint, model="someone/else")
    assert result.returncode == 1
    assert "There is no model 'someone/else' on the hub" in result.stderr
