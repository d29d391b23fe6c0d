"""Cross-entropy and continuation, on the tiny checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.delay import DelayPattern
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.model import Condition
from musicgen_space.engine.placement import CPU
from training.measure.prediction import continued, cross_entropy

FRAMES = 12


@pytest.fixture(scope="module")
def exact(tiny_folder: Path) -> MusicGen:
    return load(tiny_folder, replace(CPU, native=False))


def random_codes(seed: int = 0) -> torch.Tensor:
    return torch.randint(64, (4, FRAMES), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_cross_entropy_is_that_of_one_column_after_the_other(exact: MusicGen) -> None:
    codes, decoder = random_codes(), exact.decoder
    pattern = DelayPattern(decoder.config.delays, FRAMES)
    sequence = pattern.build_sequence(codes[None], 64)
    condition = Condition(exact.text.encode(["jazz"]), rows=1)
    logits, cache = decoder.prefill(sequence[..., :1], condition, max_steps=pattern.steps)
    losses: list[list[float]] = [[], [], [], []]
    for step in range(1, pattern.steps + 1):
        likely = logits[0].log_softmax(dim=-1)
        for codebook, code in enumerate(sequence[0, :, step].tolist()):
            if code != 64:
                losses[codebook].append(-float(likely[codebook, code]))
        if step < pattern.steps:
            logits = decoder.decode(sequence[..., step], cache)
    assert {len(some) for some in losses} == {FRAMES}
    expected = torch.tensor(losses).mean(dim=1)
    torch.testing.assert_close(cross_entropy(exact, codes, "jazz"), expected, atol=1e-4, rtol=0)


def test_cross_entropy_depends_on_the_prompt(exact: MusicGen) -> None:
    codes = random_codes()
    one, other = (cross_entropy(exact, codes, prompt) for prompt in ("jazz", "sad piano"))
    assert not torch.allclose(one, other)


def test_a_continuation_keeps_what_was_given_and_is_the_likeliest(exact: MusicGen) -> None:
    codes = random_codes()
    longer = continued(exact, codes, "jazz", 6)
    assert longer.shape == (4, FRAMES + 6)
    assert torch.equal(longer[:, :FRAMES], codes)
    assert torch.equal(longer, continued(exact, codes, "jazz", 6))
    other = longer.clone()
    other[0, FRAMES] = (other[0, FRAMES] + 1) % 64  # its first guess: nothing was likelier
    first = slice(0, FRAMES + 1)
    guessed, changed = (cross_entropy(exact, some[:, first], "jazz")[0] for some in (longer, other))
    assert guessed < changed
