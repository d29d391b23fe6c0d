"""It is MusicGen: ours equals transformers on the same weights, in float32.

Tiny random checkpoints of each kind (mono, stereo, melody, both) and the embedded one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from musicgen_space.clip import Clip
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.conditioners.chroma import empty_chroma, extract_chroma
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.delay import UNKNOWN, DelayPattern
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.model import Condition, Decoder
from musicgen_space.engine.runtimes.torch.decoder import SlotDecoder
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest
from tests.conftest import TORCH, Reference, reference

PROMPT = "lo-fi music with a soothing melody"
STEPS = 220
KINDS = ["tiny", "tiny_stereo", "tiny_melody", "tiny_stereo_melody", "nano"]


@dataclass
class Pair:
    """The same checkpoint in both implementations."""

    ours: MusicGen
    theirs: Reference
    folder: Path

    @property
    def melody(self) -> bool:
        return self.ours.decoder.config.follows_melody

    def inputs(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        return dict(
            AutoTokenizer.from_pretrained(self.folder)(prompts, padding=True, return_tensors="pt")
        )

    def condition(self, request: MusicRequest) -> Condition:
        config = self.ours.decoder.config
        return Conditioning(request, self.ours.text, config, 32000).at(0)


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest) -> Pair:
    nano = request.param == "nano"
    folder = embedded_folder() if nano else request.getfixturevalue(f"{request.param}_folder")
    return Pair(load(folder), reference(folder), folder)


def clip(channels: int = 1, seconds: float = 1.5) -> Clip:
    """A tune of four notes with some noise, at the models' own rate."""
    time = np.arange(round(seconds * 32000)) / 32000
    notes = np.array([220.0, 277.18, 329.63, 440.0])[(time * 4).astype(int) % 4]
    noise = np.random.default_rng(1).normal(0, 0.02, (channels, len(time)))
    return Clip((0.4 * np.sin(2 * np.pi * notes * time) + noise).astype(np.float32), 32000)


def random_sequence(pair: Pair, takes: int = 1) -> torch.Tensor:
    """Codes in the delay pattern [B, K, STEPS + 1], as takes would have them."""
    config = pair.ours.decoder.config
    pattern = DelayPattern(config.delays, STEPS - max(config.delays))
    nothing = torch.empty((takes, config.codebooks, 0), dtype=torch.int64)
    sequence = pattern.build_sequence(nothing, config.special_token)
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(config.codebook_size, sequence.shape, generator=generator)
    return torch.where(sequence == UNKNOWN, codes, sequence)


@torch.inference_mode()
def their_guided_logits(pair: Pair, sequence: torch.Tensor, tune: torch.Tensor) -> torch.Tensor:
    """Teacher-forced logits [2, K, S, V] with the prompt (and tune), and without."""
    inputs = pair.inputs([PROMPT])
    states = pair.theirs.text_encoder(**inputs).last_hidden_state
    mask = inputs["attention_mask"]
    rows = sequence[0].repeat(2, 1)
    if pair.melody:
        # As transformers' own generate puts it together.
        prepared = pair.theirs._prepare_encoder_hidden_states_kwargs_for_generation(
            inputs["input_ids"],
            {"attention_mask": mask, "input_features": tune[None]},
            "input_ids",
            pair.theirs.generation_config.__class__(guidance_scale=3.0),
        )
        states = prepared["encoder_hidden_states"]
        logits = pair.theirs.decoder(rows, encoder_hidden_states=states).logits
        logits = logits[:, -sequence.shape[-1] :]
    else:
        # The unconditional row: the text states are zeros and masked.
        logits = pair.theirs(
            encoder_outputs=(torch.cat([states, torch.zeros_like(states)]),),
            attention_mask=torch.cat([mask, torch.zeros_like(mask)]),
            decoder_input_ids=rows,
        ).logits
    return logits.view(2, *sequence.shape[1:], -1)


@pytest.mark.parametrize("in_slots", [False, True], ids=["", "in slots"])
@torch.inference_mode()
def test_logits_equal_over_many_steps(pair: Pair, in_slots: bool) -> None:
    sequence = random_sequence(pair)
    request = MusicRequest(PROMPT, melody=clip() if pair.melody else None)
    tune = extract_chroma(torch.from_numpy(clip().samples[0]), 32000, 12, 235)
    theirs = their_guided_logits(pair, sequence, tune)
    decoder, condition = pair.ours.decoder, pair.condition(request)
    if in_slots:  # as on a GPU
        plain = load(pair.folder, TORCH).decoder
        assert isinstance(plain, Decoder)
        decoder = SlotDecoder(plain, 2)
    logits, cache = decoder.prefill(sequence[:, :, :1], condition, max_steps=STEPS + 1)
    for step in range(1, STEPS + 1):
        assert torch.allclose(logits, theirs[:, :, step - 1], atol=1e-3), f"step {step}"
        logits = decoder.decode(sequence[:, :, step], cache)


@torch.inference_mode()
def test_prefill_equals_decoding_step_by_step(pair: Pair) -> None:
    sequence = random_sequence(pair)
    decoder, condition = pair.ours.decoder, pair.condition(MusicRequest(PROMPT))
    whole, _ = decoder.prefill(sequence, condition, max_steps=STEPS + 1)
    logits, cache = decoder.prefill(sequence[:, :, :100], condition, max_steps=STEPS + 1)
    for step in range(100, STEPS + 1):
        logits = decoder.decode(sequence[:, :, step], cache)
    assert torch.allclose(logits, whole, atol=1e-3)


