from __future__ import annotations

import time
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicgen_space.clip import Clip
from musicgen_space.engine.checkpoint import loader
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.generate import Generated, MusicGen, generate
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.half import HalfLinear
from musicgen_space.engine.runtimes.torch import runtime as torch_runtime
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest
from tests.conftest import TORCH


def sound(pieces: list[Generated]) -> np.ndarray:
    """The first take: [channels, n]."""
    return np.concatenate([piece.samples for piece in pieces], axis=-1)[0]


def noise(seconds: float = 1.0) -> Clip:
    samples = np.random.default_rng(1).normal(0, 0.2, (1, round(seconds * 32000)))
    return Clip(samples.astype(np.float32), 32000)


@pytest.fixture(scope="module")
def stereo(tiny_stereo_folder: Path) -> MusicGen:
    return loader.load(tiny_stereo_folder)


@pytest.fixture(scope="module")
def melody(tiny_melody_folder: Path) -> MusicGen:
    return loader.load(tiny_melody_folder)


@pytest.mark.parametrize("duration", [1.0, 1.02, 2.5, 3.1])
def test_the_take_is_as_long_as_asked(tiny: MusicGen, duration: float) -> None:
    pieces = list(generate(tiny, MusicRequest("jazz", duration=duration)))
    assert sound(pieces).shape == (1, round(duration * 50) * 640)
    assert pieces[-1].seconds == pytest.approx(duration)


def test_chunks_are_a_second_long_and_the_first_comes_while_the_rest_is_made(
    tiny: MusicGen,
) -> None:
    pieces = list(generate(tiny, MusicRequest("jazz", duration=8.5)))
    chunks = [piece for piece in pieces if piece.samples.size]
    assert [chunk.samples.shape[-1] for chunk in chunks] == [32000] * 8 + [16000]
    assert chunks[0].seconds < 4


def test_progress_is_reported_often_and_never_goes_back(tiny: MusicGen) -> None:
    seconds = [piece.seconds for piece in generate(tiny, MusicRequest("jazz", duration=3))]
    assert len(seconds) >= 30
    assert seconds == sorted(seconds)


