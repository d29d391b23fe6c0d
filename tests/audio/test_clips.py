"""Somebody's own sound files become clips; what is no sound, or too much of it, is refused."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen_space.audio.clips import CLIP_RATE, read_clip, read_upload
from musicgen_space.audio.files import FORMATS, encode, read_settings
from musicgen_space.audio.resample import convert, convert_audible
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take

# What libsndfile writes, and what ffmpeg does: ending → its options.
BY_LIBSNDFILE = {
    "wav": ("WAV", "PCM_24"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
BY_FFMPEG = {
    "m4a": ["-c:a", "aac"],
    "alac.m4a": ["-c:a", "alac"],
    "webm": ["-c:a", "libopus"],  # as Chrome and Firefox record
    "mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],  # as Safari records
}


def tone(
    seconds: float = 1.0, rate: int = 48_000, channels: int = 2, hertz: float = 440
) -> np.ndarray:
    """[samples, channels] of half of full scale."""
    time = np.arange(round(seconds * rate)) / rate
    return np.tile(0.5 * np.sin(2 * np.pi * hertz * time)[:, None], (1, channels))


def written(samples: np.ndarray, rate: int = 48_000, kind: str = "wav", subtype: str = "") -> bytes:
    container, usual = BY_LIBSNDFILE[kind]
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype or usual, format=container)
    return file.getvalue()


def converted(wav: bytes, folder: Path, ending: str, *options: str) -> bytes:
    source, target = folder / "source.wav", folder / f"target.{ending}"
    source.write_bytes(wav)
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([ffmpeg, "-v", "error", "-y", "-i", source, *options, target], check=True)
    return target.read_bytes()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A second of sound in every format that is read."""
    folder = tmp_path_factory.mktemp("sounds")
    ours = {kind: written(tone(), kind=kind) for kind in BY_LIBSNDFILE}
    theirs = {
        ending: converted(ours["wav"], folder, ending, *options)
        for ending, options in BY_FFMPEG.items()
    }
    return {**ours, **theirs}


