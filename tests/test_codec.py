"""Streaming EnCodec is exact: pieces of any size make the samples of the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen_space.engine.codec import Codec
from musicgen_space.engine.generate import MusicGen
from tests.conftest import reference


def random_codes(model: MusicGen, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(model.decoder.config.codebook_size, (1, 4, frames), generator=generator)


def streamed(codec: Codec, codes: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    stream, parts, start = codec.stream(), [], 0
    for size in sizes:
        parts.append(stream.push(codes[..., start : start + size], last=False))
        start += size
    parts.append(stream.push(codes[..., start:], last=True))
    return torch.cat(parts, dim=-1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.lists(st.integers(1, 20), max_size=8))
def test_pieces_of_any_size_make_the_whole(tiny: MusicGen, frames: int, sizes: list[int]) -> None:
    while sum(sizes) >= frames and sizes:
        sizes = sizes[:-1]
    codes = random_codes(tiny, frames)
    whole = tiny.codec.decode(codes)
    parts = streamed(tiny.codec, codes, sizes)
    assert parts.shape == whole.shape == (1, frames * 640)
    assert torch.allclose(parts, whole, atol=1e-4)


def test_the_embedded_codec_streams_exactly(nano: MusicGen) -> None:
    codes = random_codes(nano, 230)
    whole = nano.codec.decode(codes)
    parts = streamed(nano.codec, codes, [55, 50, 50])
    assert (parts - whole).abs().max() < 1e-4
    assert whole.abs().max() > 0.01


def test_sounds_that_are_decoded_together_do_not_touch_each_other(tiny: MusicGen) -> None:
    codes = torch.cat([random_codes(tiny, 61), random_codes(tiny, 61).flip(-1)])
    together = streamed(tiny.codec, codes, [20, 25])
    for sound, alone in zip(together, codes, strict=True):
        assert torch.allclose(sound, tiny.codec.decode(alone[None])[0], atol=1e-4)


@pytest.mark.parametrize("samples", [640, 32_000, 47_123])
def test_encoding_equals_transformers(tiny: MusicGen, tiny_folder: Path, samples: int) -> None:
    sound = torch.randn(1, samples, generator=torch.Generator().manual_seed(1)) * 0.3
    with torch.inference_mode():
        theirs = reference(tiny_folder).audio_encoder.encode(sound[:, None]).audio_codes[0]
    assert torch.equal(tiny.codec.encode(sound), theirs)
    assert theirs.shape == (1, 4, -(-samples // 640))


def test_a_frame_is_heard_before_its_time_but_within_the_lookahead(tiny: MusicGen) -> None:
    """The codec is not causal: this is why a stream has to hold frames back."""
    codec = tiny.codec
    codes = random_codes(tiny, 60)
    changed = codes.clone()
    changed[..., 40] = (changed[..., 40] + 1) % 64
    difference = (codec.decode(changed) - codec.decode(codes)).abs()[0]
    first = int(difference.nonzero()[0]) / codec.samples_per_frame
    assert 40 - codec.lookahead <= first < 40 - codec.first_context


@pytest.mark.parametrize("frames", [1, 2, 3, 50])
def test_whole_decoding_equals_transformers(tiny: MusicGen, tiny_folder: Path, frames: int) -> None:
    codes = random_codes(tiny, frames)
    with torch.inference_mode():
        theirs = reference(tiny_folder).audio_encoder.decode(codes[None], [None])
    assert torch.allclose(tiny.codec.decode(codes), theirs.audio_values[0], atol=1e-5)
