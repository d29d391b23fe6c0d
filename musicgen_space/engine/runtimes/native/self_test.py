"""Self-test of a kernel: its logits against torch's, on a decoder small enough for every load.

A library may be of another version, miscompiled, or run on an untested processor; a wrong
kernel must not produce noise.
"""

from __future__ import annotations

import ctypes

import torch

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
_MAX_ERROR: dict[Mode, float] = {"exact": _ROUNDING, "int8": 0.06, "int4": 0.2}


@torch.inference_mode()
def passes_self_test(library: ctypes.CDLL) -> bool:
    """Whether its best SIMD level gives torch's logits, within each mode's tolerance.

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
    )


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


def _logits(decoder: Predictor, codes: torch.Tensor, condition: Condition) -> torch.Tensor:
    """After a prefill and after a step: [2, R, K, V]."""
    first, cache = decoder.prefill(codes[..., :-1], condition, max_steps=_STEPS)
    return torch.stack([first, decoder.decode(codes[..., -1], cache)])


def _relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """‖found − expected‖ / ‖expected‖; infinite for NaN."""
    error = float((found - expected).norm() / expected.norm())
    return error if error == error else float("inf")