def loudest(samples: np.ndarray) -> float:
    """The frequency of the strongest partial in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * CLIP_RATE / len(samples))


# What is read.


@pytest.mark.parametrize("kind", [*BY_LIBSNDFILE, *BY_FFMPEG])
def test_every_format_becomes_a_clip(kind: str, files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / f"song.{kind}"
    path.write_bytes(files[kind])
    clip = read_clip(path)
    assert (clip.name, clip.sample_rate, clip.samples.dtype) == (path.name, 32_000, np.float32)
    assert len(clip.samples) == 2
    assert clip.duration == pytest.approx(1.0, abs=0.05)  # AAC and Opus fill whole frames
    middle = clip.samples[0, 8000:24000]
    assert loudest(middle) == pytest.approx(440, abs=3)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / 2**0.5, rel=0.05)


@settings(max_examples=40)
@given(
    rate=st.integers(8_000, 192_000) | st.sampled_from([8_000, 32_000, 44_100, 96_000, 192_000]),
    channels=st.integers(1, 8),
    hertz=st.integers(100, 3_000),
    seconds=st.floats(0.3, 1.5),
)
def test_pitch_level_and_length_survive_any_rate_and_channels(
    rate: int, channels: int, hertz: int, seconds: float
) -> None:
    clip = read_clip(written(tone(seconds, rate, channels, hertz), rate))
    assert len(clip.samples) == min(channels, 2)
    assert clip.duration == pytest.approx(seconds, abs=1e-3)
    wanted = 0.5 * np.sin(2 * np.pi * hertz * np.arange(clip.samples.shape[1]) / CLIP_RATE)
    # The filter's ringing at an abrupt start and end is not compared.
    assert np.abs(clip.samples - wanted)[:, 3000:-3000].max(initial=0) < 2e-3


def test_sound_at_the_rate_of_clips_is_not_touched() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (200_000, 2)).astype(np.float32)
    clip = read_clip(written(samples, CLIP_RATE, subtype="FLOAT"))
    assert np.array_equal(clip.samples.T, samples)


@pytest.mark.parametrize(
    ("kind", "centre", "rear_left", "low"), [("flac", 2, 4, 3), ("ogg", 1, 3, 5)]
)
def test_six_channels_are_mixed_as_cinemas_order_them(
    kind: str, centre: int, rear_left: int, low: int
) -> None:
    def loudness(channel: int) -> list[float]:
        samples = tone(channels=6) * (np.arange(6) == channel)
        return [
            float(np.sqrt((side**2).mean()))
            for side in read_clip(written(samples, kind=kind)).samples
        ]

    left, right = loudness(centre)
    assert left == pytest.approx(right, rel=0.01)
    left, right = loudness(rear_left)
    assert left > 0.05
    assert right < 0.01
    with pytest.raises(UnreadableAudio, match="no sound"):  # the effects are no music
        loudness(low)


def test_a_file_whose_name_is_no_text_can_be_told_in_tags() -> None:
    clip = read_clip(written(tone()), "caf\udce9.wav")  # as os.fsdecode reads Latin-1
    assert clip.name == "caf?.wav"
    take = Take(clip.samples, 32_000, MusicRequest("jazz", continue_from=clip), "local", "any", 1.0)
    for kind in FORMATS:
        assert read_settings(encode(take, kind))


@pytest.mark.parametrize("called", ["song.mp3", "song.txt", "song.raw", "song"])
def test_the_content_says_what_a_file_is_not_its_name(called: str, tmp_path: Path) -> None:
    path = tmp_path / called
    path.write_bytes(written(tone(), kind="flac"))
    assert read_clip(path).duration == 1.0


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_giant_cover_picture_is_passed_over(kind: str) -> None:
    size = 20_000_000
    header = b"ID3\x04\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    clip = read_clip(header + bytes(size) + written(tone(), kind=kind))
    assert clip.duration == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0x7FFFFFFF, 10_000_000])
def test_a_wav_that_claims_more_than_it_has_is_as_long_as_it_is(claimed: int) -> None:
    data = written(tone())
    length = data.index(b"data") + 4
    clip = read_clip(data[:length] + struct.pack("<I", claimed) + data[length + 4 :])
    assert clip.duration == 1.0


def test_the_sound_track_of_a_video_is_heard(files: dict[str, bytes], tmp_path: Path) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-c:v", "mpeg4")
    assert read_clip(converted(files["wav"], tmp_path, "mp4", *picture)).duration > 0.9


@pytest.mark.parametrize("peak", [1.2, 3.6, 1e29])
def test_what_is_above_full_scale_is_made_quieter_as_a_whole_and_it_is_said(peak: float) -> None:
    clip = read_clip(written(2 * peak * tone(), CLIP_RATE, subtype="FLOAT"))
    assert np.abs(clip.samples - 2 * tone().T).max() < 1e-4
    decibels = 20 * np.log10(peak)
    assert str(clip.note) == (
        f"Its peaks were {decibels:.1f} dB above full scale, so all of it was made quieter."
    )
    assert clip.cut(0.2, 0.8).note == clip.note


@pytest.mark.parametrize("peak", [0.5, 1.0, 1.1])
def test_what_nobody_can_hear_of_it_is_not_said(peak: float) -> None:
    clip = read_clip(written(2 * peak * tone(), CLIP_RATE, subtype="FLOAT"))
    assert np.abs(clip.samples).max() == pytest.approx(min(peak, 1.0), abs=1e-4)
    assert clip.note is None


# What is not.


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (written(np.zeros((0, 1))), "no sound in it"),
        (written(np.zeros((48_000, 2))), "no sound in it, or none above −60 dBFS"),
        (written(tone() * 0.001), "no sound in it, or none above −60 dBFS"),
        (written(tone() * np.nan, subtype="FLOAT"), "samples that are no numbers"),
        (written(tone(), 384_000), "claims 2 channels at 384000 Hz; up to 8 at 8000 to 192000 Hz"),
        (written(tone(), 4_000), "claims 2 channels at 4000 Hz"),
        (written(tone(channels=12)), "claims 12 channels at 48000 Hz"),
    ],
    ids=lambda given: given if isinstance(given, str) else "WAV",  # in which there is the time
)
def test_what_is_wrong_with_a_sound_is_said(data: bytes, complaint: str) -> None:
    with pytest.raises(UnreadableAudio, match=re.escape(complaint)):
        read_clip(data)


def test_a_file_that_is_too_big_for_the_page_or_not_there_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAudio, match="can't be opened: No such file"):
        read_clip(tmp_path / "none.wav")
    with pytest.raises(UnreadableAudio, match="can't be opened: Is a directory"):
        read_clip(tmp_path)
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UnreadableAudio, match="too big: 50 MB are the most"):
        read_upload(tmp_path / "huge.wav")


@pytest.mark.parametrize("kind", ["flac", "alac.m4a"])
def test_ten_minutes_are_read_and_no_more(kind: str, tmp_path: Path) -> None:
    def lasting(seconds: int) -> bytes:
        samples = np.zeros((seconds * 8_000, 1))
        samples[1000] = 1.0
        flac = written(samples, 8_000, "flac")
        return flac if kind == "flac" else converted(flac, tmp_path, kind, *BY_FFMPEG[kind])

    assert read_clip(lasting(600)).duration == pytest.approx(600, abs=0.001)
    with pytest.raises(UnreadableAudio, match="longer than 10 minutes"):
        read_clip(lasting(601))


@pytest.mark.skipif(sys.platform == "win32", reason="the module resource is Unix's")
def test_a_small_file_of_much_sound_takes_little_memory(tmp_path: Path) -> None:
    """Forty seconds of 8 channels at 192 kHz are 246 MB as float32."""
    path = tmp_path / "silence.flac"
    with soundfile.SoundFile(path, "w", 192_000, 8, "PCM_16") as writer:
        second = np.zeros((192_000, 8), np.int16)
        second[::1000] = 30_000
        for _ in range(40):
            writer.write(second)
    code = f"""
