"""The native kernel against the decoder that it stands in for, and its own promises."""

from __future__ import annotations

import gc
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.model import Columns, Condition, Decoder, TextCondition
from musicgen_space.engine.runtimes.native.decoder import Mode, NativeDecoder, simd_levels
from musicgen_space.engine.sampling import Knobs, apply_guidance
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest
from tests.conftest import TORCH, the_kernel

PROMPT = "lo-fi music with a soothing melody"
COLUMNS = 36
PREFILLED = 21  # more than one block, and not a whole number of them


@pytest.fixture(
    scope="module", params=["tiny", "tiny_stereo", "tiny_melody", "tiny_stereo_melody", "nano"]
)
def model(request: pytest.FixtureRequest) -> MusicGen:
    if request.param == "nano":
        return load(embedded_folder(), TORCH)
    return load(request.getfixturevalue(f"{request.param}_folder"), TORCH)


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> MusicGen:
    return load(tiny_folder, TORCH)


@pytest.fixture(scope="module")
def nano() -> MusicGen:
    return load(embedded_folder(), TORCH)


def native(decoder: Decoder, mode: Mode, threads: int = 1, level: str = "") -> NativeDecoder:
    return NativeDecoder(decoder, mode, the_kernel(), threads, level)


def condition_of(model: MusicGen, takes: int = 1, **wish: Any) -> Condition:
    request = MusicRequest(PROMPT, variations=takes, negative_prompt="drums", **wish)
    return Conditioning(request, model.text, model.decoder.config, 32000).at(0)


def random_codes(model: MusicGen, takes: int = 1) -> torch.Tensor:
    config = model.decoder.config
    generator = torch.Generator().manual_seed(1)
    shape = (takes, config.codebooks, COLUMNS)
    return torch.randint(config.codebook_size + 1, shape, generator=generator)


@torch.inference_mode()
def all_logits(
    decoder: Decoder | NativeDecoder,
    codes: torch.Tensor,
    condition: Condition,
    prefilled: int = PREFILLED,
) -> torch.Tensor:
    """Teacher-forced logits after step ``prefilled`` − 1 and each one behind: [S, R, K, V]."""
    logits, cache = decoder.prefill(codes[..., :prefilled], condition, max_steps=codes.shape[-1])
    found = [logits]
    found += [decoder.decode(codes[..., step], cache) for step in range(prefilled, codes.shape[-1])]
    return torch.stack(found)


@pytest.mark.parametrize("threads", [1, 2])
def test_exact_logits_are_the_decoders_own(model: MusicGen, threads: int) -> None:
    codes, condition = random_codes(model, takes=2), condition_of(model, takes=2)
    expected = all_logits(model.decoder, codes, condition)
    found = all_logits(native(model.decoder, "exact", threads), codes, condition)
    assert torch.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("mode", "bound"), [("int8", 0.06), ("int4", 0.2)])
def test_few_bits_stay_close(model: MusicGen, mode: Mode, bound: float) -> None:
    codes, condition = random_codes(model), condition_of(model)
    expected = all_logits(model.decoder, codes, condition)
    found = all_logits(native(model.decoder, mode), codes, condition)
    assert (found - expected).norm() / expected.norm() < bound


@pytest.mark.parametrize("mode", ["exact", "int8", "int4"])
def test_each_variation_is_as_it_is_alone(model: MusicGen, mode: Mode) -> None:
    decoder = native(model.decoder, mode)
    codes = random_codes(model, takes=3)
    together = all_logits(decoder, codes, condition_of(model, takes=3))
    for take in range(3):
        alone = all_logits(decoder, codes[take : take + 1], condition_of(model))
        assert torch.equal(together[:, take::3], alone)


@pytest.mark.parametrize(("mode", "threads"), [("exact", 1), ("int8", 2), ("int4", 1)])
@torch.inference_mode()
def test_generations_that_are_advanced_together_get_what_each_gets_alone(
    model: MusicGen, mode: Mode, threads: int
) -> None:
    """By chance they take part or not, and read a column or some, also of a melody's prefix."""
    decoder, chance = native(model.decoder, mode, threads), random.Random(1)
    kinds = [{"takes": 1}, {"takes": 2}, {"takes": 1, "guidance_scale": 1.0}, {"takes": 4}]
    conditions = [condition_of(model, **kind) for kind in kinds]
    codes = [random_codes(model, kind["takes"])[..., : 9 + 9 * at] for at, kind in enumerate(kinds)]
    states, unread = [], []
    for condition, each in zip(conditions, codes, strict=True):
        state, prefix = decoder.start(condition, COLUMNS)
        states.append(state)
        unread.append(Columns(each, prefix))
    found: dict[int, torch.Tensor] = {}
    while left := [at for at, columns in enumerate(unread) if len(columns)]:
        here = chance.sample(left, chance.randint(1, len(left)))
        slices = [unread[at].split(chance.choice([1, 1, 7, 50])) for at in here]
        logits = decoder.step([states[at] for at in here], [first for first, _ in slices])
        for at, (_, rest), last in zip(here, slices, logits, strict=True):
            unread[at], found[at] = rest, last
    for at, (condition, each) in enumerate(zip(conditions, codes, strict=True)):
        alone, _ = decoder.prefill(each, condition, max_steps=COLUMNS)
        assert torch.equal(found[at], alone)


