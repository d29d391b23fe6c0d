"""Self-test of a kernel against torch, on a decoder and layers small enough for every load.

A library may be of another version, miscompiled, or run on an untested processor; a wrong
kernel must not produce noise.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from musicgen_space.engine.codec.native import NativeLayers
from musicgen_space.engine.codec.streaming import Layers, TorchLayers
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.model import Condition, Decoder, Predictor, TextCondition
from musicgen_space.engine.runtimes.native.decoder import Mode, NativeDecoder, simd_levels

__all__ = ["passes_self_test"]

_CONFIG = DecoderConfig(
    # Multiples of no tile or group size, so that the edges are tested.
    width=144,
    heads=4,
    layers=1,
    ffn_dim=275,
    codebooks=2,
    codebook_size=21,
    text_width=8,
)
_STEPS = 19  # more than one tile of positions
_ROUNDING = 1e-3  # relative error
_CODEC_ERROR = 0.02  # of bfloat16, in one layer
_MAX_ERROR: dict[Mode, float] = {"exact": _ROUNDING, "int8": 0.06, "int4": 0.2}


@torch.inference_mode()
def passes_self_test(library: ctypes.CDLL) -> bool:
    """Whether its best SIMD level gives torch's results, within each mode's tolerance.

    ``library`` should export the functions at the end of decoder.cpp.
    """
    try:
        best = simd_levels(library)[-1]
    except (AttributeError, IndexError):  # not a kernel at all
        return False
    decoder, codes, condition = _example()
    expected = _logits(decoder, codes, condition)
    return all(
        _relative_error(
            _logits(NativeDecoder(decoder, mode, library, 1, best), codes, condition), expected
        )
        < bound
        for mode, bound in _MAX_ERROR.items()
    ) and _codec_is_right(library)


def _example() -> tuple[Decoder, torch.Tensor, Condition]:
    """A decoder with random weights, codes [1, K, S], and a condition for two CFG branches."""
    random = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        decoder = Decoder(_CONFIG)
    decoder.to_empty(device="cpu").eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.1)
    text = torch.randn(1, 3, _CONFIG.text_width, generator=random)
    condition = Condition(TextCondition(text, torch.ones(1, 3, dtype=torch.bool)), rows=2)
    shape = (1, _CONFIG.codebooks, _STEPS)
    return decoder, torch.randint(_CONFIG.codebook_size, shape, generator=random), condition


def _codec_is_right(library: ctypes.CDLL) -> bool:
    """Whether EnCodec's layers are torch's as well, where this processor has them."""
    layers = nn.ModuleList(
        [nn.Conv1d(24, 80, 3), nn.LSTM(80, 80), nn.ConvTranspose1d(80, 10, 4), nn.Conv1d(10, 1, 7)]
    )
    if not NativeLayers.support(library, layers):
        return True
    random = torch.Generator().manual_seed(0)
    for parameter in layers.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.1)
    noise = torch.randn(_STEPS, 2, 24, generator=random)
    ours, theirs = (
        _decoded(kind, layers, noise) for kind in (NativeLayers(library), TorchLayers())
    )
    return _relative_error(ours, theirs) < _CODEC_ERROR


def _decoded(kind: Layers, layers: Iterable[Any], inputs: torch.Tensor) -> torch.Tensor:
    """What a decoder of these layers makes of inputs [T, N, C]."""
    first, lstm, upsampling, last = layers
    recurrence = kind.lstm(lstm)
    hidden = kind.first(first, reflect=False)(inputs)
    hidden, _ = recurrence(hidden, recurrence.start(inputs.shape[1]))
    return kind.last(last, reflect=False)(kind.upsampling(upsampling)(hidden))


def _logits(decoder: Predictor, codes: torch.Tensor, condition: Condition) -> torch.Tensor:
    """After a prefill and after a step: [2, R, K, V]."""
    first, cache = decoder.prefill(codes[..., :-1], condition, max_steps=_STEPS)
    return torch.stack([first, decoder.decode(codes[..., -1], cache)])


def _relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """‖found − expected‖ / ‖expected‖; infinite for NaN."""
    error = float((found - expected).norm() / expected.norm())
    return error if error == error else float("inf")
