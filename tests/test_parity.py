"""It is MusicGen: ours equals transformers on the same weights, in float32.

Both a tiny random checkpoint and the embedded one are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, MusicgenForConditionalGeneration

from musicgen_space.engine.delay import DelayPattern
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.loader import load
from musicgen_space.engine.sampling import guide
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest
from tests.conftest import reference

PROMPT = "lo-fi music with a soothing melody"
STEPS = 220


@dataclass
class Pair:
    """The same checkpoint in both implementations."""

    ours: MusicGen
    theirs: MusicgenForConditionalGeneration
    folder: Path

    def inputs(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        return dict(
            AutoTokenizer.from_pretrained(self.folder)(prompts, padding=True, return_tensors="pt")
        )


@pytest.fixture(scope="module", params=["tiny", "nano"])
def pair(request: pytest.FixtureRequest, tiny_folder: Path) -> Pair:
    folder = tiny_folder if request.param == "tiny" else embedded_folder()
    return Pair(load(folder), reference(folder), folder)


def random_columns(pair: Pair, prompts: int = 1) -> torch.Tensor:
    """Codes in the delay pattern [B, K, STEPS + 1], as a take would have them."""
    config = pair.ours.decoder.config
    pattern = DelayPattern(config.codebooks, STEPS - config.codebooks + 1)
    columns = pattern.blank(config.special_token).repeat(prompts, 1, 1)
    generator = torch.Generator().manual_seed(1)
    for column in range(1, STEPS + 1):
        spoken = pattern.spoken(column)
        shape = columns[:, spoken, column].shape
        columns[:, spoken, column] = torch.randint(config.codebook_size, shape, generator=generator)
    return columns


@torch.inference_mode()
def their_logits(pair: Pair, prompts: list[str], columns: torch.Tensor) -> torch.Tensor:
    """Teacher-forced logits of transformers [B, K, S, V], without guidance."""
    rows = columns.flatten(0, 1)
    logits = pair.theirs(**pair.inputs(prompts), decoder_input_ids=rows).logits
    return logits.view(*columns.shape, -1)


@torch.inference_mode()
def test_logits_equal_with_guidance_over_many_steps(pair: Pair) -> None:
    columns = random_columns(pair)
    inputs = pair.inputs([PROMPT])
    # transformers' unconditional row: the text states are zeros and masked.
    states = pair.theirs.text_encoder(**inputs).last_hidden_state
    mask = inputs["attention_mask"]
    theirs = pair.theirs(
        encoder_outputs=(torch.cat([states, torch.zeros_like(states)]),),
        attention_mask=torch.cat([mask, torch.zeros_like(mask)]),
        decoder_input_ids=columns[0].repeat(2, 1),
    ).logits.view(2, 4, STEPS + 1, -1)

    text = pair.ours.text.encode([PROMPT])
    decoder = pair.ours.decoder
    logits, state = decoder.prefill(columns[:, :, :1], text, guided=True, columns=STEPS + 1)
    for column in range(1, STEPS + 1):
        expected = guide(theirs[:, :, column - 1], 3.0)
        assert torch.allclose(guide(logits, 3.0), expected, atol=1e-3), f"column {column}"
        logits = decoder.decode(columns[:, :, column], state)


@torch.inference_mode()
def test_prefill_equals_decoding_step_by_step(pair: Pair) -> None:
    columns = random_columns(pair)
    text = pair.ours.text.encode([PROMPT])
    decoder = pair.ours.decoder
    whole, _ = decoder.prefill(columns, text, guided=True, columns=STEPS + 1)
    logits, state = decoder.prefill(columns[:, :, :100], text, guided=True, columns=STEPS + 1)
    for column in range(100, STEPS + 1):
        logits = decoder.decode(columns[:, :, column], state)
    assert torch.allclose(logits, whole, atol=1e-3)


@torch.inference_mode()
def test_prompts_of_different_lengths_do_not_touch_each_other(pair: Pair) -> None:
    prompts = [PROMPT, "techno"]
    columns = random_columns(pair, prompts=2)
    text = pair.ours.text.encode(prompts)
    together, _ = pair.ours.decoder.prefill(columns, text, guided=False, columns=STEPS + 1)
    theirs = their_logits(pair, prompts, columns)[:, :, -1]
    assert torch.allclose(together, theirs, atol=1e-3)


def our_codes_and_sound(
    pair: Pair, request: MusicRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[torch.Tensor, np.ndarray]:
    codes: list[torch.Tensor] = []
    embed = pair.ours.codec.embed
    monkeypatch.setattr(pair.ours.codec, "embed", lambda part: codes.append(part) or embed(part))
    sound = np.concatenate([piece.samples for piece in generate(pair.ours, request)], axis=1)
    return torch.cat(codes, dim=1), sound


def their_codes_and_sound(
    pair: Pair, request: MusicRequest, monkeypatch: pytest.MonkeyPatch, **options: object
) -> tuple[torch.Tensor, np.ndarray]:
    codes: list[torch.Tensor] = []
    decode = pair.theirs.audio_encoder.decode

    def spy(audio_codes: torch.Tensor, **rest: object) -> object:
        codes.append(audio_codes)
        return decode(audio_codes, **rest)

    monkeypatch.setattr(pair.theirs.audio_encoder, "decode", spy)
    torch.manual_seed(request.seed)
    sound = pair.theirs.generate(
        **pair.inputs([request.prompt]),
        guidance_scale=request.guidance_scale,
        max_new_tokens=round(request.duration * 50) + 3,
        pad_token_id=pair.ours.decoder.config.special_token,
        **options,
    )
    return codes[0].flatten(0, 2), sound[0].numpy()


def test_greedy_codes_are_the_same(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    request = MusicRequest(PROMPT, duration=10.2, top_k=1)
    ours, _ = our_codes_and_sound(pair, request, monkeypatch)
    theirs, _ = their_codes_and_sound(pair, request, monkeypatch, do_sample=False)
    assert ours.shape == (4, 510)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("knobs", "options"),
    [
        ({}, {"top_k": 250}),
        ({"temperature": 0.7, "guidance_scale": 1.0}, {"top_k": 250, "temperature": 0.7}),
        ({"top_p": 0.8}, {"top_k": 0, "top_p": 0.8}),
    ],
    ids=["default", "unguided", "top-p"],
)
def test_a_seed_gives_the_same_music_as_transformers(
    pair: Pair,
    knobs: dict[str, float],
    options: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = MusicRequest(PROMPT, duration=2, seed=7, **knobs)
    ours, our_sound = our_codes_and_sound(pair, request, monkeypatch)
    theirs, their_sound = their_codes_and_sound(
        pair, request, monkeypatch, do_sample=True, **options
    )
    assert torch.equal(ours, theirs)
    assert np.abs(our_sound - their_sound).max() < 1e-4