def test_a_step_that_fails_for_one_has_advanced_none(tiny: MusicGen) -> None:
    decoder, codes = native(tiny.decoder, "int8"), random_codes(tiny)
    (_, good), (_, full), (_, again) = (
        decoder.prefill(codes[..., :4], condition_of(tiny), max_steps=room) for room in (9, 4, 9)
    )
    column = Columns(codes[..., 4:5])
    with pytest.raises(ValueError, match="More steps"):
        decoder.step([good, full], [column, column])
    [expected] = decoder.step([again], [column])
    assert torch.equal(decoder.step([good], [column])[0], expected)


@pytest.mark.parametrize("mode", ["exact", "int8"])
def test_prefill_is_as_many_single_steps(model: MusicGen, mode: Mode) -> None:
    codes, condition = random_codes(model), condition_of(model)
    for level in simd_levels(the_kernel()):
        decoder = native(model.decoder, mode, level=level)
        whole = all_logits(decoder, codes, condition, prefilled=COLUMNS)
        steps = all_logits(decoder, codes, condition, prefilled=1)
        assert torch.equal(whole[-1], steps[-1])


@pytest.mark.parametrize("mode", ["exact", "int8", "int4"])
def test_the_number_of_threads_changes_nothing(model: MusicGen, mode: Mode) -> None:
    codes, condition = random_codes(model), condition_of(model)
    one, two, five = (
        all_logits(native(model.decoder, mode, threads), codes, condition) for threads in (1, 2, 5)
    )
    assert torch.equal(one, two)
    assert torch.equal(one, five)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_all_kinds_of_processors_agree(model: MusicGen, mode: Mode) -> None:
    codes, condition = random_codes(model), condition_of(model)
    names = simd_levels(the_kernel())
    first, *others = (
        all_logits(native(model.decoder, mode, level=name), codes, condition) for name in names
    )
    assert all(torch.equal(first, other) for other in others)


def test_an_unguided_row_reads_no_text(tiny: MusicGen) -> None:
    codes, condition = random_codes(tiny), condition_of(tiny)
    text = TextCondition(condition.text.states[:1], condition.text.mask[:1])
    guided = Condition(text, rows=2)
    expected = all_logits(tiny.decoder, codes, guided)
    assert torch.allclose(
        all_logits(native(tiny.decoder, "exact"), codes, guided), expected, atol=1e-3
    )


def test_a_generation_has_an_end_and_codes_are_checked(tiny: MusicGen) -> None:
    decoder, codes = native(tiny.decoder, "int8"), random_codes(tiny)
    _, cache = decoder.prefill(codes[..., :4], condition_of(tiny), max_steps=5)
    with pytest.raises(ValueError, match="out of the codebook"):
        decoder.decode(codes[..., 4] * 0 - 1, cache)
    decoder.decode(codes[..., 4], cache)
    with pytest.raises(ValueError, match="More steps"):
        decoder.decode(codes[..., 5], cache)


def test_memory_goes_with_the_generation(tiny: MusicGen) -> None:
    """A hundred long generations need no more memory than a few."""
    decoder, codes = native(tiny.decoder, "exact"), random_codes(tiny)

    def generations(count: int) -> float:
        for _ in range(count):
            decoder.prefill(codes, condition_of(tiny), max_steps=5000)
        gc.collect()
        return resident()

    before = generations(5)
    assert generations(100) < before + 30


def resident() -> float:
    """Memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    pytest.skip("no /proc here")


@torch.inference_mode()
def test_int8_predicts_nanos_own_music_as_well(nano: MusicGen) -> None:
    """Cross-entropy on codes that the exact decoder drew, within one per cent."""
    condition = condition_of(nano)
    codes = own_codes(nano, condition)

    def entropy(decoder: Decoder | NativeDecoder) -> float:
        logits = all_logits(decoder, codes, condition, prefilled=1)[:-1, :1]
        wanted = codes[0, :, 1:].T.flatten()
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 2), wanted))

    exact = entropy(native(nano.decoder, "exact"))
    assert entropy(nano.decoder) == pytest.approx(exact, rel=1e-4)
    assert entropy(native(nano.decoder, "int8")) == pytest.approx(exact, rel=0.01)


def own_codes(nano: MusicGen, condition: Condition) -> torch.Tensor:
    """Columns [1, K, 150] drawn from the model itself, with guidance."""
    decoder, generator = native(nano.decoder, "exact"), nano.sampler.generator(1)
    sequence = [torch.full((1, 4), 2048)]
    logits, cache = decoder.prefill(sequence[0][..., None], condition, max_steps=150)
    for _ in range(149):
        guided = apply_guidance(logits[:1], logits[1:], 3.0)
        sequence.append(nano.sampler.sample(guided, [generator], [Knobs()]))
        logits = decoder.decode(sequence[-1], cache)
    return torch.stack(sequence, dim=-1)