import resource
from pathlib import Path
from musicgen_space.audio.clips import read_clip
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert read_clip(Path({str(path)!r})).duration == 40
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100


# Whatever the bytes are, the end is a clip or a clear error.


def clip_or_error(data: bytes) -> None:
    try:
        clip = read_clip(data)
    except UnreadableAudio:
        return
    assert np.isfinite(clip.samples).all()
    assert np.abs(clip.samples).max() <= 1.0
    assert clip.duration < 601


KINDS = st.sampled_from([*BY_LIBSNDFILE, *BY_FFMPEG])
SPOTS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1)


@settings(max_examples=25)
@given(KINDS, st.floats(0, 1))
def test_cut_files_do_no_harm(files: dict[str, bytes], kind: str, share: float) -> None:
    clip_or_error(files[kind][: int(share * len(files[kind]))])


@settings(max_examples=50)
@given(KINDS, SPOTS, st.booleans())
def test_damaged_files_do_no_harm(
    files: dict[str, bytes], kind: str, spots: list[tuple[float, int]], in_the_header: bool
) -> None:
    data = bytearray(files[kind])
    reach = 300 if in_the_header else len(data)
    for place, value in spots:
        data[int(place * reach)] = value
    clip_or_error(bytes(data))


@settings(max_examples=35)
@given(KINDS, st.integers(4, 200), st.binary(max_size=2000))
def test_random_bytes_after_a_good_beginning_do_no_harm(
    files: dict[str, bytes], kind: str, kept: int, noise: bytes
) -> None:
    clip_or_error(noise)
    clip_or_error(files[kind][:kept] + noise)


# What is done with clips.


@pytest.mark.parametrize(("rate", "channels"), [(32_000, 1), (44_100, 2), (16_000, 2)])
@pytest.mark.parametrize("held", [1, 2])
def test_a_clip_fits_what_the_engine_needs(rate: int, channels: int, held: int) -> None:
    sides = np.array([[1.0], [0.5]])[:held]
    clip = Clip((tone(1, CLIP_RATE, held).T * sides).astype(np.float32), CLIP_RATE)
    fitted = convert(clip, rate, channels)
    assert (fitted.shape, fitted.dtype) == ((channels, rate), np.float32)
    assert fitted.flags.c_contiguous
    assert fitted.flags.writeable  # or torch warns
    level = np.abs(fitted[:, 1000:-1000]).max(axis=1)
    wanted = sides.mean(axis=0) if channels == 1 else np.broadcast_to(sides[:, 0], 2)
    assert level == pytest.approx(0.5 * wanted, abs=0.003)


