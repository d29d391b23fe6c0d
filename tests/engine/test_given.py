"""A clip that is longer than what the model hears: it is the beginning of the take, as it is."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen_space.audio.joint import FADE_SECONDS
from musicgen_space.clip import Clip
from musicgen_space.engine.checkpoint import loader
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.generate import Generated, MusicGen, generate
from musicgen_space.errors import UnreadableAudio
from musicgen_space.request import MusicRequest
from tests.engine.test_generate import codes_of

RATE = 32_000
FADE = round(FADE_SECONDS * RATE)


def music(seconds: float, rate: int = RATE, channels: int = 1) -> Clip:
    """Notes that fade away, so that everywhere it sounds another way."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = 110 * 2 ** (np.floor(time * 2) % 12 / 12)
    tone = 0.4 * np.sin(2 * np.pi * pitch * time) * np.exp(-3 * (time % 0.5))
    return Clip(np.repeat(tone[None], channels, axis=0).astype(np.float32), rate, "song.wav")


def made(model: MusicGen, clip: Clip, **wish: float) -> list[Generated]:
    request = MusicRequest("jazz", **{"duration": 1, "continue_from": clip, **wish})
    return list(generate(model, request))


def joined(pieces: list[Generated]) -> np.ndarray:
    """[takes, channels, n]."""
    return np.concatenate([piece.samples for piece in pieces], axis=-1)


def test_all_of_a_long_clip_is_kept_as_it_is_until_shortly_before_the_new_music(
    tiny: MusicGen,
) -> None:
    clip = music(26.013)  # no whole number of frames
    takes = joined(made(tiny, clip, variations=2))
    length = clip.samples.shape[1]
    assert takes.shape == (2, 1, length + RATE)
    for take in takes:
        assert np.array_equal(take[:, : length - FADE], clip.samples[:, : length - FADE])
    assert np.isfinite(takes).all()
    assert not np.array_equal(*takes[..., length:])


def test_the_model_hears_the_end_of_it_as_if_that_had_been_cut_out(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = music(27)
    long, end = (
        MusicRequest("jazz", duration=7, continue_from=each) for each in (clip, clip.cut(4, 27))
    )
    assert torch.equal(codes_of(tiny, monkeypatch, long), codes_of(tiny, monkeypatch, end))
    whole, alone = (joined(list(generate(tiny, request))) for request in (long, end))
    assert np.array_equal(whole[..., 27 * RATE :], alone[..., 23 * RATE :])


def test_it_is_heard_in_chunks_of_a_second_before_what_is_new(tiny: MusicGen) -> None:
    pieces = made(tiny, music(26.5), duration=2)
    lengths = [piece.samples.shape[-1] for piece in pieces if piece.samples.size]
    assert lengths == [*[RATE] * 26, RATE // 2 - FADE, FADE, RATE, RATE]
    assert all(piece.seconds > 0 for piece in pieces if piece.samples.size)
    assert pieces[-1].seconds == 2


@pytest.mark.parametrize("steps", [3, 4])
def test_a_stop_before_anything_new_leaves_nothing_of_it(tiny: MusicGen, steps: int) -> None:
    told: list[int] = []
    request = MusicRequest("jazz", continue_from=music(26))
    for piece in generate(tiny, request, lambda: len(told) >= steps, report_every=1):
        time.sleep(0.1)  # longer than EnCodec takes for a second
        told.append(piece.samples.shape[-1])
    assert sum(told) == (0 if steps < 4 else 26 * RATE + 640)


@pytest.mark.parametrize("channels", [1, 2])
def test_its_rate_and_channels_become_those_of_the_model(
    tiny_stereo_folder: Path, channels: int
) -> None:
    stereo = loader.load(tiny_stereo_folder)
    takes = joined(made(stereo, music(26, 44_100, channels)))
    assert takes.shape == (1, 2, 27 * RATE)
    close = music(26, RATE, 2).samples[:, RATE : 25 * RATE]
    assert np.abs(takes[0, :, RATE : 25 * RATE] - close).mean() < 1e-3


def test_silence_at_its_end_can_not_be_continued_and_is_told_by_its_seconds(
    tiny: MusicGen,
) -> None:
    clip = music(30)
    clip.samples[:, 4 * RATE :] = 0
    with pytest.raises(UnreadableAudio, match=r"song\.wav has no sound .* from 5\.0 to 30\.0 s"):
        made(tiny, clip)


def test_a_melody_starts_with_the_take_and_not_with_what_is_heard_of_the_clip(
    tiny_melody_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds: list[float] = []
    at = Conditioning.at
    monkeypatch.setattr(Conditioning, "at", lambda self, s: seconds.append(s) or at(self, s))
    model = loader.load(tiny_melody_folder)
    request = MusicRequest("jazz", duration=1, continue_from=music(28), melody=music(1))
    assert sum(piece.samples.shape[-1] for piece in generate(model, request)) == 29 * RATE
    assert seconds == [3]
