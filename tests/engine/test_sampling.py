from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen_space.engine.runtimes.native.sampler import NativeSampler, native_sampler
from musicgen_space.engine.sampling import Knobs, Sampler, TorchSampler, apply_guidance
from tests.conftest import the_kernel

IN_TORCH = TorchSampler(torch.device("cpu"))
SAMPLERS = {"torch": IN_TORCH, "native": NativeSampler(the_kernel())}


@pytest.fixture(scope="module", params=SAMPLERS)
def sampler(request: pytest.FixtureRequest) -> Sampler:
    return SAMPLERS[request.param]


def draws(sampler: Sampler, logits: list[float], count: int = 400, **knobs: float) -> set[int]:
    rows = torch.tensor(logits).expand(1, count, len(logits))
    return set(sampler.sample(rows, [sampler.generator(0)], [Knobs(**knobs)])[0].tolist())


def test_top_k_one_is_the_likeliest(sampler: Sampler) -> None:
    assert draws(sampler, [0.0, 3.0, 1.0], top_k=1) == {1}


def test_top_k_keeps_ties(sampler: Sampler) -> None:
    assert draws(sampler, [1.0, 1.0, 1.0, -9.0], top_k=2) == {0, 1, 2}


def test_top_k_may_exceed_the_codebook(sampler: Sampler) -> None:
    assert draws(sampler, [0.0, 0.0], top_k=250) == {0, 1}


def test_top_p_replaces_top_k(sampler: Sampler) -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert draws(sampler, logits, top_k=1, top_p=0.7) == {0, 1}
    assert draws(sampler, logits, top_k=1, top_p=1.0) == {0, 1, 2, 3}


def test_a_tiny_top_p_still_leaves_the_likeliest(sampler: Sampler) -> None:
    assert draws(sampler, [0.0, 2.0, 1.0], top_p=1e-9) == {1}


def test_low_temperature_calms(sampler: Sampler) -> None:
    assert draws(sampler, [0.0, 1.0], temperature=0.01) == {1}


def test_what_is_impossible_is_not_drawn(sampler: Sampler) -> None:
    assert draws(sampler, [-torch.inf, 0.0, -torch.inf], top_k=2) == {1}


def test_each_take_of_a_batch_draws_for_itself(sampler: Sampler) -> None:
    logits = torch.randn(3, 4, 64, generator=torch.Generator().manual_seed(3))
    knobs = [Knobs(top_k=5), Knobs(top_p=0.5), Knobs(temperature=2)]
    together = sampler.sample(logits, [sampler.generator(seed) for seed in (5, 6, 7)], knobs)
    for index, seed in enumerate((5, 6, 7)):
        generator = sampler.generator(seed)
        alone = sampler.sample(logits[index : index + 1], [generator], [knobs[index]])
        assert torch.equal(together[index], alone[0])


@given(seed=st.integers(0, 2**31 - 1))
def test_the_same_seed_draws_the_same_codes(sampler: Sampler, seed: int) -> None:
    logits = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(3))
    first, second = (sampler.sample(logits, [sampler.generator(seed)], [Knobs()]) for _ in range(2))
    assert torch.equal(first, second)


KNOBS = st.builds(
    Knobs,
    temperature=st.floats(0.1, 2),
    top_k=st.integers(1, 2048),
    top_p=st.sampled_from([0.0, 0.0, 0.3, 0.9]),
)


@settings(derandomize=True)  # rounding decides between two that are equally near, in 10⁷ draws
@given(
    seed=st.integers(0, 2**32 - 1),
    codebooks=st.integers(1, 8),
    entries=st.sampled_from([1, 2, 64, 313, 2048]),
    knobs=KNOBS,
    coarse=st.booleans(),
)
def test_a_seed_draws_the_same_codes_in_the_kernel_and_in_torch(
    seed: int, codebooks: int, entries: int, knobs: Knobs, coarse: bool
) -> None:
    """Through several refills of the generator's state; ``coarse`` logits have many ties."""
    chance = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, 1, codebooks, entries, generator=chance)
    if coarse:
        logits = logits.round()

    def codes(sampler: Sampler) -> torch.Tensor:
        generators = [sampler.generator(seed)]
        return torch.stack([sampler.sample(each, generators, [knobs]) for each in logits])

    assert torch.equal(codes(SAMPLERS["native"]), codes(IN_TORCH))


def test_where_torch_draws_other_numbers_its_own_are_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(native_sampler(the_kernel()), NativeSampler)

    def others(self: TorchSampler, logits: torch.Tensor, *_: Sequence[object]) -> torch.Tensor:
        return torch.zeros(logits.shape[:-1], dtype=torch.int64)

    monkeypatch.setattr(TorchSampler, "sample", others)
    with caplog.at_level(logging.INFO):
        assert isinstance(native_sampler(the_kernel()), TorchSampler)
    assert "other random numbers" in caplog.text


def test_guidance_of_one_is_the_prompt_alone_and_more_goes_beyond() -> None:
    conditional, unconditional = torch.tensor([2.0, 1.0]), torch.tensor([1.0, 1.0])
    assert torch.equal(apply_guidance(conditional, unconditional, 1.0), conditional)
    assert apply_guidance(conditional, unconditional, 3.0).tolist() == [4.0, 1.0]
