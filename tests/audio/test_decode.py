"""Sound files become samples, whatever they are called; what is no sound is refused."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from musicgen_space.audio.clips import decode
from musicgen_space.audio.sniff import format_of
from musicgen_space.errors import UnreadableAudio

SUBTYPES = {"wav": "FLOAT", "flac": "PCM_24", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}


@pytest.mark.parametrize("kind", SUBTYPES)
@pytest.mark.parametrize(("channels", "sample_rate"), [(1, 32_000), (2, 44_100), (2, 48_000)])
def test_the_real_rate_and_channels_are_kept(kind: str, channels: int, sample_rate: int) -> None:
    samples, rate = decode(_file(_tone(channels, sample_rate), sample_rate, kind))
    assert rate == sample_rate
    assert samples.shape == (channels, sample_rate // 2)
    assert samples.dtype == np.float32


@pytest.mark.parametrize(("kind", "start"), [("wav", b"RIFF"), ("m4a", b"\0\0\0\x20ftypM4A ")])
def test_a_start_alone_is_no_file(kind: str, start: bytes) -> None:
    data = start + b"\0\0\0\0WAVE" if kind == "wav" else start + bytes(40)
    assert format_of(data) == kind
    with pytest.raises(UnreadableAudio):
        decode(data)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"<html>", b"\xff\xd8\xff\xe0", b"\xff\xfe<\0h\0"])
def test_other_bytes_are_no_sound(data: bytes) -> None:
    assert format_of(data) is None
    with pytest.raises(UnreadableAudio, match="empty" if not data else "and no sound"):
        decode(data)


def test_a_file_without_samples_is_refused() -> None:
    with pytest.raises(UnreadableAudio, match="no sound in it"):
        decode(_file(np.zeros((0, 1)), 32_000, "wav"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    samples = _tone(1, 32_000)
    samples[100] = value
    with pytest.raises(UnreadableAudio, match="no numbers"):
        decode(_file(samples, 32_000, "wav"))


def test_samples_beyond_full_scale_make_the_take_quieter() -> None:
    samples, _ = decode(_file(4 * _tone(1, 32_000), 32_000, "wav"))
    assert np.abs(samples - 2 * _tone(1, 32_000).T).max() < 1e-3


def test_a_long_mp3_has_no_gaps() -> None:
    """libsndfile's decoder falls silent where it is sought to, which soundfile does by itself."""
    long = np.tile(_tone(2, 48_000), (10, 1))
    samples, _ = decode(_file(long, 48_000, "mp3"))
    levels = np.abs(samples[:, 4_000:236_000]).reshape(2, -1, 1000).max(axis=2)
    assert levels.min() > 0.4


@pytest.mark.parametrize(("channels", "sample_rate"), [(9, 32_000), (1, 1), (1, 400_000)])
def test_unreasonable_files_are_refused(channels: int, sample_rate: int) -> None:
    with pytest.raises(UnreadableAudio, match=f"{channels} channels at {sample_rate} Hz"):
        decode(_file(np.zeros((100, channels)), sample_rate, "wav"))


def test_a_small_file_cannot_fill_the_memory() -> None:
    """Eighteen minutes of silence are a few kB of FLAC."""
    data = _file(np.zeros((35_000_000, 1), np.int16), 32_000, "flac")
    assert len(data) < 300_000
    with pytest.raises(UnreadableAudio, match="longer than any take"):
        decode(data)


def test_m4a_is_decoded_with_ffmpeg(tmp_path: Path) -> None:
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    source, target = tmp_path / "take.wav", tmp_path / "take.m4a"
    source.write_bytes(_file(_tone(2, 44_100), 44_100, "wav"))
    subprocess.run([ffmpeg, "-v", "error", "-i", source, target], check=True)
    samples, rate = decode(target.read_bytes())
    assert (rate, samples.shape[0]) == (44_100, 2)
    assert samples.shape[1] == pytest.approx(22_050, abs=2_048)  # AAC pads to whole frames


def test_m4a_without_ffmpeg_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise RuntimeError

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(UnreadableAudio, match="need ffmpeg"):
        decode(b"\0\0\0\x20ftypM4A " + bytes(40))


def _tone(channels: int, sample_rate: int) -> np.ndarray:
    """Half a second of 440 Hz: [samples, channels]."""
    seconds = np.arange(sample_rate // 2) / sample_rate
    return np.repeat(0.5 * np.sin(2 * np.pi * 440 * seconds)[:, None], channels, axis=1)


def _file(samples: np.ndarray, sample_rate: int, kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, SUBTYPES[kind], format=kind.upper())
    return file.getvalue()