UPSIDE_DOWN = np.array([[1.0], [-1.0]])


@pytest.mark.parametrize("left_over", [0.0, 0.005])  # none, or what lossy formats leave
def test_channels_that_cancel_each_other_are_heard_in_stereo_only(left_over: float) -> None:
    samples = (tone(1, CLIP_RATE).T * UPSIDE_DOWN).astype(np.float32)
    samples[0] *= 1 + left_over
    clip = read_clip(written(samples.T, CLIP_RATE, subtype="FLOAT"), "riff.wav")
    assert np.array_equal(convert_audible(clip, CLIP_RATE, 2), clip.samples)
    with pytest.raises(
        UnreadableAudio, match=r"riff\.wav can't be heard in mono.* channels cancel"
    ):
        convert_audible(clip, CLIP_RATE, 1)


def test_a_wide_stereo_sound_is_heard_in_mono() -> None:
    left, right = np.random.default_rng(0).normal(0, 0.1, (2, CLIP_RATE))
    clip = Clip(np.stack([left + 0.1 * right, 0.1 * right - left]).astype(np.float32), CLIP_RATE)
    assert convert_audible(clip, CLIP_RATE, 1).any()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_silent_stretch_of_a_sound_is_refused(channels: int) -> None:
    samples = tone(4, CLIP_RATE).T.astype(np.float32)
    samples[:, CLIP_RATE : 2 * CLIP_RATE] = 0
    clip = Clip(samples, CLIP_RATE, "song.mp3")
    with pytest.raises(UnreadableAudio, match=r"song\.mp3 has no sound .* from 1\.2 to 1\.8 s"):
        convert_audible(clip.cut(1.2, 1.8), CLIP_RATE, channels)
    assert convert_audible(clip, CLIP_RATE, channels).any()


def test_a_stretch_of_a_clip_knows_where_it_was() -> None:
    clip = Clip(tone(4, CLIP_RATE, 1).T.astype(np.float32), CLIP_RATE, "song.mp3")
    stretch = clip.cut(1, 3.5).cut(0.5, 1)
    assert (stretch.name, stretch.start, stretch.duration) == ("song.mp3", 1.5, 0.5)
    assert np.array_equal(stretch.samples, clip.samples[:, 48_000:64_000])
    assert stretch.digest != clip.digest


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 2), (3, 2), (0, 5), (0, float("nan"))])
def test_a_stretch_outside_of_a_clip_is_refused(start: float, end: float) -> None:
    clip = Clip(tone(4, CLIP_RATE, 1).T.astype(np.float32), CLIP_RATE)
    with pytest.raises(InvalidRequest, match="a stretch within 0 to 4"):
        clip.cut(start, end)


@pytest.mark.parametrize(
    ("samples", "heard"),
    [
        (np.array([0.0, 0.5, -1.0]), [[0, 0.5, -1]]),
        (np.array([[0.25, -0.25]], np.float64), [[0.25, -0.25]]),
        (np.array([16384, -32768], np.int16), [[0.5, -1]]),
    ],
    ids=["one channel", "doubles", "16 bits"],
)
def test_sound_of_other_libraries_is_a_clip(samples: np.ndarray, heard: list[list[float]]) -> None:
    clip = Clip(samples, 8000)
    assert clip.samples.dtype == np.float32
    assert clip.samples.tolist() == heard


@pytest.mark.parametrize(
    ("samples", "rate", "complaint"),
    [
        (np.zeros((8000, 2)), 8000, r"samples must be \[channels, samples\].*\(8000, 2\)"),
        (np.array([0.0, np.nan]), 8000, "samples must be finite numbers"),
        (np.array(["la"]), 8000, "samples must be finite numbers"),
        (np.zeros(8), 0, "sample_rate must be a whole number of Hz above 0, got 0"),
    ],
)
def test_what_is_no_sound_is_no_clip(samples: np.ndarray, rate: int, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        Clip(samples, rate)
