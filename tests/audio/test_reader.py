"""What libsndfile or ffmpeg can play is a sound file; of the rest it is said what it is."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from musicgen_space.audio import ffmpeg
from musicgen_space.audio.clips import CLIP_RATE, read_clip
from musicgen_space.audio.ffmpeg import run_ffmpeg
from musicgen_space.errors import UnreadableAudio

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
RATE = 44_100

# Name → how ffmpeg writes it.
FILES = {
    "riff.m4a": ["-c:a", "aac"],
    "riff.aac": ["-c:a", "aac"],  # ADTS: frames without a container
    "riff.aiff": [],
    "riff.caf": ["-c:a", "alac"],
    "riff.w64": [],
    "rf64.wav": ["-rf64", "always"],
    "riff.au": [],
    "riff.wma": [],
    "riff.amr": ["-ar", "8000", "-ac", "1", "-c:a", "libopencore_amrnb"],
    "riff.mka": ["-c:a", "flac"],
    "riff.mp2": [],
    "riff.ac3": [],
    "riff.wv": [],
    "riff.ts": ["-c:a", "aac"],
    "riff.avi": [],
    "mp3.wav": ["-c:a", "libmp3lame"],
    "riff.mp3": [],
    "riff.flac": [],
    "riff.wav": [],
    "enc.mp4": [
        *("-c:a", "aac", "-encryption_scheme", "cenc-aes-ctr"),
        *("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb"),
        *("-encryption_kid", "a7e61c373e219033c21091fa607bf3b8"),
    ],
}
PLAYED = [name for name in FILES if name != "enc.mp4"]


def riff() -> np.ndarray:
    """Eight seconds [samples, 2] in which no moment is like another."""
    time = np.arange(8 * RATE) / RATE
    return 0.4 * np.stack([np.sin(2 * np.pi * (200 + 20 * i * time) * time) for i in (1, 2)], 1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same riff in all formats."""
    folder = tmp_path_factory.mktemp("riffs")
    soundfile.write(folder / "source.wav", riff(), RATE)
    command = [FFMPEG, "-v", "error", "-i", "source.wav"]
    for name, options in FILES.items():
        command += [*options, name]
    subprocess.run(command, check=True, cwd=folder)
    return folder


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


# What is played.


@pytest.mark.parametrize("name", PLAYED)
def test_whatever_is_called_a_sound_file_is_played(name: str, folder: Path) -> None:
    clip = read_clip((folder / name).read_bytes())
    assert clip.duration == pytest.approx(8, abs=0.1)
    assert 0.3 < np.abs(clip.samples).max() < 0.6


@pytest.mark.parametrize(
    "before",
    [bytes(100), bytes(20_000), bytes(range(1, 9)) * 500, b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["zeros", "many zeros", "junk", "a header"],
)
def test_an_mp3_may_begin_late(before: bytes, folder: Path) -> None:
    data = (folder / "riff.mp3").read_bytes()
    frames = data[data.index(b"\xff\xfb") :]
    assert read_clip(before + frames).duration == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_may_be_without_its_sizes(size: int, folder: Path) -> None:
    """As recorders leave it that crash, or that stream."""
    data = bytearray((folder / "riff.wav").read_bytes())
    for place in (4, data.index(b"data") + 4):
        struct.pack_into("<I", data, place, size)
    assert read_clip(bytes(data)).duration == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize("name", ["riff.mp3", "riff.flac", "riff.wav", "riff.m4a", "riff.aac"])
def test_a_stretch_is_what_the_whole_has_there(name: str, folder: Path) -> None:
    whole, part = read_clip(folder / name), read_clip(folder / name, stretch=(3.25, 5.5))
    assert (part.start, part.duration) == (3.25, 2.25)
    assert likeness(part.samples[0], whole.cut(3.25, 5.5).samples[0]) > 0.999


@pytest.mark.parametrize("name", ["riff.wma", "riff.ac3", "riff.avi"])
def test_a_stretch_is_found_to_a_tenth_of_a_second_where_formats_are_no_more_exact(
    name: str, folder: Path
) -> None:
    whole, part = read_clip(folder / name), read_clip(folder / name, stretch=(3.25, 5.5))
    heard = part.samples[0, CLIP_RATE : CLIP_RATE + 3200]
    around = whole.samples[0, int(4.15 * CLIP_RATE) : int(4.45 * CLIP_RATE)]
    places = np.lib.stride_tricks.sliding_window_view(around, len(heard))
    assert max(likeness(heard, place) for place in places[::4]) > 0.9


def test_a_long_mp3_has_no_gaps(folder: Path) -> None:
    samples = read_clip(folder / "riff.mp3").samples[:, :250_000]
    assert np.abs(samples).reshape(2, -1, 1000).max(axis=2).min() > 0.2


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev/stdin")
def test_a_file_from_a_pipe_is_read() -> None:
    soundfile.write(file := io.BytesIO(), riff(), RATE, format="WAV")
    reading = "from pathlib import Path; from musicgen_space.audio.clips import read_clip;"
    reading += "print(read_clip(Path('/dev/stdin')).duration)"
    command = [sys.executable, "-c", reading]
    run = subprocess.run(command, input=file.getvalue(), stdout=subprocess.PIPE, check=True)
    assert run.stdout.split() == [b"8.0"]


# What is not, and why.


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "The file is empty."),
        (b"These are words.\n" * 100, "This is text and no sound."),
        ("Füße\r\n".encode("utf-16"), "This is text and no sound."),
        (b"<!DOCTYPE html><p>Not found", "This is a web page and no sound."),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "This is a picture and no sound."),
        (b"RIFF\x99\0\0\0WEBPVP8 " + bytes(99), "This is a picture and no sound."),
        (b"<?xml version='1.0'?>\n<svg width='9'/>", "This is a picture and no sound."),
        (b"%PDF-1.7\n" + bytes(99), "This is a PDF document and no sound."),
        (b"PK\x03\x04" + bytes(99), "This is an archive and no sound."),
        (b"MThd\0\0\0\x06" + bytes(99), "This is a MIDI file, which has notes, and no sound."),
        (b"#EXTM3U\nsong.wav\n", "This is a playlist, which only names other files, and no sound."),
        (bytes(range(1, 255)) * 40, "This is no sound file of any format that can be read here."),
        (b"RIFF\x24\0\0\0WAVEfmt ", "The WAV file can't be read: it is broken or cut short."),
        (b"\0\0\0\x20ftypM4A " + bytes(40), "The M4A file can't be read: it is broken or cut"),
    ],
)
def test_what_is_no_sound_is_told_by_what_it_is(data: bytes, complaint: str) -> None:
    with pytest.raises(UnreadableAudio, match=f"^{re.escape(complaint)}"):
        read_clip(data)


