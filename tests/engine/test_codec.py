"""Streaming EnCodec is exact: pieces of any size make what transformers makes of the whole."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EncodecConfig, EncodecModel

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.codec.encodec import Codec
from musicgen_space.engine.codec.streaming import ResidualLSTM
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.runtimes.half import has_fbgemm
from musicgen_space.models import embedded_folder
from tests.conftest import reference


def random_codes(model: MusicGen, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(model.decoder.config.codebook_size, (1, 4, frames), generator=generator)


def random_codec(library: ctypes.CDLL | None = None, **unusual: Any) -> Codec:
    torch.manual_seed(0)
    usual = {
        "sampling_rate": 32000,
        "num_filters": 4,
        "upsampling_ratios": [8, 5, 4, 4],
        "hidden_size": 16,
        "codebook_size": 64,
        "codebook_dim": 16,
        "target_bandwidths": [1.2],
        "use_causal_conv": False,
        "use_conv_shortcut": False,
    }
    model = EncodecModel(EncodecConfig(**(usual | unusual))).eval()
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return Codec(model, library)


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


@pytest.mark.parametrize(
    "unusual",
    [
        {"pad_mode": "constant"},
        {"upsampling_ratios": [3, 1, 2], "sampling_rate": 300},
        {"num_residual_layers": 3, "dilation_growth_rate": 3, "residual_kernel_size": 5},
        {"num_residual_layers": 0, "num_lstm_layers": 1},
        {"kernel_size": 1, "last_kernel_size": 1, "residual_kernel_size": 1},
        {"kernel_size": 15, "last_kernel_size": 11, "use_conv_shortcut": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("sizes", [[1], [2, 9], [4] * 9], ids=str)
def test_other_shapes_stream_exactly_too(unusual: dict[str, Any], sizes: list[int]) -> None:
    codec = random_codec(**unusual)
    frames = sum(sizes) + 1
    codes = torch.randint(64, (2, 4, frames), generator=torch.Generator().manual_seed(0))
    whole = codec.decode(codes)
    assert whole.shape == (2, frames * codec.samples_per_frame)
    assert torch.allclose(streamed(codec, codes, sizes), whole, atol=1e-4)


def test_the_end_may_come_without_frames(tiny: MusicGen) -> None:
    codes = random_codes(tiny, 12)
    assert torch.allclose(streamed(tiny.codec, codes, [9, 3]), tiny.codec.decode(codes), atol=1e-4)


def test_a_push_gives_all_but_the_frames_that_it_holds_back(tiny: MusicGen) -> None:
    stream, codes = tiny.codec.stream(), random_codes(tiny, 150)
    lengths = [stream.push(codes[..., :end], last=False).shape[1] for end in (3, 60, 7, 150)]
    seen = [3, 63, 70, 220]
    assert [sum(lengths[: n + 1]) for n in range(4)] == [
        max(0, frames - tiny.codec.lookahead) * 640 for frames in seen
    ]


@pytest.mark.skipif(not has_fbgemm(), reason="torch packs no half precision here")
def test_an_lstm_kept_in_half_precision_is_not_heard() -> None:
    """Of weights that are no float16 numbers; it is as far below the music as CDs' noise."""
    codec = load(embedded_folder()).codec  # not the other tests' own: it is changed
    lstm = codec._lstm.lstm
    with torch.no_grad():
        for weight in lstm.parameters():
            weight *= 1 + 1e-3 * torch.rand(weight.shape, generator=torch.manual_seed(0))
    codec._lstm = ResidualLSTM(lstm)
    codes = torch.randint(2048, (1, 4, 100), generator=torch.manual_seed(0))
    whole = codec.decode(codes)
    noise = streamed(codec, codes, []) - whole
    assert 0 < noise.norm() < whole.norm() * 10 ** (-80 / 20)


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
