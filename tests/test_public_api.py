"""What ``from musicgen_space import …`` gives: music, in a few lines."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import musicgen_space
from musicgen_space import (
    BackendError,
    Clip,
    Finish,
    InvalidCheckpoint,
    InvalidRequest,
    InvalidSetting,
    ModelUnavailable,
    MusicGen,
    MusicRequest,
    Progress,
    Segmind,
    Stopped,
    Take,
    UnreadableAudio,
    UnusableKey,
)
from musicgen_space.audio.files import read_take
from musicgen_space.musicgen import Fields
from tests.segmind.fixtures import LocalSegmind, one_server, segmind
from tests.servers.segmind import KEY

__all__ = ["one_server", "segmind"]

ROOT = Path(__file__).parent.parent
THREE_LINES = """
from musicgen_space import MusicGen
model = MusicGen.from_pretrained("musicgen-nano")
model.generate("lo-fi piano", duration=10).save("take.flac")
"""


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Iterator[MusicGen]:
    with MusicGen.from_pretrained(tiny_folder) as model:
        yield model


def test_the_model_of_whoever_names_none_is_the_machines_default(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_MODEL", str(tiny_folder))
    with MusicGen.from_pretrained() as model:
        assert model.model == str(tiny_folder)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Two seconds of a tone."""
    time = np.arange(2 * 32_000) / 32_000
    soundfile.write(tmp_path / "song.wav", 0.5 * np.sin(2 * np.pi * 220 * time), 32_000)
    return tmp_path / "song.wav"


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = {"torch", "gradio", "requests", "transformers", "soundfile"}
    names = "MusicGen, Segmind, MusicRequest, Take, Clip, Finish, MusicGenSpaceError"
    for code in ("import musicgen_space", f"from musicgen_space import {names}"):
        done = run(f"import sys; {code}; print({heavy!r} & set(sys.modules))")
        assert done.stdout == "set()\n"


def test_all_that_is_public_is_there_and_listed() -> None:
    for name in musicgen_space.__all__:
        assert getattr(musicgen_space, name) is not None
        assert name in dir(musicgen_space)
    with pytest.raises(AttributeError, match="has no attribute 'MusicGem'"):
        musicgen_space.MusicGem  # noqa: B018


def test_a_users_types_are_checked(tmp_path: Path) -> None:
    streaming = 'for chunk in model.stream("lo-fi piano", seed=7):\n    chunk.shape\n'
    (tmp_path / "right.py").write_text(THREE_LINES + streaming)
    (tmp_path / "wrong.py").write_text(THREE_LINES + 'model.generate("jazz", tempo=120)\n')
    # Of what it stands on, nothing is looked at: that is checked elsewhere.
    within = "[mypy-torch.*,requests.*,musicgen_space.backends.local.*,musicgen_space.audio.*]"
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = true\n{within}\nfollow_imports = skip\n")
    done = run(
        "from mypy.main import main; main()",
        *("--no-incremental", "--follow-imports=silent", f"--config-file={config}"),
        *(str(tmp_path / "right.py"), str(tmp_path / "wrong.py")),
    )
    assert "right.py" not in done.stdout
    assert 'wrong.py:5: error: Unexpected keyword argument "tempo"' in done.stdout


def test_every_field_of_a_request_can_be_said() -> None:
    every = {field.name for field in fields(MusicRequest)}
    assert set(Fields.__annotations__) == every - {"prompt", "model", "variations"}
    for name in Fields.__annotations__:
        assert f"``{name}``" in (inspect.getdoc(musicgen_space.musicgen.TextToMusic) or "")


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_take_is_saved_as_its_ending_says(model: MusicGen, tmp_path: Path, ending: str) -> None:
    take = model.generate("jazz", duration=1, seed=7)
    path = take.save(tmp_path / f"take.{ending.upper()}")
    read = read_take(path.read_bytes())
    assert read is not None
    assert (read.request.prompt, read.request.seed) == ("jazz", 7)
    assert take.samples.shape == (1, take.sample_rate)


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("take.aiff", 1, r"path must end in one of \.wav, \.flac, \.ogg, \.mp3, got 'take\.aiff'"),
        ("take", 1, r"path must end in one of \.wav"),
        ("take.mp3", 6, r"path must end in one of \.wav, \.flac, \.ogg, got 'take\.mp3'"),
    ],
)
def test_an_ending_that_can_not_hold_a_take_is_refused(
    name: str, channels: int, message: str
) -> None:
    samples = np.zeros((channels, 3200), np.float32)
    with pytest.raises(InvalidRequest, match=message):
        Take(samples, 32_000, MusicRequest("jazz"), "", "", 1.0).save(name)


def test_a_finished_take_is_a_copy_that_tells_so(model: MusicGen) -> None:
    take = model.generate("jazz", duration=1)
    faded = take.finished(Finish(fade_in=0.5))
    assert (faded.samples[0, 0], faded.finish, take.finish) == (0, Finish(fade_in=0.5), None)


