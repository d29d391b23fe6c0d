from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_space import __version__
from musicgen_space.audio.files import read_settings
from musicgen_space.backends.base import Backend, ModelChoice, Progress, Update
from musicgen_space.cli import main
from musicgen_space.request import MusicRequest
from musicgen_space.settings import VARIABLES, Settings
from musicgen_space.take import Take
from tests.servers.app import ROOT
from tests.test_docs import snippets


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
    assert main(["models"]) == 0
    assert "musicgen-nano" in capsys.readouterr().out


def test_the_machines_default_model_is_listed_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_MODEL", "facebook/musicgen-large")
    assert main(["models"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "facebook/musicgen-large"


def test_whoever_stops_reading_the_list_of_models_sees_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "musicgen_space", "models"]
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("prompt", ["serve", "cluster", "keys", "models", "generate", "replace"])
def test_a_prompt_may_be_called_like_a_command(prompt: str, studio: Studio) -> None:
    assert main(["generate", prompt]) == 0
    assert studio.asked[0].prompt == prompt


def test_help_names_the_commands_and_how_the_page_is_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = {}
    for command in (
        (),
        ("serve",),
        ("models",),
        ("deploy",),
        ("replace",),
        ("keys",),
        ("cluster",),
    ):
        with pytest.raises(SystemExit, match="0"):
            main([*command, "--help"])
        told[command] = capsys.readouterr().out
    assert "serve | cluster | keys | models | deploy" in told[()]
    assert "replace FILE@FROM-TO" in told[()]
    assert "1 to 28 seconds" in told["replace",]
    assert "list the models" in told["models",].lower()
    assert "zero-gpu" in told["deploy",]
    assert "revoke" in told["keys",]
    assert "Ray" in told["cluster",]
    options = {"--host", "--port", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"}
    variables = {each.name for each in VARIABLES.values()}
    assert VARIABLES.keys() == Settings.__dataclass_fields__.keys()
    assert not {name for name in options | variables if name not in told["serve",]}


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("port", "99999", "--port must be a whole number from 1 to 65535, got '99999'"),
        ("host", "192.0.2.1", "--host must be an address or a name of this machine, got '192.0.2"),
    ],
)
def test_a_page_that_can_not_be_served_as_wished_is_told_by_the_option(
    option: str, value: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serve", f"--{option}", value])
    assert complaint in capsys.readouterr().err


def test_a_page_that_can_not_be_served_as_set_is_told_by_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_PORT", "none")
    with pytest.raises(SystemExit, match="2"):
        main(["serve", "--host", "127.0.0.1"])
    assert "GRADIO_SERVER_PORT must be a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "prompt must not be empty"),
        (["jazz", "--duration", "301"], "duration must be a number from 1 to 300 seconds, got 301"),
        (
            ["jazz", "--duration", "31", "--backend", "segmind"],
            "1 to 30 seconds on Segmind, got 31",
        ),
        (["jazz", "--seed", "-2"], "seed must be a whole number from -1 to 9999, got -2"),
        (["jazz", "-o", "take.aiff"], "output must end in one of .wav, .flac, .ogg, .mp3"),
        (["jazz", "--backend", "cloud"], "backend must be one of"),
        (["jazz", "-o", "no/such/folder/take.wav"], "must lie in a folder that exists"),
        (["jazz", "--backend", "segmind", "--top-k", "5"], "top-k can't be chosen on Segmind"),
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_writes_what_was_made(
    number: int, code: int, tiny_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "take.wav"
    command = ["jazz", "--duration", "300", "--model", str(tiny_folder), "-o", str(output)]
    process = subprocess.Popen(
        [sys.executable, "-m", "musicgen_space", *command], stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    seen = b""
    while b"left" not in seen:
        seen += process.stderr.read1()
    time.sleep(0.2)
    process.send_signal(number)
    assert process.stderr.read().splitlines()[-1].endswith(b"Interrupted.")
    process.stderr.close()
    assert process.wait(30) == code
    assert 0 < soundfile.info(output).duration < 30


class Studio(Backend):
    """Makes ``sound`` at once, obeys every knob and remembers what was asked for."""

    name, label, about = "studio", "Studio", "in no time"
    knobs = frozenset(MusicRequest.__dataclass_fields__)

    def __init__(self) -> None:
        self.asked: list[MusicRequest] = []
        self.sound = np.zeros((1, 3200), np.float32)

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("silence", "restful", melody=True)]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        self.asked.append(request)
        yield Progress(request.duration, request.duration, 0.1)
        for index in range(request.variations):
            wish = request.variation(index)
            yield Take(self.sound, 32_000, wish, self.name, "silence", 0.1)


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Studio:
    """The only backend; the folder of the test is where files are."""
    backend = Studio()
    monkeypatch.setattr("musicgen_space.cli.open_backends", lambda _: {"studio": backend})
    monkeypatch.chdir(tmp_path)
    return backend


def write_song(name: str, seconds: float = 30.0) -> None:
    """A song that is louder every second."""
    samples = np.repeat(np.arange(1, 1 + seconds) / 40, 8_000)
    soundfile.write(name, samples, 8_000, format="WAV")


def test_the_documentation_s_commands_work_as_written(studio: Studio) -> None:
    studio.sound = np.zeros((1, 60 * 32_000), np.float32)
    write_song("song.mp3")
    scripts = [*snippets("../README.md", "sh"), *snippets("command-line.md", "sh")]
    lines = [line for script in scripts for line in script.splitlines()]
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        offline = ["--write", "space"] if "deploy" in words else []
        assert program == "make" or main([*words, *offline]) == 0, line
    assert [request.variations for request in studio.asked] == [1, 1, 3, 4]


def test_every_wish_reaches_the_backend(studio: Studio) -> None:
    write_song("song.wav")
    wish = ["--negative-prompt", "drums", "--blend-prompt", "strings", "--duration", "60"]
    clips = ["--continue", "song.wav@3.5-12", "--melody", "song.wav"]
    assert main(["jazz", *wish, *clips]) == 0
    (request,) = studio.asked
    assert (request.negative_prompt, request.blend_prompt) == ("drums", "strings")
    assert request.duration == 60
    assert request.continue_from is not None
    assert request.melody is not None
    told = request.continue_from.described()
    assert (told["name"], told["start"], told["seconds"]) == ("song.wav", 3.5, 8.5)
    assert request.continue_from.samples[0, 8_000] == pytest.approx(4 / 40, abs=1e-3)
    assert request.melody.duration == 30


def test_all_of_a_long_file_is_continued(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    write_song("song.wav", 299)
    assert main(["jazz", "--continue", "song.wav"]) == 0
    assert studio.asked[0].given_seconds == 299
    write_song("song.wav", 301)
    with pytest.raises(SystemExit, match="2"):
        main(["jazz", "--continue", "song.wav"])
    assert "continue must last 0.5 to 300 seconds, got '301.00 sec" in capsys.readouterr().err


def test_a_stretch_of_a_file_is_made_anew(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.sound = np.zeros((1, 60 * 32_000), np.float32)
    write_song("song.wav")
    old = Path("song.wav").read_bytes()
    assert main(["replace", "song.wav@8-16", "drums", "-o", "new.wav", "--variations", "2"]) == 0
    assert (studio.asked[0].prompt, studio.asked[0].variations) == ("drums", 2)
    told = capsys.readouterr().out
    for name in ("new-1.wav", "new-2.wav"):
        new, rate = soundfile.read(name)
        assert (len(new), rate) == (30 * 8_000, 8_000)
        assert not new[9 * 8_000 : 14 * 8_000].any()
        assert new[: 8 * 8_000].all()
        assert f"{name}: 30.00 s" in told
    assert "new until" in told
    assert Path("song.wav").read_bytes() == old
    settings = read_settings(Path("new-1.wav").read_bytes())
    assert settings is not None
    assert (settings["replaced"]["start"], settings["replaced"]["end"]) == (8, 16)


def test_a_take_is_made_anew_by_its_own_words(studio: Studio) -> None:
    studio.sound = np.zeros((1, 60 * 32_000), np.float32)
    assert main(["slow jazz", "-o", "take.flac"]) == 0
    assert main(["replace", "take.flac@20-30", "-o", "new.flac"]) == 0
    assert (studio.asked[1].prompt, studio.asked[1].variations) == ("slow jazz", 4)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["song.wav"], "piece must be FILE@FROM-TO, from one second to another, as in take.flac"),
        (["song.wav@8-8.5"], "end must be 1 to 28 seconds after the start, 8, got 8.5"),
        (["song.wav@8-31"], "end must be a number from 0 to 30 seconds, got 31"),
        (["song.wav@8-12"], "prompt must not be empty"),
        (["none.wav@8-12"], "piece none.wav: The file can't be opened"),
        (["song.wav@8-12", "a", "-o", "song.wav"], "output must be another file, so that both"),
        (["song.wav@8-12", "a", "-o", "new.aiff"], "output must end in one of .wav, .flac"),
        (["song.wav@8-12", "a", "--duration", "3"], "unrecognized arguments: --duration"),
    ],
)
def test_a_stretch_that_can_not_be_made_anew_is_told(
    arguments: list[str], complaint: str, studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    write_song("song.wav")
    with pytest.raises(SystemExit, match="2"):
        main(["replace", *arguments])
    assert complaint in capsys.readouterr().err
    assert not studio.asked


def test_a_stretch_of_a_file_of_any_size_is_used(studio: Studio) -> None:
    write_song("song.wav")
    with open("song.wav", "r+b") as file:  # 19 hours of silence after it
        file.truncate(2**30)
        for place, size in ((4, 2**30 - 8), (40, 2**30 - 44)):
            file.seek(place)
            file.write(size.to_bytes(4, "little"))
    assert main(["jazz", "--continue", "song.wav@3-6"]) == 0
    clip = studio.asked[0].continue_from
    assert clip is not None
    assert clip.duration == 3
    assert clip.samples[0, 8_000] == pytest.approx(4 / 40, abs=1e-3)


def test_a_sound_above_full_scale_is_made_quieter_and_it_is_said(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("loud.wav", 3.6 * np.sin(np.arange(32_000)), 32_000, "FLOAT")
    assert main(["jazz", "--continue", "loud.wav"]) == 0
    assert "continue loud.wav: Its peaks were 11.1 dB above full" in capsys.readouterr().err
    clip = studio.asked[0].continue_from
    assert clip is not None
    assert np.abs(clip.samples[0] - np.sin(np.arange(32_000))).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "given", "seconds"),
    [
        ("me@home.wav", "me@home.wav", 20),
        ("me@home.wav", "me@home.wav@1-3", 2),
        ("song@1-3", "song@1-3", 20),
        ("song@1-3", "song@1-3@0-0.5", 0.5),
    ],
)
def test_a_file_may_have_an_at_sign_in_its_name(
    name: str, given: str, seconds: float, studio: Studio
) -> None:
    write_song(name, 20)
    assert main(["jazz", "--continue", given]) == 0
    assert studio.asked[0].continue_from is not None
    assert studio.asked[0].continue_from.duration == seconds


STEERING = "\x1b]0;owned\x07\r\x9b2J\u202egnp"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["jazz", "-o", f"{STEERING}.wav"], 0),
        (["jazz", "--melody", f"{STEERING}loud.wav"], 0),
        (["jazz", "--continue", f"{STEERING}.wav"], 2),
        (["jazz", "-o", f"{STEERING}.txt"], 2),
        (["jazz", "--model", STEERING, "--tempo", STEERING], 2),
        (["jazz", "--seed", STEERING], 2),
        (["jazz", "--backend", STEERING], 2),
        (["jazz", STEERING], 2),
    ],
)
def test_nothing_in_a_name_steers_the_terminal(
    arguments: list[str], code: int, studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(f"{STEERING}loud.wav", 3.6 * np.sin(np.arange(32_000)), 32_000, "FLOAT")
    if code == 2:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    else:
        assert main(arguments) == code
    told = "".join(capsys.readouterr())
    assert r"\x1b]0;owned\x07\r\x9b2J\u202egnp" in told
    assert not {*told} & {"\x1b", "\x07", "\x9b", "\u202e"}


def test_variations_are_numbered_files(
    studio: Studio, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["jazz", "--variations", "3", "--seed", "7", "-o", "take.flac"]) == 0
    names = ["take-1.flac", "take-2.flac", "take-3.flac"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    lines = capsys.readouterr().out.splitlines()
    for name, seed, line in zip(names, (7, 8, 9), lines, strict=True):
        settings = read_settings(Path(name).read_bytes())
        assert settings is not None
        assert settings["seed"] == seed
        assert line.startswith(f"{name}: ")
        assert f"seed {seed}," in line


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("folder.wav", "output must be a file, not a folder, got 'folder.wav'"),
        ("locked.wav", "output must be a file that can be written to, got 'locked.wav'"),
        ("locked/take.wav", "output must be a file that can be written to, got 'locked/take"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused_before_anything_is_made(
    output: str,
    complaint: str,
    studio: Studio,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("folder.wav").mkdir()
    Path("locked").mkdir()
    Path("locked.wav").touch()
    # As for people without rights; whoever runs the tests may write everywhere.
    monkeypatch.setattr("os.access", lambda path, _: "locked" not in Path(path).name)
    with pytest.raises(SystemExit) as caught:
        main(["jazz", "-o", output])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err
    assert not studio.asked


def test_a_variation_that_can_not_be_written_does_not_lose_the_others(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Path.write_bytes

    def written(path: Path, data: bytes) -> int:
        if path.name == "take-2.wav":
            raise OSError(errno.ENOSPC, "No space left on device", path.name)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", written)
    assert main(["jazz", "--variations", "3"]) == 1
    assert [Path(f"take-{number}.wav").is_file() for number in (1, 2, 3)] == [True, False, True]
    captured = capsys.readouterr()
    assert captured.out.count("real time") == 2
    assert "No space left on device: 'take-2.wav'" in captured.err


def test_a_terminal_without_every_sign_gets_its_report(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(told, "cp1251", write_through=True))
    assert main(["jazz", "--variations", "2"]) == 0
    assert told.getvalue().count(b"? real time") == 2


def test_what_the_model_can_not_read_is_told_and_the_take_is_made(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jazz 音乐", "--negative-prompt", "鼓", "--blend-prompt", "funk"]) == 0
    captured = capsys.readouterr()
    assert "prompt: The model does not know: 音乐\n" in captured.err
    assert "negative-prompt: The model knows nothing of this" in captured.err
    assert "blend-prompt:" not in captured.err
    assert captured.out.startswith("take.wav: ")


def test_of_a_checkpoint_whose_tokenizer_is_its_own_that_is_told_once_it_is_loaded(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = ["jazz 音乐", "--duration", "1", "--model", str(tiny_folder)]
    assert main([*wish, "-o", str(tmp_path / "take.wav")]) == 0
    assert capsys.readouterr().err.count("prompt: The model does not know: 音乐\n") == 1


def test_a_backend_that_ends_without_a_take_has_failed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(studio, "generate", lambda *_: iter(()))
    assert main(["jazz"]) == 1
    assert "could not be made" in capsys.readouterr().err


def test_files_are_finished_as_wished(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    sound = np.zeros((1, 96_000), np.float32)
    sound[:, :64_000] = np.tile(np.repeat([0.01, -0.01], 16), 2_000)
    studio.sound = sound
    wish = ["--normalise", "--trim", "--fade-in", "0.5", "--fade-out", "1"]
    assert main(["jazz", *wish, "--variations", "2", "-o", "take.wav"]) == 0
    assert "take-2.wav: 2.00 s" in capsys.readouterr().out
    for name in ("take-1.wav", "take-2.wav"):
        data = Path(name).read_bytes()
        settings = read_settings(data)
        assert settings is not None
        told = {"normalise": True, "trim": True, "fade_in": 0.5, "fade_out": 1.0}
        assert settings["finish"] == told
        samples, _ = soundfile.read(name)
        assert len(samples) == 64_000
        assert samples[0] == samples[-1] == 0
        assert np.abs(samples[16_000:32_000]).min() > 0.02


def test_a_loop_is_written_and_told(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    beat = np.zeros((1, 16_000), np.float32)
    beat[:, :800] = np.random.default_rng(0).uniform(-0.5, 0.5, 800)
    studio.sound = np.tile(beat, 20)
    assert main(["jazz", "--loop", "--normalise"]) == 0
    assert re.search(
        r"loop: [1-9] bars at 120\.\d bpm, no clear key, joint ", capsys.readouterr().out
    )
    settings = read_settings(Path("take.wav").read_bytes())
    assert settings is not None
    assert settings["loop"]["end"] - settings["loop"]["start"] == soundfile.info("take.wav").frames


def test_a_loop_has_no_fades(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["jazz", "--loop", "--fade-in", "1"])
    assert "fade-in must be 0 in a loop, got 1" in capsys.readouterr().err
    assert not Path("take.wav").exists()


def test_what_is_too_short_for_a_loop_is_written_as_it_is(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.sound = np.full((1, 3200), 0.25, np.float32)
    assert main(["jazz", "--loop"]) == 0
    assert "loop needs a take of 1 second or more" in capsys.readouterr().err
    assert soundfile.info("take.wav").frames == 3200


def test_without_a_finish_files_hold_the_take_as_it_is(studio: Studio) -> None:
    studio.sound = np.full((1, 3200), 0.25, np.float32)
    assert main(["jazz"]) == 0
    assert np.allclose(soundfile.read("take.wav")[0], 0.25, atol=1e-4)
    settings = read_settings(Path("take.wav").read_bytes())
    assert settings is not None
    assert "finish" not in settings


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--continue", "none.wav"], "continue none.wav: The file can't be opened: No such"),
        (["--melody", "none.wav@1-2"], "melody none.wav@1-2: The file can't be opened: No"),
        (["--continue", "song.wav@one-two"], "continue song.wav@one-two: The file can't be op"),
        (["--melody", "words.mp3"], "melody words.mp3: This is text and no sound."),
        (["--continue", "song.wav@1-1.2"], "continue must last 0.5 to 300 seconds, got '0.20"),
        (["--continue", "song.wav@20-40"], "continue must be a stretch within 0 to 30.00 seconds"),
        (["--continue", "song.wav@40-50"], "must be a stretch of the file, which has ended by"),
        (["--melody", "song.wav@5-3"], "melody must be a stretch from one second to a later one"),
        (["--melody", "song.wav@0-700"], "melody must be a stretch from one second to a later one"),
        (["--fade-in", "11"], "fade-in must be a number from 0 to 10 seconds, got 11"),
        (["--fade-out", "nan"], "fade-out must be a number from 0 to 10 seconds, got nan"),
        (["--variations", "5"], "variations must be a whole number from 1 to 4, got 5"),
        (["--duration", "301"], "duration must be a number from 1 to 300 seconds, got 301"),
        (["--negative-prompt", "a" * 1001], "negative-prompt must be at most 1000 characters"),
    ],
)
def test_wishes_beyond_the_limits_are_refused(
    arguments: list[str], complaint: str, studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    write_song("song.wav")
    Path("words.mp3").write_text("la la la " * 100)
    with pytest.raises(SystemExit) as caught:
        main(["jazz", *arguments])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err
    assert not studio.asked


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--continue", "song.wav"], "continue"),
        (["--melody", "song.wav"], "melody"),
        (["--negative-prompt", "drums"], "negative-prompt"),
        (["--blend-prompt", "strings"], "blend-prompt"),
        (["--variations", "2"], "variations"),
    ],
)
def test_what_a_backend_can_not_do_is_refused_before_a_file_is_read(
    arguments: list[str], option: str, studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.knobs = frozenset({"prompt", "duration", "seed"})
    with pytest.raises(SystemExit) as caught:
        main(["jazz", *arguments])
    assert caught.value.code == 2
    assert f"{option} can't be chosen on Studio" in capsys.readouterr().err
