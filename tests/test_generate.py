from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen_space.engine import loader
from musicgen_space.engine.generate import MusicGen, Piece, generate
from musicgen_space.engine.quantise import HalfLinear
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest


def sound(pieces: list[Piece]) -> np.ndarray:
    """The first take: [channels, n]."""
    return np.concatenate([piece.samples for piece in pieces], axis=-1)[0]


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
    decode = tiny.decoder.decode

    def counted(*arguments: object) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return decode(*arguments)

    monkeypatch.setattr(tiny.decoder, "decode", counted)
    pieces = list(generate(tiny, MusicRequest("jazz", duration=10), lambda: steps >= 120))
    assert steps == 120
    made = sound(pieces)
    assert made.shape[1] == (121 - 3) * 640  # the frames whose four codes were all predicted


def test_a_stopped_take_is_the_beginning_of_the_whole(tiny: MusicGen) -> None:
    request = MusicRequest("jazz", duration=4)
    whole = sound(list(generate(tiny, request)))
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 150

    part = sound(list(generate(tiny, request, stopped)))
    settled = part.shape[1] - tiny.codec.lookahead * 640  # its end is a real end, here not
    assert np.abs(part[:, :settled] - whole[:, :settled]).max() < 1e-4


def test_a_stop_before_the_first_frame_yields_no_sound(tiny: MusicGen) -> None:
    assert list(generate(tiny, MusicRequest("jazz"), lambda: True)) == []


def test_half_precision_weights_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed weights against plain float32 ones, on the same checkpoint."""
    packed = loader.load(embedded_folder())
    if "fbgemm" in torch.backends.quantized.supported_engines:
        assert any(isinstance(module, HalfLinear) for module in packed.decoder.modules())
    monkeypatch.setattr(loader, "halve_lossless", lambda decoder: 0)
    plain = loader.load(embedded_folder())
    assert not any(isinstance(module, HalfLinear) for module in plain.decoder.modules())
    request = MusicRequest("upbeat funk with brass", duration=2)
    ours, theirs = (sound(list(generate(model, request))) for model in (packed, plain))
    assert np.abs(ours - theirs).max() < 1e-4


def test_weights_that_half_precision_would_bend_are_left_alone(tiny_folder: Path) -> None:
    model = loader.load(tiny_folder)
    assert not any(isinstance(module, HalfLinear) for module in model.decoder.modules())