def test_chunks_of_a_stream_are_its_take(model: MusicGen) -> None:
    stream = model.stream("jazz", duration=3, seed=7)
    assert stream.sample_rate == 32_000
    chunks = [*stream]
    assert len(chunks) > 1
    assert all(chunk.dtype == np.float32 for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), stream.take.samples)
    np.testing.assert_array_equal(
        model.generate("jazz", duration=3, seed=7).samples, stream.take.samples
    )


def test_leaving_a_stream_ends_its_work(model: MusicGen) -> None:
    """Else the second take would come after five minutes of music."""
    made: list[float] = []

    def note(update: object) -> None:
        if isinstance(update, Progress):
            made.append(update.seconds_made)

    for _ in model.stream("jazz", duration=300, report=note):
        break
    left = model.stream("jazz", duration=300, report=note)
    next(left)
    left.close()
    assert [*left] == []
    with pytest.raises(Stopped):
        left.take  # noqa: B018
    assert model.generate("jazz", duration=1).duration == 1
    assert max(made) < 60


def test_stopping_keeps_what_was_made(model: MusicGen) -> None:
    stop = threading.Event()
    stream = model.stream("jazz", duration=300, stop=stop)
    next(stream)
    stop.set()
    assert stream.take.stopped
    assert 1 <= stream.take.duration < 60


def test_stopping_before_there_is_sound_is_an_error(model: MusicGen) -> None:
    stop = threading.Event()
    stop.set()
    for make in (model.generate, model.variations):
        with pytest.raises(Stopped):
            make("jazz", stop=stop)


def test_variations_are_the_takes_of_their_seeds(model: MusicGen) -> None:
    takes = model.variations("jazz", 2, duration=1, seed=7)
    assert [take.request.seed for take in takes] == [7, 8]
    alone = model.generate("jazz", duration=1, seed=8)
    np.testing.assert_allclose(takes[1].samples, alone.samples, atol=1e-6)


def test_a_request_can_be_made_again(model: MusicGen) -> None:
    first = model.generate(MusicRequest("jazz", duration=1, seed=7))
    again = model.generate(first.request)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert model.generate(first.request, seed=8).request.seed == 8


def test_ones_own_sound_is_continued(model: MusicGen, song: Path) -> None:
    stretch = Clip.from_file(song, 0.5, 1.5)
    for sound, seconds in ((song, 2), (str(song), 2), (stretch, 1), (Clip.from_file(song, 1), 1)):
        take = model.generate("jazz", continue_from=sound, duration=1)
        assert take.duration == 1 + seconds
        assert take.clips["continue_from"].name == "song.wav"


def test_a_stretch_is_made_anew_several_times_and_the_best_comes_first(
    model: MusicGen, tmp_path: Path
) -> None:
    take = model.generate("jazz", duration=4, seed=7)
    reports: list[object] = []
    takes = model.replace(take, 1.5, 3, count=2, report=reports.append)
    for each in takes:
        assert np.array_equal(each.samples[:, :48_000], take.samples[:, :48_000])
        assert each.samples.shape == take.samples.shape
        assert each.request.prompt == "jazz"
    first, second = (each.replaced.match for each in takes if each.replaced)
    assert first is not None
    assert second is not None
    assert first >= second
    assert {each.request.seed for each in takes} == {7, 8}
    assert any(isinstance(report, Progress) for report in reports)
    again = model.replace(take.save(tmp_path / "take.flac"), 1.5, 3, seed=take.request.seed)
    assert again[0].replaced is not None
    (other,) = model.replace(Clip(take.samples, take.sample_rate), 0, 1.5, "drums", count=1)
    assert other.request.prompt == "drums"


def test_a_replacement_that_is_stopped_at_once_is_none(model: MusicGen) -> None:
    stop = threading.Event()
    stop.set()
    piece = Clip(np.random.default_rng(0).normal(0, 0.1, (1, 4 * 32_000)), 32_000)
    with pytest.raises(Stopped):
        model.replace(piece, 1, 3, "drums", stop=stop)


@pytest.mark.parametrize(
    ("arguments", "wish", "message"),
    [
        ((1, 9, "jazz"), {}, "end must be a number from 0 to 4 seconds, got 9"),
        ((1, 3), {}, "prompt must not be empty"),
        ((1, 3, "jazz", 5), {}, "variations must be a whole number from 1 to 4, got 5"),
        ((1, 3, "jazz"), {"duration": 2}, "duration can't be given: the stretch says it"),
    ],
)
def test_what_can_not_be_replaced_is_told_at_once(
    model: MusicGen, arguments: tuple[Any, ...], wish: dict[str, Any], message: str
) -> None:
    piece = Clip(np.random.default_rng(0).normal(0, 0.1, (1, 4 * 32_000)), 32_000)
    with pytest.raises(InvalidRequest, match=message):
        model.replace(piece, *arguments, **wish)
    with pytest.raises(InvalidRequest, match="piece must be a Take, a Clip or the path of a file"):
        model.replace(7, 1, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"prompt": " "}, "prompt must not be empty"),
        ({"prompt": 7}, "prompt must be text, got 7"),
        ({"duration": 301}, "duration must be a number from 1 to 300 seconds, got 301"),
        ({"seed": [1]}, r"seed must be a whole number from -1 to 9999, got \[1\]"),
        ({"duration": np.ones(2)}, "duration must be a number from 1 to 300 seconds, got array"),
        ({"tempo": 120}, "tempo is no field of a request, got 120"),
        ({"variations": 2}, r"variations must be 1: the method variations\(\) makes several"),
        ({"continue_from": 7}, "continue_from must be a Clip or the path of a file of sound"),
        ({"model": "facebook/musicgen-small"}, "model must be .*, which is loaded, got 'facebook"),
    ],
)
def test_what_is_wrong_is_said_by_field_value_and_limit_at_once(
    model: MusicGen, wish: dict[str, Any], message: str
) -> None:
    for make in (model.generate, model.stream):
        with pytest.raises(InvalidRequest, match=message):
            make(**{"prompt": "jazz", **wish})


