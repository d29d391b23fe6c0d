"""A take's settings are found again in whatever other programs made of its file."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import imageio_ffmpeg
import mutagen
import mutagen.id3
import numpy as np
import pytest

from musicgen_space.audio.files import FORMATS, encode, read_settings, read_take, settings_of
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
RATE = 32_000
WISH = MusicRequest('a=b; "c" \\ # d: é, 音楽 🎵', seed=77, negative_prompt="é" * 900)
SOUND = np.sin(np.arange(RATE, dtype=np.float32) / 20)[None] / 2
TAKE = Take(SOUND, RATE, WISH, "local", "musicgen-nano", 1.0)

# What ffmpeg makes of a take's file, by the file's name, and how.
CONVERTED = {
    "take.wav": {"made.flac": [], "made.aiff": [], "made.mka": []},
    "take.mp3": {"made.m4a": [], "copied.mka": ["-c", "copy"], "made.wma": []},
    "take.flac": {"made.ogg": ["-c:a", "libvorbis"], "made.mp3": [], "made.wav": []},
    "take.ogg": {"made.opus": ["-c:a", "libopus"], "copied.webm": ["-c", "copy"]},
}
CASES = [(source, name) for source, made in CONVERTED.items() for name in made]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("takes")
    for ending in FORMATS:
        source = folder / f"take.{ending}"
        source.write_bytes(encode(TAKE, ending))
        command = [FFMPEG, "-v", "error", "-i", source.name, "-c", "copy", f"copy.{ending}"]
        for name, options in CONVERTED[source.name].items():
            command += [*options, name]
        subprocess.run(command, check=True, cwd=folder)
    return folder


def assert_found(source: bytes | Path) -> None:
    found = read_settings(source)
    assert found is not None
    assert found == settings_of(TAKE)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_that_another_program_copied_keeps_its_settings(ending: str, folder: Path) -> None:
    assert_found(folder / f"copy.{ending}")
    assert_found((folder / f"copy.{ending}").read_bytes())


@pytest.mark.parametrize(("source", "name"), CASES)
def test_a_file_in_another_format_keeps_its_settings(source: str, name: str, folder: Path) -> None:
    assert_found(folder / name)


def test_a_converted_file_is_the_take_it_was(folder: Path) -> None:
    take = read_take((folder / "made.m4a").read_bytes())
    assert take is not None
    assert (take.request, take.duration) == (WISH, pytest.approx(1, abs=0.05))


def test_other_comments_beside_ours_do_no_harm() -> None:
    file = io.BytesIO(encode(TAKE, "mp3"))
    tags = mutagen.id3.ID3(file)
    [ours] = tags.getall("COMM")
    tags.delall("COMM")
    for name, text in (("iTunNORM", " 000003FC 000003FC"), ("ID3v1", '{"prompt": cut')):
        tags.add(mutagen.id3.COMM(encoding=3, lang="eng", desc=name, text=text))
    tags.add(mutagen.id3.COMM(encoding=1, lang="deu", desc="Kommentar", text=ours.text))
    file.seek(0)
    tags.save(file)
    assert_found(file.getvalue())


def test_comments_that_were_joined_are_told_apart(folder: Path) -> None:
    file = io.BytesIO(encode(TAKE, "flac"))
    tags = mutagen.File(file)
    tags["comment"] = f"Nice! ;-) {{x}}; {tags['comment'][0]};rated {{5}}"
    file.seek(0)
    tags.save(file)
    assert_found(file.getvalue())


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_whose_tags_were_taken_out_has_no_settings(ending: str, folder: Path) -> None:
    command = [FFMPEG, "-v", "error", "-i", folder / f"take.{ending}", "-map_metadata", "-1"]
    bare = folder / f"bare.{ending}"
    subprocess.run([*command, "-map_metadata:s", "-1", "-c", "copy", bare], check=True)
    assert read_settings(bare) is None