@torch.inference_mode()
def test_prompts_of_different_lengths_do_not_touch_each_other(pair: Pair) -> None:
    if pair.melody:
        pytest.skip("transformers does not mask the text of melody models either")
    prompts = [PROMPT, "techno"]
    sequence = random_sequence(pair, takes=2)
    condition = Condition(pair.ours.text.encode(prompts), rows=2)
    together, _ = pair.ours.decoder.prefill(sequence, condition, max_steps=STEPS + 1)
    rows = sequence.flatten(0, 1)
    theirs = pair.theirs(**pair.inputs(prompts), decoder_input_ids=rows).logits
    assert torch.allclose(together, theirs.view(*sequence.shape, -1)[:, :, -1], atol=1e-3)


@torch.inference_mode()
def test_a_negative_prompt_takes_the_place_of_the_empty_one(pair: Pair) -> None:
    if pair.melody:
        pytest.skip("there both texts are padded to one length, as in transformers")
    sequence = random_sequence(pair)
    request = MusicRequest(PROMPT, negative_prompt="drums")
    ours, _ = pair.ours.decoder.prefill(sequence, pair.condition(request), max_steps=STEPS + 1)
    for row, prompt in enumerate((PROMPT, "drums")):
        theirs = pair.theirs(**pair.inputs([prompt]), decoder_input_ids=sequence[0]).logits
        assert torch.allclose(ours[row], theirs[:, -1], atol=1e-3)


def our_codes_and_sound(
    pair: Pair, request: MusicRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[torch.Tensor, np.ndarray]:
    """Codes [K, T], the channels' codebooks taking turns, and samples [channels, n]."""
    codes: list[torch.Tensor] = []
    embed = pair.ours.codec.embed
    monkeypatch.setattr(pair.ours.codec, "embed", lambda part: codes.append(part) or embed(part))
    pieces = list(generate(pair.ours, request))
    sound = np.concatenate([piece.samples for piece in pieces], axis=-1)
    by_channel = torch.cat(codes, dim=-1)  # [channels, K / channels, T]
    return by_channel.transpose(0, 1).flatten(0, 1), sound[0]


def their_codes_and_sound(
    pair: Pair, request: MusicRequest, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[torch.Tensor, np.ndarray]:
    codes: list[torch.Tensor] = []
    decode = pair.theirs.audio_encoder.decode

    def spy(audio_codes: torch.Tensor, **rest: object) -> object:
        codes.append(audio_codes)
        return decode(audio_codes, **rest)

    monkeypatch.setattr(pair.theirs.audio_encoder, "decode", spy)
    torch.manual_seed(request.seed)
    config = pair.ours.decoder.config
    sound = pair.theirs.generate(
        **pair.inputs([request.prompt]),
        guidance_scale=request.guidance_scale,
        max_new_tokens=round(request.duration * 50) + 3,
        pad_token_id=config.special_token,
        **options,
    )
    by_channel = torch.stack([part.flatten(0, 2) for part in codes], dim=1)
    return by_channel.flatten(0, 1), sound[0].numpy()


def test_greedy_codes_are_the_same(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 10.2 if pair.folder.name == "tiny" else 3
    request = MusicRequest(PROMPT, duration=seconds, top_k=1)
    ours, _ = our_codes_and_sound(pair, request, monkeypatch)
    theirs, _ = their_codes_and_sound(pair, request, monkeypatch, do_sample=False)
    assert ours.shape == (pair.ours.decoder.config.codebooks, round(seconds * 50))
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
def test_a_seed_gives_the_same_music(
    pair: Pair,
    knobs: dict[str, float],
    options: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = MusicRequest(PROMPT, duration=1, seed=7, **knobs)
    ours, our_sound = our_codes_and_sound(pair, request, monkeypatch)
    theirs, their_sound = their_codes_and_sound(
        pair, request, monkeypatch, do_sample=True, **options
    )
    assert torch.equal(ours, theirs)
    assert our_sound.shape == (pair.ours.decoder.config.channels, 32000)
    assert np.abs(our_sound - their_sound).max() < 1e-4


def test_a_seed_continues_a_clip_the_same_way(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    start = clip(pair.ours.decoder.config.channels)
    request = MusicRequest(PROMPT, duration=1, seed=7, continue_from=start)
    ours, our_sound = our_codes_and_sound(pair, request, monkeypatch)
    options: dict[str, Any] = {"input_values": torch.from_numpy(start.samples)[None]}
    if pair.melody:  # transformers' melody models take codes, not sound
        options = {"decoder_input_ids": pair.ours.encode(start)}
    theirs, their_sound = their_codes_and_sound(
        pair, request, monkeypatch, do_sample=True, top_k=250, **options
    )
    assert ours.shape[1] == 75 + 50
    assert torch.equal(ours, theirs)
    assert np.abs(our_sound - their_sound).max() < 1e-4


@pytest.mark.parametrize("pair", ["tiny_melody", "tiny_stereo_melody"], indirect=True)
def test_a_seed_follows_a_melody_the_same_way(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    request = MusicRequest(PROMPT, duration=2, seed=7, melody=clip())
    ours, our_sound = our_codes_and_sound(pair, request, monkeypatch)
    tune = extract_chroma(torch.from_numpy(clip().samples[0]), 32000, 12, 20)
    theirs, their_sound = their_codes_and_sound(
        pair, request, monkeypatch, do_sample=True, top_k=250, input_features=tune[None, :12]
    )
    assert torch.equal(ours, theirs)
    assert np.abs(our_sound - their_sound).max() < 1e-4
    plain, _ = our_codes_and_sound(pair, MusicRequest(PROMPT, duration=2, seed=7), monkeypatch)
    assert not torch.equal(ours, plain)


def test_no_tune_is_what_transformers_takes_for_none() -> None:
    assert empty_chroma(12, 3).tolist() == [[1.0] + [0.0] * 11] * 3