def test_where_a_file_breaks_is_said(folder: Path) -> None:
    data = (folder / "riff.flac").read_bytes()
    with pytest.raises(UnreadableAudio, match=r"FLAC file is broken or cut short after [45]\.\d s"):
        read_clip(data[: len(data) * 2 // 3])


def test_an_m4a_without_its_end_is_broken(folder: Path) -> None:
    data = (folder / "riff.m4a").read_bytes()
    with pytest.raises(UnreadableAudio, match="M4A file can't be read: it is broken or cut short"):
        read_clip(data[: len(data) // 2])


def test_a_file_full_of_errors_is_broken(folder: Path) -> None:
    data = bytearray((folder / "riff.m4a").read_bytes())
    data[1000:30_000] = np.random.default_rng(0).bytes(29_000)
    with pytest.raises(UnreadableAudio, match="M4A file is broken: more than a tenth of it"):
        read_clip(bytes(data))


def test_an_encrypted_song_is_told_as_such(folder: Path) -> None:
    with pytest.raises(UnreadableAudio, match="MP4 file is encrypted"):
        read_clip(folder / "enc.mp4")


def test_a_video_without_sound_is_told_as_such(tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-c:v", "mpeg4"]
    subprocess.run([FFMPEG, "-v", "error", *picture, tmp_path / "silent.mp4"], check=True)
    with pytest.raises(UnreadableAudio, match=r"MP4 file has no sound track\."):
        read_clip(tmp_path / "silent.mp4")


def test_a_file_that_takes_too_long_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output_at_once = partial(run_ffmpeg, limits=ffmpeg.ResourceLimits(seconds=0))
    monkeypatch.setattr("musicgen_space.audio.reader.run_ffmpeg", output_at_once)
    with pytest.raises(UnreadableAudio, match="M4A file takes longer than 0 s to read"):
        read_clip(folder / "riff.m4a")


# The fence: what a file says opens no other one.

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\n{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{}'\n",
}
ASKED = {"hls": ["-f", "hls"], "concat": ["-f", "concat", "-safe", "0"]}
PLAIN = ["-v", "quiet", "-map", "0:a:0", "-c:a", "pcm_s16le", "-f", "wav"]


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_can_not_open_another_file(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "list"
    path.write_text(PLAYLISTS[kind].format(folder / "riff.ts"))
    unfenced = [FFMPEG, *ASKED[kind], "-i", path, *PLAIN, "-"]
    assert len(subprocess.run(unfenced, stdout=subprocess.PIPE, check=True).stdout) > 1_000_000
    with pytest.raises(UnreadableAudio, match="a playlist, which only names other files"):
        read_clip(path)
    # Not even if it were not known for what it is, and then not even if its format were allowed.
    for formats in (ffmpeg._FORMATS, (*ffmpeg._FORMATS, kind)):
        monkeypatch.setattr(ffmpeg, "_FORMATS", formats)
        with (
            path.open("rb") as file,
            pytest.raises(subprocess.CalledProcessError),
            run_ffmpeg(file, ASKED[kind], PLAIN) as stream,
        ):
            assert stream.read() == b""


def test_nothing_is_drawn_or_received() -> None:
    sdp = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>"
    for data in (sdp, svg):
        with (
            pytest.raises(subprocess.CalledProcessError),
            run_ffmpeg(io.BytesIO(data), [], ["-f", "null"]) as stream,
        ):
            stream.read()