def test_the_same_request_gives_the_same_samples(tiny: MusicGen) -> None:
    first, again, other = (
        sound(list(generate(tiny, MusicRequest("jazz", duration=2, seed=seed))))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_two_takes_at_a_time_do_not_touch_each_other(tiny: MusicGen) -> None:
    requests = [MusicRequest("jazz", duration=2, seed=seed) for seed in (1, 2)]
    alone = [sound(list(generate(tiny, request))) for request in requests]
    in_turn = zip_longest(*(generate(tiny, request) for request in requests))
    for pieces, before in zip(zip(*in_turn, strict=True), alone, strict=True):
        assert np.array_equal(sound([piece for piece in pieces if piece]), before)


def test_a_stop_takes_effect_before_the_next_step(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    step = tiny.decoder.step

    def counted(*arguments: Any) -> list[torch.Tensor]:
        nonlocal steps
        steps += 1
        return step(*arguments)

    monkeypatch.setattr(tiny.decoder, "step", counted)
    pieces = list(generate(tiny, MusicRequest("jazz", duration=10), lambda: steps >= 121))
    assert steps == 121
    made = sound(pieces)
    assert made.shape[1] == (121 - 3) * 640  # the frames whose four codes were all predicted


@pytest.mark.parametrize("further", range(6))
def test_a_stopped_take_is_the_beginning_of_the_whole(tiny: MusicGen, further: int) -> None:
    """Wherever it is stopped: one of these is just when a chunk went to the codec."""
    request = MusicRequest("jazz", duration=4)
    whole = sound(list(generate(tiny, request)))
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 100 + tiny.codec.lookahead + further

    part = sound(list(generate(tiny, request, stopped)))
    settled = part.shape[1] - tiny.codec.lookahead * 640  # its end is a real end, here not
    assert np.abs(part[:, :settled] - whole[:, :settled]).max() < 1e-4


def test_a_stop_before_the_first_frame_yields_no_sound(tiny: MusicGen) -> None:
    assert list(generate(tiny, MusicRequest("jazz"), lambda: True)) == []


def test_a_continued_clip_is_decoded_second_by_second(tiny: MusicGen) -> None:
    pieces = list(generate(tiny, MusicRequest("jazz", duration=1, continue_from=noise(3))))
    lengths = [piece.samples.shape[-1] for piece in pieces if piece.samples.size]
    assert lengths == [32000] * 4


@pytest.mark.parametrize("steps", range(1, 5))
def test_a_stop_before_anything_new_leaves_nothing_of_the_clip(tiny: MusicGen, steps: int) -> None:
    """The last of four codebooks is three steps late: the fourth step makes a frame."""
    told: list[int] = []
    request = MusicRequest("jazz", continue_from=noise(3))
    for piece in generate(tiny, request, lambda: len(told) >= steps, report_every=1):
        time.sleep(0.1)  # longer than EnCodec takes for the clip
        told.append(piece.samples.shape[-1])
    assert sum(told) == (0 if steps < 4 else (150 + 1) * 640)


def takes(model: MusicGen, **wish: Any) -> np.ndarray:
    """All takes of a request: [takes, channels, n]."""
    pieces = list(generate(model, MusicRequest("jazz", **{"duration": 2, **wish})))
    return np.concatenate([piece.samples for piece in pieces], axis=-1)


def codes_of(
    model: MusicGen, monkeypatch: pytest.MonkeyPatch, request: MusicRequest
) -> torch.Tensor:
    """All codes of a request [takes, K, T]."""
    codes: list[torch.Tensor] = []
    embed = model.codec.embed
    with monkeypatch.context() as patch:
        patch.setattr(model.codec, "embed", lambda part: codes.append(part) or embed(part))
        list(generate(model, request))
    return torch.cat(codes, dim=-1)


@pytest.mark.parametrize(
    ("checkpoint", "wish"),
    [
        ("tiny", {}),
        ("tiny", {"guidance_scale": 1.0, "top_p": 0.9}),
        ("tiny", {"negative_prompt": "drums", "blend_prompt": "slow sad piano"}),
        ("tiny", {"continue_from": noise()}),
        ("nano", {"negative_prompt": "drums", "blend_prompt": "slow sad piano"}),
    ],
    ids=["plain", "unguided", "three branches", "continued", "three branches by nano"],
)
def test_each_variation_is_what_it_would_be_alone(
    checkpoint: str,
    wish: dict[str, Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = request.getfixturevalue(checkpoint)
    together = MusicRequest("jazz", **{"duration": 1.5, "seed": 9997, "variations": 4, **wish})
    codes = codes_of(model, monkeypatch, together)
    for index, seed in enumerate((9997, 9998, 9999, 0)):
        alone = together.variation(index)
        assert (alone.seed, alone.variations) == (seed, 1)
        assert torch.equal(codes_of(model, monkeypatch, alone)[0], codes[index])
    assert len({take.numpy().tobytes() for take in codes}) == 4


def test_a_continued_take_begins_with_the_codes_of_the_clip(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = noise()
    request = MusicRequest("jazz", duration=2, continue_from=clip)
    codes = codes_of(tiny, monkeypatch, request)
    assert codes.shape == (1, 4, 50 + 100)
    assert torch.equal(codes[0, :, :50], tiny.encode(clip))
    assert [piece.seconds for piece in generate(tiny, request)][-1] == 2


def test_a_clip_of_any_rate_and_channels_is_continued(tiny: MusicGen, stereo: MusicGen) -> None:
    clip = Clip(np.repeat(noise().samples, 2, axis=0)[:, ::2], 16000)
    assert takes(tiny, continue_from=clip).shape == (1, 1, 3 * 32000)
    assert takes(stereo, continue_from=noise()).shape == (1, 2, 3 * 32000)


def test_a_clip_that_is_silent_in_mono_is_for_stereo_models_only(
    tiny: MusicGen, stereo: MusicGen, melody: MusicGen
) -> None:
    left = noise().samples
    clip = Clip(np.concatenate([left, -left]), 32000, "riff.wav")
    assert takes(stereo, continue_from=clip).shape == (1, 2, 3 * 32000)
    with pytest.raises(UnreadableAudio, match=r"riff\.wav can't be heard in mono"):
        takes(tiny, continue_from=clip)
    with pytest.raises(UnreadableAudio, match=r"riff\.wav can't be heard in mono"):
        takes(melody, melody=clip)


def test_a_blend_starts_as_one_prompt_and_ends_as_the_other(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is drawn by chance, each end takes the codes of its own prompt."""
    config = tiny.decoder.config
    request = MusicRequest("jazz", blend_prompt="slow sad piano", guidance_scale=2)
    blend = Conditioning(request, tiny.text, config, 32000)
    logits = torch.randn(3, 4, 64)
    first, second, empty = logits
    for progress, prompt in ((0.0, first), (1.0, second)):
        merged = blend.merge(logits, progress, request.guidance_scale)[0]
        assert torch.allclose(merged, empty + (prompt - empty) * 2, atol=1e-5)
    swapped = MusicRequest("slow sad piano", blend_prompt="jazz", top_k=1, duration=4)
    there = codes_of(tiny, monkeypatch, swapped)
    back = codes_of(tiny, monkeypatch, replace(swapped, prompt="jazz", blend_prompt=""))
    assert not torch.equal(there, back)


def test_a_negative_prompt_without_guidance_changes_nothing(tiny: MusicGen) -> None:
    plain = takes(tiny, guidance_scale=1)
    assert np.array_equal(takes(tiny, guidance_scale=1, negative_prompt="drums"), plain)


def test_a_melody_needs_a_checkpoint_that_can_follow_it(tiny: MusicGen) -> None:
    with pytest.raises(InvalidRequest, match="melody needs a melody checkpoint"):
        takes(tiny, melody=noise())


def test_a_long_take_is_made_in_windows_that_continue_each_other(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As AudioCraft does it: the second window continues the codes from 18 s on."""
    request = MusicRequest("jazz", duration=50, top_k=1, seed=3)
    codes = codes_of(tiny, monkeypatch, request)
    assert codes.shape == (1, 4, 2500)
    thirty = codes_of(tiny, monkeypatch, MusicRequest("jazz", duration=30, top_k=1, seed=3))
    assert torch.equal(codes[..., :1500], thirty)
    monkeypatch.setattr(MusicGen, "encode", lambda model, clip: codes[0, :, 900:1500])
    again = MusicRequest("jazz", duration=18, top_k=1, continue_from=noise())
    assert torch.equal(codes_of(tiny, monkeypatch, again), codes[..., 900:2400])


def test_a_window_hears_the_part_of_the_melody_that_belongs_to_it(melody: MusicGen) -> None:
    """A tune of 40 s: one note, then from 20 s on another; it starts again at its end."""
    time = np.arange(40 * 32000) / 32000
    note = np.where(time < 20, 440.0, 440.0 * 2 ** (6 / 12))
    tune = Clip(np.sin(2 * np.pi * note * time)[None].astype(np.float32), 32000)
    request = MusicRequest("jazz", melody=tune, duration=60)
    conditions = Conditioning(request, melody.text, melody.decoder.config, 32000)

    def heard(start: float) -> list[int]:
        condition = conditions.at(start)
        assert condition.chroma is not None
        assert condition.chroma.shape == (2, 235, 12)
        assert condition.chroma[1].argmax(-1).unique().tolist() == [0]  # guidance hears none
        return condition.chroma[0].argmax(-1).tolist()

    first, second = heard(0), heard(18)
    a, d_sharp = first[10], first[-10]
    assert a != d_sharp
    assert (second[5], second[30], second[-10]) == (a, d_sharp, a)


def test_half_precision_weights_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed weights against plain float32 ones, on the same checkpoint."""
    packed = loader.load(embedded_folder(), TORCH)
    if "fbgemm" in torch.backends.quantized.supported_engines:
        assert any(isinstance(module, HalfLinear) for module in packed.decoder.modules())
    monkeypatch.setattr(torch_runtime, "halve_lossless", lambda decoder: 0)
    plain = loader.load(embedded_folder(), TORCH)
    assert not any(isinstance(module, HalfLinear) for module in plain.decoder.modules())
    request = MusicRequest("upbeat funk with brass", duration=1)
    ours, theirs = (sound(list(generate(model, request))) for model in (packed, plain))
    assert np.abs(ours - theirs).max() < 1e-4


def test_weights_that_half_precision_would_bend_are_left_alone(tiny_folder: Path) -> None:
    model = loader.load(tiny_folder, TORCH)
    assert not any(isinstance(module, HalfLinear) for module in model.decoder.modules())


@pytest.mark.parametrize("quant", ["int8", "int4", "auto"])
def test_a_checkpoint_can_be_loaded_with_fewer_bits(tiny_melody_folder: Path, quant: str) -> None:
    model = loader.load(tiny_melody_folder, replace(CPU, quant=quant))
    assert takes(model, variations=2, melody=noise()).shape == (2, 1, 64000)
