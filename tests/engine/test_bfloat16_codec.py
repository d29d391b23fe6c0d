"""EnCodec in bfloat16: its noise, and that a sound is the same alone, among others, in pieces."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.codec.encodec import Codec, CodecStream, Push
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.native import self_test
from musicgen_space.engine.runtimes.native.runtime import NativeRuntime
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest
from tests.conftest import the_kernel
from tests.engine.test_codec import random_codec, random_codes, streamed

HEARD = -45  # dB: noise above that would be too much
needs_bfloat16 = pytest.mark.skipif(
    not the_kernel().musicgen_has_bfloat16(), reason="this processor has no products in bfloat16"
)


@pytest.fixture(scope="module")
def nano() -> MusicGen:
    """The embedded checkpoint as a page has it."""
    return load(embedded_folder(), replace(CPU, quant="int8"))


def in_bfloat16(**unusual: int) -> Codec:
    usual = {"num_filters": 16, "hidden_size": 32, "codebook_dim": 32}
    return random_codec(library=the_kernel(), **(usual | unusual))


def noise_of(codec: Codec, codes: torch.Tensor) -> float:
    """Decibels above what ``Codec.decode`` gives in float32."""
    whole = codec.decode(codes)
    return 20 * math.log10((streamed(codec, codes, []) - whole).norm() / whole.norm())


def nanos_own_codes(nano: MusicGen, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Those of two seconds of its music."""
    seen: list[torch.Tensor] = []
    push = CodecStream.push

    def listen(stream: CodecStream, codes: torch.Tensor, *, last: bool) -> torch.Tensor:
        seen.append(codes)
        return push(stream, codes, last=last)

    monkeypatch.setattr(CodecStream, "push", listen)
    request = MusicRequest("lo-fi music with a soothing melody", duration=2, seed=3)
    list(generate(nano, request))
    return torch.cat(seen, dim=-1)


@needs_bfloat16
def test_its_noise_is_far_below_nanos_music(
    nano: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = nanos_own_codes(nano, monkeypatch)
    assert codes.shape == (1, 4, 100)
    assert -70 < noise_of(nano.codec, codes) < HEARD


@needs_bfloat16
@pytest.mark.parametrize(
    "unusual",
    [
        {"num_filters": 32},
        {"last_kernel_size": 1, "residual_kernel_size": 1, "num_lstm_layers": 1},
    ],
    ids=str,
)
def test_its_noise_is_far_below_the_sound_of_random_weights(unusual: dict[str, int]) -> None:
    codec = in_bfloat16(**unusual)
    assert codec.uses_bfloat16
    codes = torch.randint(64, (2, 4, 70), generator=torch.Generator().manual_seed(0))
    assert -70 < noise_of(codec, codes) < HEARD


@needs_bfloat16
@pytest.mark.parametrize("sizes", [[1], [2, 9, 60], [4] * 9], ids=str)
def test_pieces_are_bit_by_bit_the_whole(nano: MusicGen, sizes: list[int]) -> None:
    codes = random_codes(nano, sum(sizes) + 3)
    assert torch.equal(streamed(nano.codec, codes, sizes), streamed(nano.codec, codes, []))


@needs_bfloat16
def test_sounds_of_one_stream_are_bit_by_bit_as_alone() -> None:
    codec = in_bfloat16()
    codes = torch.randint(64, (7, 4, 61), generator=torch.Generator().manual_seed(0))
    together = streamed(codec, codes, [20, 25])
    for sound, alone in zip(together, codes, strict=True):
        assert torch.equal(sound, streamed(codec, alone[None], [20, 25])[0])


@pytest.mark.parametrize("quant", ["none", "int8"])
def test_streams_that_are_pushed_together_are_bit_by_bit_as_alone(quant: str) -> None:
    """Each at its own position, with its own number of frames and of sounds, one at its end."""
    library = the_kernel() if quant == "int8" else None
    codec = random_codec(library=library, num_filters=16)
    random = torch.Generator().manual_seed(0)
    sounds, before, now = (1, 2, 1, 1), (0, 30, 7, 60), (60, 60, 60, 4)
    alone, together = ([codec.stream() for _ in sounds] for _ in range(2))
    pushes = []
    for index, stream in enumerate(together):
        codes = torch.randint(64, (sounds[index], 4, before[index] + now[index]), generator=random)
        for each in (stream, alone[index]):
            each.push(codes[..., : before[index]], last=False)
        pushes.append(Push(stream, codes[..., before[index] :], last=index == 2))
    expected = [
        stream.push(push.codes, last=push.last) for stream, push in zip(alone, pushes, strict=True)
    ]
    found = codec.push_together(pushes)
    assert [samples.shape[1] > 0 for samples in found] == [True] * 4
    assert all(map(torch.equal, found, expected))
    assert all(
        torch.equal(ours.push(more, last=True), theirs.push(more, last=True))
        for ours, theirs, more in zip(together, alone, [p.codes for p in pushes], strict=True)
        if ours is not together[2]
    )


def test_no_stream_to_push_to_is_no_error() -> None:
    assert random_codec().push_together([]) == []


def test_weights_as_published_are_decoded_in_float32() -> None:
    codec = load(embedded_folder(), replace(CPU, quant="none")).codec
    assert not codec.uses_bfloat16
    assert NativeRuntime("exact", the_kernel(), 1).codec_kernel is None


@needs_bfloat16
@pytest.mark.parametrize(
    "unusual",
    [
        {"num_filters": 5},
        {"num_filters": 4, "compress": 4},
        {"use_conv_shortcut": True},
        {"num_residual_layers": 2},
    ],
    ids=str,
)
def test_codecs_that_are_built_otherwise_are_decoded_in_float32(unusual: dict[str, int]) -> None:
    assert not in_bfloat16(**unusual).uses_bfloat16


@needs_bfloat16
def test_a_kernel_whose_codec_is_wrong_fails_its_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = the_kernel()
    assert self_test.passes_self_test(kernel)
    monkeypatch.setattr(kernel, "musicgen_recur", lambda recurrence: None)
    assert not self_test.passes_self_test(kernel)
