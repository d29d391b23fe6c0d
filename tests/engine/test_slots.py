"""Takes in slots, as a GPU computes them: each as the plain decoder does, whoever is beside it."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.model import Columns, Condition
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.registry import choose_runtime
from musicgen_space.engine.runtimes.torch import slots
from musicgen_space.engine.runtimes.torch.decoder import SlotDecoder
from musicgen_space.engine.scheduler.events import Failed
from musicgen_space.engine.scheduler.scheduler import Making, Scheduler
from musicgen_space.request import MusicRequest
from tests.conftest import TORCH
from tests.engine.test_generate import noise

ROUNDING = 1e-4  # of logits; what a sum in another order may change
REQUESTS = [
    MusicRequest("jazz", duration=1, seed=1),
    MusicRequest("a lullaby of bells", duration=1, seed=2, guidance_scale=1, top_k=20),
    MusicRequest("rain", duration=1, seed=3, blend_prompt="a storm of drums", top_p=0.5),
    MusicRequest("funk", duration=1, seed=4, variations=3, top_k=5),
    MusicRequest("techno", duration=1.2, seed=5, temperature=1.3, negative_prompt="drums"),
]


@pytest.fixture(scope="module", autouse=True)
def small_units() -> Iterator[None]:
    """So that short takes are in several reaches, and slots have to grow in every direction."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "_POSITIONS", 16)
        patch.setattr(slots, "_TOKENS", 2)
        yield


@pytest.fixture(scope="module", params=["tiny", "tiny_stereo_melody"])
def model(request: pytest.FixtureRequest) -> MusicGen:
    return load(request.getfixturevalue(f"{request.param}_folder"), TORCH)


@pytest.fixture(scope="module")
def plain(tiny_folder: Path) -> MusicGen:
    return load(tiny_folder, TORCH)


def in_slots(model: MusicGen, count: int, **options: Any) -> MusicGen:
    return replace(model, decoder=SlotDecoder(model.decoder, count, **options))


def condition(model: MusicGen, request: MusicRequest) -> Condition:
    return Conditioning(request, model.text, model.decoder.config, 32_000).at(0)


def codes(model: MusicGen, takes: int, count: int, seed: int = 0) -> torch.Tensor:
    config, chance = model.decoder.config, torch.Generator().manual_seed(seed)
    return torch.randint(config.codebook_size, (takes, config.codebooks, count), generator=chance)


class Take:
    """One that reads given codes: in slots, and by itself in the plain decoder."""

    def __init__(self, model: MusicGen, decoder: SlotDecoder, number: int) -> None:
        request = REQUESTS[number % len(REQUESTS)]
        self._decoder = model.decoder
        read = codes(model, request.variations, 40 + number, number)
        conditioned = condition(model, request)
        (self.state, prefix), (self._alone, _) = (
            each.start(conditioned, 40 + number) for each in (decoder, model.decoder)
        )
        self.unread = Columns(read, prefix)

    def expected(self, columns: Columns) -> torch.Tensor:
        return self._decoder.step([self._alone], [columns])[0]


def read_together(decoder: SlotDecoder, takes: list[Take], counts: list[int]) -> None:
    """Each reads so many columns, in one step, and gets the logits of the plain decoder."""
    slices = [take.unread.split(count) for take, count in zip(takes, counts, strict=True)]
    together = decoder.step([take.state for take in takes], [now for now, _ in slices])
    for take, (now, rest), logits in zip(takes, slices, together, strict=True):
        assert torch.allclose(logits, take.expected(now), atol=ROUNDING)
        take.unread = rest


