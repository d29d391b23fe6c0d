"""A kernel's results held against torch's, on a decoder small enough for every load.

A library can be of another version, of a compiler that erred, or on a processor that nobody
has tried it on: that must not be heard as noise.
"""

from __future__ import annotations

import ctypes

import torch

from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.model import Condition, Decoder, Predictor, TextCondition
from musicgen_space.engine.runtimes.native.decoder import Mode, NativeDecoder, levels

__all__ = ["computes_rightly"]

_CONFIG = DecoderConfig(
    # No whole tiles and groups of anything, to have the edges in it.
    width=144,
    heads=4,
    layers=1,
    feed_forward=275,
    codebooks=2,
    codebook_size=21,
    text_width=8,
)
_COLUMNS = 19  # more than one tile of positions
_ROUNDING = 1e-3  # of logits whose sizes are about one
_BITS: dict[Mode, float] = {"exact": _ROUNDING, "int8": 0.06, "int4": 0.2}


@torch.inference_mode()
def computes_rightly(library: ctypes.CDLL) -> bool:
    """Whether the best kind of its loops gives torch's logits, as near as each mode's bits allow.

    ``library`` has the functions at the end of decoder.cpp.
    """
    try:
        best = levels(library)[-1]
    except (AttributeError, IndexError):  # it is another library altogether
        return False
    decoder, codes, condition = _example()
    expected = _logits(decoder, codes, condition)
    return all(
        _distance(
            _logits(NativeDecoder(decoder, mode, library, 1, best), codes, condition), expected
        )
        < bound
        for mode, bound in _BITS.items()
    )


def _example() -> tuple[Decoder, torch.Tensor, Condition]:
    """A decoder of random weights, codes [1, K, S], and a condition with guidance."""
    random = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        decoder = Decoder(_CONFIG)
    decoder.to_empty(device="cpu").eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.1)
    text = torch.randn(1, 3, _CONFIG.text_width, generator=random)
    condition = Condition(TextCondition(text, torch.ones(1, 3, dtype=torch.bool)), rows=2)
    shape = (1, _CONFIG.codebooks, _COLUMNS)
    return decoder, torch.randint(_CONFIG.codebook_size, shape, generator=random), condition


def _logits(decoder: Predictor, codes: torch.Tensor, condition: Condition) -> torch.Tensor:
    """After a prefill and after a step: [2, R, K, V]."""
    read, state = decoder.prefill(codes[..., :-1], condition, columns=_COLUMNS)
    return torch.stack([read, decoder.decode(codes[..., -1], state)])


def _distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The error's size, as a part of what was expected; infinite for what is no number."""
    distance = float((found - expected).norm() / expected.norm())
    return distance if distance == distance else float("inf")
