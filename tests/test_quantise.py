"""The decoder in 8 bit predicts nearly what it does in single precision."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch.nn import functional

from musicgen_space.engine import loader
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.model import Condition, Decoder, Predictor, TextCondition
from musicgen_space.engine.onnx_decoder import OnnxDecoder, pack
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest
from tests.conftest import TORCH

FOLDERS = ["tiny_folder", "tiny_stereo_folder", "tiny_melody_folder", "tiny_stereo_melody_folder"]


@pytest.fixture(params=FOLDERS)
def pair(request: pytest.FixtureRequest) -> tuple[Decoder, OnnxDecoder]:
    """A random decoder and the same in 8 bit."""
    folder: Path = request.getfixturevalue(request.param)
    decoder = cast(Decoder, single_precision(folder).decoder)
    return decoder, in_8_bit(decoder)


def single_precision(folder: Path) -> MusicGen:
    """With torch's own float32 linears; the embedded checkpoint's would be halved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "halve_lossless", lambda decoder: 0)
        return loader.load(folder, TORCH)


def in_8_bit(decoder: Predictor) -> OnnxDecoder:
    mine = copy.deepcopy(cast(Decoder, decoder))
    return OnnxDecoder(mine, pack(mine), threads=1)


def codes_of(decoder: Predictor, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(decoder.config.codebook_size, shape, generator=generator)


def condition(decoder: Predictor, texts: int, rows: int) -> Condition:
    """Texts of different lengths, and a tune where one is wanted."""
    config, generator = decoder.config, torch.Generator().manual_seed(2)
    states = torch.randn(texts, 5, config.text_width, generator=generator)
    mask = torch.arange(5) < torch.arange(3, 3 + texts)[:, None]
    tune = torch.rand(rows, config.chroma_frames, config.chroma_bins, generator=generator)
    text = TextCondition(states * mask[..., None], mask)
    return Condition(text, rows, tune if config.follows_melody else None)


def distance(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return float((ours - exact).norm() / exact.norm())


@torch.inference_mode()
@pytest.mark.parametrize(("texts", "rows"), [(2, 4), (2, 2), (4, 6)])
def test_logits_are_nearly_those_of_single_precision(
    pair: tuple[Decoder, OnnxDecoder], texts: int, rows: int
) -> None:
    decoder, quantised = pair
    told, columns = (
        condition(decoder, texts, rows),
        codes_of(decoder, 2, decoder.config.codebooks, 9),
    )
    exact, their_state = decoder.prefill(columns[..., :4], told, columns=9)
    ours, our_state = quantised.prefill(columns[..., :4], told, columns=9)
    assert ours.shape == exact.shape
    assert 0 < distance(ours, exact) < 0.03
    for column in columns[..., 4:].unbind(-1):
        exact, ours = decoder.decode(column, their_state), quantised.decode(column, our_state)
        assert 0 < distance(ours, exact) < 0.03


@torch.inference_mode()
def test_reading_at_once_equals_reading_one_by_one(pair: tuple[Decoder, OnnxDecoder]) -> None:
    decoder, quantised = pair
    told, columns = condition(decoder, 2, 4), codes_of(decoder, 2, decoder.config.codebooks, 6)
    together, _ = quantised.prefill(columns, told, columns=6)
    alone, state = quantised.prefill(columns[..., :1], told, columns=6)
    for column in columns[..., 1:].unbind(-1):
        alone = quantised.decode(column, state)
    assert distance(together, alone) < 0.01


@torch.inference_mode()
def test_each_take_is_predicted_as_if_alone(pair: tuple[Decoder, OnnxDecoder]) -> None:
    decoder, quantised = pair
    told, columns = condition(decoder, 2, 4), codes_of(decoder, 2, decoder.config.codebooks, 6)
    together, _ = quantised.prefill(columns, told, columns=6)
    for take in range(2):
        text = TextCondition(told.text.states[[take]], told.text.mask[[take]])
        tune = None if told.tune is None else told.tune[[take, take + 2]]
        mine = Condition(text, 2, tune)
        alone, _ = quantised.prefill(columns[[take]], mine, columns=6)
        assert distance(alone, together[[take, take + 2]]) < 1e-3


@torch.inference_mode()
def test_generations_side_by_side_do_not_touch(pair: tuple[Decoder, OnnxDecoder]) -> None:
    decoder, quantised = pair
    told, columns = condition(decoder, 1, 2), codes_of(decoder, 1, decoder.config.codebooks, 3)
    first, state = quantised.prefill(columns, told, columns=9)
    quantised.prefill(columns.flip(-1), told, columns=9)
    expected, other = quantised.prefill(columns, told, columns=9)
    assert torch.equal(first, expected)
    column = columns[..., 0]
    assert torch.equal(quantised.decode(column, state), quantised.decode(column, other))


@torch.inference_mode()
def test_the_embedded_model_predicts_its_own_music_as_well() -> None:
    """Cross-entropy in nats a code, over codes that the model draws in single precision."""
    model = single_precision(embedded_folder())
    quantised = in_8_bit(model.decoder)
    encoded = model.text.encode(["upbeat funk with brass", "calm piano", "techno", "slow strings"])
    told = Condition(TextCondition(encoded.states, encoded.mask), 4)
    column = torch.full((4, 4, 1), model.decoder.config.special_token)
    exact, their_state = model.decoder.prefill(column, told, columns=100)
    ours, our_state = quantised.prefill(column, told, columns=100)
    losses = {"exact": 0.0, "8 bit": 0.0}
    torch.manual_seed(0)
    for _ in range(99):
        drawn = torch.multinomial(exact.flatten(0, 1).softmax(-1), 1)[:, 0]
        for name, logits in (("exact", exact), ("8 bit", ours)):
            losses[name] += float(functional.cross_entropy(logits.flatten(0, 1), drawn))
        exact = model.decoder.decode(drawn.view(4, 4), their_state)
        ours = quantised.decode(drawn.view(4, 4), our_state)
    assert abs(losses["8 bit"] / losses["exact"] - 1) < 0.01


def test_music_is_made_with_it_where_8_bits_are_wanted_without_a_compiler(
    tiny_folder: Path,
) -> None:
    model = loader.load(tiny_folder, replace(TORCH, quant="int8"))
    assert isinstance(model.decoder, OnnxDecoder)
    request = MusicRequest(prompt="a", duration=1, variations=2, seed=3)
    sounds = [piece.samples for piece in generate(model, request)]
    assert sum(sound.shape[-1] for sound in sounds) == 32_000
