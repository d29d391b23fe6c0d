from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.engine.sampling import Knobs, apply_guidance, sample


def draws(logits: list[float], count: int = 400, **knobs: float) -> set[int]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.tensor(logits).expand(1, count, len(logits))
    return set(sample(rows, [generator], [Knobs(**knobs)])[0].tolist())


def test_top_k_one_is_the_likeliest() -> None:
    assert draws([0.0, 3.0, 1.0], top_k=1) == {1}


def test_top_k_keeps_ties() -> None:
    assert draws([1.0, 1.0, 1.0, -9.0], top_k=2) == {0, 1, 2}


def test_top_k_may_exceed_the_codebook() -> None:
    assert draws([0.0, 0.0], top_k=250) == {0, 1}


def test_top_p_replaces_top_k() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert draws(logits, top_k=1, top_p=0.7) == {0, 1}
    assert draws(logits, top_k=1, top_p=1.0) == {0, 1, 2, 3}


def test_a_tiny_top_p_still_leaves_the_likeliest() -> None:
    assert draws([0.0, 2.0, 1.0], top_p=1e-9) == {1}


def test_low_temperature_calms() -> None:
    assert draws([0.0, 1.0], temperature=0.01) == {1}


@given(st.integers(0, 2**31 - 1))
def test_the_same_seed_draws_the_same_codes(seed: int) -> None:
    logits = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(3))
    first, second = (
        sample(logits, [torch.Generator().manual_seed(seed)], [Knobs()]) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_each_take_of_a_batch_draws_for_itself() -> None:
    logits = torch.randn(3, 4, 64, generator=torch.Generator().manual_seed(3))
    knobs = [Knobs(top_k=5), Knobs(top_p=0.5), Knobs(temperature=2)]
    together = sample(logits, [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)], knobs)
    for index, seed in enumerate((5, 6, 7)):
        generator = torch.Generator().manual_seed(seed)
        alone = sample(logits[index : index + 1], [generator], [knobs[index]])
        assert torch.equal(together[index], alone[0])


def test_guidance_of_one_is_the_prompt_alone_and_more_goes_beyond() -> None:
    conditional, unconditional = torch.tensor([2.0, 1.0]), torch.tensor([1.0, 1.0])
    assert torch.equal(apply_guidance(conditional, unconditional, 1.0), conditional)
    assert apply_guidance(conditional, unconditional, 3.0).tolist() == [4.0, 1.0]