def test_a_sound_that_can_not_be_read_is_told_by_its_field(model: MusicGen) -> None:
    with pytest.raises(UnreadableAudio, match=r"continue_from nothing\.wav: The file can't be"):
        model.generate("jazz", continue_from="nothing.wav")


def test_what_can_not_be_loaded_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"has no config\.json"):
        MusicGen.from_pretrained(tmp_path)
    with pytest.raises(ModelUnavailable, match="There is no folder"):
        MusicGen.from_pretrained(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"device": "tpu"}, "^device must be auto, cpu, cuda, cuda:N or mps, got 'tpu'"),
        ({"device": "cuda:99"}, "^device is cuda:99, but torch finds only "),
        ({"dtype": "int"}, "^dtype must be one of auto, float32, bfloat16, float16, got 'int'"),
        ({"quantize": "int3"}, "^quantize must be one of auto, none, int8, int4, got 'int3'"),
        ({"threads": -1}, "^threads must be a whole number from 0 to 256, got '-1'"),
    ],
)
def test_an_option_that_makes_no_sense_is_told_by_its_name(
    option: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        MusicGen.from_pretrained(**option)


def test_a_program_may_end_while_music_is_made(tiny_folder: Path) -> None:
    """It says nothing of that, and does not crash."""
    code = """
import sys
from musicgen_space import MusicGen
stream = MusicGen.from_pretrained(sys.argv[1]).stream("jazz", duration=300)
print(next(stream).shape)
"""
    done = run(code, str(tiny_folder))
    assert (done.stdout, done.stderr, done.returncode) == ("(1, 32000)\n", "", 0)


def test_without_torch_only_segmind_makes_music(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import sys
sys.modules["torch"] = None
from musicgen_space import BackendError, MusicGen, Segmind
print(Segmind("SG_0123456789abcdef"))
try:
    MusicGen.from_pretrained()
except BackendError as error:
    print(error)
"""
    lines = run(code).stdout.splitlines()
    assert lines[0] == "Segmind('meta-musicgen-medium')"
    assert lines[1].startswith("Making music on this machine needs torch, which is not installed")


def test_segmind_gives_the_same_take(segmind: LocalSegmind) -> None:
    hosted = Segmind(KEY, base_url=segmind.url)
    take = hosted.generate("lo-fi", duration=1, seed=7)
    assert (take.backend, take.request.seed, take.duration) == ("segmind", 7, 1)
    assert take.receipt is not None
    assert hosted.balance() == take.receipt.credits_left
    stream = hosted.stream("lo-fi", duration=1, seed=7)
    [chunk] = stream
    assert chunk is stream.take.samples
    assert stream.sample_rate == take.sample_rate


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"duration": 31}, "duration must be a number from 1 to 30 seconds on Segmind, got 31"),
        ({"top_k": 7}, "top_k can't be chosen on Segmind, got 7"),
        ({"continue_from": "song.wav"}, "continue_from can't be chosen on Segmind"),
    ],
)
def test_what_segmind_can_not_do_costs_nothing(
    segmind: LocalSegmind, field: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Segmind(KEY, base_url=segmind.url).generate("lo-fi", **field)
    assert segmind.account().billed == 0


def test_a_key_comes_from_the_environment_and_is_never_shown(
    segmind: LocalSegmind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEGMIND_API_KEY", raising=False)
    with pytest.raises(UnusableKey):
        Segmind()
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    hosted = Segmind(base_url=segmind.url)
    assert hosted.balance() > 0
    assert KEY not in repr(hosted) + repr(vars(hosted))


def test_a_key_is_not_sent_where_it_could_be_read_on_the_way() -> None:
    with pytest.raises(InvalidSetting, match=r"^base_url must be https"):
        Segmind(KEY, base_url="http://example.com")


def test_what_is_closed_makes_no_more(tiny_folder: Path) -> None:
    model = MusicGen.from_pretrained(tiny_folder)
    model.close()
    model.close()
    for make in (model.generate, model.stream, model.variations):
        with pytest.raises(BackendError, match="This MusicGen is closed"):
            make("jazz", duration=1)