@settings(max_examples=15)
@given(data=st.data())
@torch.inference_mode()
def test_each_gets_the_logits_of_the_plain_decoder_whoever_else_takes_part(
    model: MusicGen, data: st.DataObject
) -> None:
    """They come and go, read one column or many, wait, and find slots or none."""
    decoder = SlotDecoder(model.decoder, data.draw(st.integers(1, 8)))
    here: list[Take] = []
    for number in range(data.draw(st.integers(2, 6))):
        here.append(Take(model, decoder, number))
        for _ in range(data.draw(st.integers(1, 12))):
            taking_part = [each for each in here if data.draw(st.booleans()) and len(each.unread)]
            counts = [
                min(len(each.unread), data.draw(st.sampled_from([1, 1, 1, 7])))
                for each in taking_part
            ]
            if taking_part:
                read_together(decoder, taking_part, counts)
        if data.draw(st.booleans()):
            here.pop(data.draw(st.integers(0, len(here) - 1)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_is_that_of_the_plain_decoder(tiny_folder: Path, dtype: torch.dtype) -> None:
    model = load(tiny_folder, replace(TORCH, dtype=dtype))
    decoder = SlotDecoder(model.decoder, 4)
    takes = [Take(model, decoder, number) for number in (0, 2)]
    for _ in range(20):
        reads = [take.unread.split(1) for take in takes]
        logits = decoder.step([take.state for take in takes], [now for now, _ in reads])
        for take, (now, rest), found in zip(takes, reads, logits, strict=True):
            expected = take.expected(now)
            assert float((found - expected).abs().max() / expected.abs().max()) < 0.05
            take.unread = rest


def make(model: MusicGen, wanted: list[tuple[MusicRequest, int]]) -> list[Making]:
    """Requests, each some steps after the one before."""
    with Scheduler(model) as scheduler:
        makings = []
        for request, pause in wanted:
            makings.append(scheduler.add(request))
            for _ in range(pause):
                assert not any(isinstance(event, Failed) for event in scheduler.step())
        while scheduler.busy:
            assert not any(isinstance(event, Failed) for event in scheduler.step())
    return makings


def made_in_one_bucket(model: MusicGen, wanted: list[tuple[MusicRequest, int]]) -> list[Making]:
    """And one reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "bucket", lambda _, most: most)
        patch.setattr(slots, "_POSITIONS", 128)
        return make(in_slots(model, 16), wanted)


@pytest.fixture(scope="module")
def alone(plain: MusicGen) -> dict[int, torch.Tensor]:
    """The codes of each request by itself, by its seed."""
    made = {each.seed: made_in_one_bucket(plain, [(each, 0)]) for each in REQUESTS}
    return {seed: making.generation.codes for seed, [making] in made.items()}


@settings(max_examples=6)
@given(data=st.data())
def test_takes_that_come_and_go_get_the_codes_that_they_get_alone_bit_by_bit(
    plain: MusicGen, alone: dict[int, torch.Tensor], data: st.DataObject
) -> None:
    """In the same bucket: in another one, a matrix product may round differently."""
    which = st.tuples(st.sampled_from(REQUESTS), st.integers(0, 40))
    wanted = data.draw(st.lists(which, min_size=2, max_size=4))
    makings = made_in_one_bucket(plain, wanted)
    for (request, _), making in zip(wanted, makings, strict=True):
        assert torch.equal(making.generation.codes, alone[request.seed])


def test_takes_after_a_clip_and_of_a_tune_are_those_of_the_plain_decoder(
    model: MusicGen,
) -> None:
    """Greedily, where rounding can't tip a draw."""
    tune = noise(1.0) if model.decoder.config.follows_melody else None
    request = MusicRequest("jazz", duration=1, top_k=1, melody=tune, continue_from=noise(0.7))
    [ours], [theirs] = (make(each, [(request, 0)]) for each in (in_slots(model, 4), model))
    assert torch.equal(ours.generation.codes, theirs.generation.codes)


@torch.inference_mode()
def test_a_slot_is_free_again_when_nobody_has_its_take(plain: MusicGen) -> None:
    decoder = SlotDecoder(plain.decoder, 4)
    wanted = condition(plain, REQUESTS[0])
    assert decoder.spare_bytes == 0
    first, second = (decoder.start(wanted, 50)[0] for _ in range(2))
    assert decoder.spare_bytes == 0
    memory = first.self_attn[0].data_ptr()
    del first
    gc.collect()
    spare = decoder.spare_bytes
    third, _ = decoder.start(wanted, 50)
    assert third.self_attn[0].data_ptr() == memory
    assert spare > third.self_attn[0].nbytes
    assert decoder.spare_bytes == 0
    assert second.self_attn[0].data_ptr() != memory


@pytest.mark.parametrize("free", [0, 10**12], ids=["of memory", "of slots"])
@torch.inference_mode()
def test_who_finds_none_free_has_memory_of_its_own(
    plain: MusicGen, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "free_bytes", lambda device: free)
    decoder = SlotDecoder(plain.decoder, 1)
    takes = [Take(plain, decoder, 0) for _ in range(2)]
    for _ in range(3):
        read_together(decoder, takes, [1] * len(takes))


@torch.inference_mode()
def test_memory_that_ends_while_slots_grow_leaves_those_that_are_there(
    plain: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = SlotDecoder(plain.decoder, 8)
    take = Take(plain, decoder, 0)

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(slots, "Buffers", type("Full", (slots.Buffers,), {"__init__": full}))
    other = Take(plain, decoder, 1)
    for each in (take, other):
        now, _ = each.unread.split(1)
        [logits] = decoder.step([each.state], [now])
        assert torch.allclose(logits, each.expected(now), atol=ROUNDING)


@torch.inference_mode()
def test_more_steps_than_there_are_positions_fail_and_no_other_take_moves_on(
    plain: MusicGen,
) -> None:
    decoder = SlotDecoder(plain.decoder, 4)
    short, long = (
        decoder.start(condition(plain, REQUESTS[0]), positions)[0] for positions in (1, 50)
    )
    column = Columns(codes(plain, 1, 1))
    decoder.step([short, long], [column] * 2)
    with pytest.raises(ValueError, match="More steps"):
        decoder.step([short, long], [column] * 2)
    assert (short.length, long.length) == (1, 1)


@torch.inference_mode()
def test_a_take_whose_memory_is_full_does_no_harm_beside_others(plain: MusicGen) -> None:
    decoder = SlotDecoder(plain.decoder, 4)
    wanted = condition(plain, REQUESTS[0])
    full, _ = decoder.start(wanted, 16)
    decoder.step([full], [Columns(codes(plain, 1, 16))])
    column = Columns(codes(plain, 1, 1))
    (other, _), (alone, _) = (each.start(wanted, 16) for each in (decoder, plain.decoder))
    [found], [expected] = decoder.step([other], [column]), plain.decoder.step([alone], [column])
    assert torch.allclose(found, expected, atol=ROUNDING)


@torch.inference_mode()
def test_a_take_that_is_left_in_a_high_slot_moves_down(plain: MusicGen) -> None:
    """Else a step would compute, and read the caches of, all slots below it."""
    decoder = SlotDecoder(plain.decoder, 8)
    takes = [Take(plain, decoder, number) for number in (0, 1, 4, 0)]
    for step in range(6):
        read_together(decoder, takes, [1] * len(takes))
        if step in (1, 2, 4):
            del takes[0]
    assert {slots for slots, _ in decoder._steps} == {1, 2, 4}


# Nothing waits for the device.

# A value that Python asks for; results whose size depends on values; and what Python makes of
# a list of indices, which is copied to a GPU while the host waits.
ASKS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "repeat_interleave", "equal"),
    *("index", "index_put", "index_put_", "_index_put_impl_"),
}


class AsksNothing(TorchDispatchMode):
    """Raises wherever a GPU would have to finish before the host can go on."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        assert function.overloadpacket.__name__ not in ASKS
        return function(*args, **(kwargs or {}))


def test_the_host_waits_for_nothing_while_codes_are_made(plain: MusicGen) -> None:
    """Decoder, guidance, sampling and the scheduler, for takes with other knobs."""
    with Scheduler(in_slots(plain, 16)) as scheduler:
        makings = [scheduler.add(request) for request in REQUESTS]
        while not all(making.steps > 3 for making in scheduler._making) or scheduler._joining:
            scheduler.step()
        before = [making.steps for making in makings]
        with AsksNothing():
            for _ in range(6):
                scheduler.step()
        assert all(making.steps > steps for making, steps in zip(makings, before, strict=True))


@torch.inference_mode()
def test_a_step_needs_shapes_only(plain: MusicGen) -> None:
    """On the meta device there are no values that it could depend on."""
    config = plain.decoder.config
    with torch.device("meta"):
        decoder = type(plain.decoder)(config)
        buffers = slots.Buffers(decoder, slots.Room(4, 64, 8))
        cache = slots.SlotsCache(buffers, 2, 32, has_text=True)
        logits = decoder.predict([cache], [Columns(buffers.codes[:4, :, None])])
    assert logits.shape == (4, config.codebooks, config.codebook_size)


# Where it is used.


@pytest.mark.parametrize("graphs", [True, False])
def test_a_cuda_card_has_slots_for_as_many_as_are_made_at_once_and_graphs_unless_switched_off(
    graphs: bool,
) -> None:
    placed = replace(CPU, device=torch.device("cuda"), native=False, at_once=5, graphs=graphs)
    runtime: Any = choose_runtime(placed)
    assert runtime.slots == 5
    assert (runtime.capture is not None) == graphs
    assert choose_runtime(TORCH).slots == 0  # type: ignore[attr-defined]


def test_buckets_are_powers_of_two_up_to_the_most() -> None:
    found = [slots.bucket(count, 12) for count in itertools.chain(range(1, 6), (8, 9, 12))]
    assert found == [1, 2, 4, 4, 8, 8, 12, 12]
