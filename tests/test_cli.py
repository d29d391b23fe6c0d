from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from musicgen_space import __version__
from musicgen_space.__main__ import main
from musicgen_space.audio import read_settings


def test_a_prompt_becomes_a_file(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "take.flac"
    wish = ["upbeat funk", "--duration", "2", "--seed", "7", "--model", str(tiny_folder)]
    assert main([*wish, "-o", str(output)]) == 0
    assert soundfile.info(output).duration == 2.0
    settings = read_settings(output.read_bytes())
    assert settings is not None
    assert (settings["prompt"], settings["seed"]) == ("upbeat funk", 7)
    captured = capsys.readouterr()
    assert "seed 7" in captured.out
    assert "real time" in captured.err  # the progress bar


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-models"]) == 0
    assert "musicgen-nano" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "prompt must not be empty"),
        (["jazz", "--duration", "31"], "duration must be a number from 1 to 30 seconds, got 31"),
        (["jazz", "--seed", "-2"], "seed must be a whole number from -1 to 9999, got -2"),
        (["jazz", "-o", "take.aiff"], "output must end in one of .wav, .flac, .ogg, .mp3"),
        (["jazz", "--backend", "cloud"], "backend must be one of"),
        (["jazz", "-o", "no/such/folder/take.wav"], "must lie in a folder that exists"),
        (["jazz", "--backend", "segmind", "--top-k", "5"], "top_k can't be chosen on Segmind"),
        (["jazz", "--tempo", "120"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_with_two_and_says_why(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_model_that_can_not_be_loaded_exits_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jazz", "--model", str(tmp_path), "-o", str(tmp_path / "take.wav")]) == 1
    assert "has no config.json" in capsys.readouterr().err
    assert not (tmp_path / "take.wav").exists()


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_an_interrupt_writes_what_was_made(tiny_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "take.wav"
    command = ["jazz", "--duration", "30", "--model", str(tiny_folder), "-o", str(output)]
    process = subprocess.Popen(
        [sys.executable, "-m", "musicgen_space", *command], stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    seen = b""
    while b"left" not in seen:
        seen += process.stderr.read1()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 130
    assert 0 < soundfile.info(output).duration < 30
