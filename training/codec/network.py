"""EnCodec itself: transformers' modules, run in a way that a CUDA graph can record.

Transformers computes each convolution's padding with tensors and reads it back, which a
recording can't. For whole frames it is known before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecResnetBlock

from training.music.render import SAMPLE_RATE
from training.presets import CodecPreset

__all__ = ["build", "run"]


def build(preset: CodecPreset) -> EncodecModel:
    """An untrained EnCodec, laid out as MusicGen's: mono, not causal, reflecting at its ends."""
    frame_rate = SAMPLE_RATE // math.prod(preset.ratios)
    bits = math.log2(preset.codebook_size)
    return EncodecModel(
        EncodecConfig(
            sampling_rate=SAMPLE_RATE,
            audio_channels=1,
            num_filters=preset.filters,
            upsampling_ratios=list(preset.ratios),
            hidden_size=preset.width,
            codebook_dim=preset.width,
            codebook_size=preset.codebook_size,
            target_bandwidths=[preset.codebooks * frame_rate * bits / 1000],  # kbit/s
            norm_type="weight_norm",
            pad_mode="reflect",
            use_causal_conv=False,
            use_conv_shortcut=False,
            normalize=False,
        )
    )


def run(layers: Iterable[nn.Module], hidden: torch.Tensor) -> torch.Tensor:
    """What ``layers`` of the encoder or decoder make of ``hidden`` [B, channels, positions].

    Equals transformers' own, for a whole number of frames.
    """
    for layer in layers:
        if isinstance(layer, EncodecConv1d):
            hidden = _convolve(layer.conv, hidden)
        elif isinstance(layer, EncodecResnetBlock):
            hidden = layer.shortcut(hidden) + run(layer.block, hidden)
        else:
            hidden = layer(hidden)
    return hidden


def _convolve(convolution: nn.Conv1d, hidden: torch.Tensor) -> torch.Tensor:
    [kernel], [stride] = convolution.kernel_size, convolution.stride
    padding = (kernel - 1) * convolution.dilation[0] + 1 - stride
    right = padding // 2
    if padding:
        hidden = functional.pad(hidden, (padding - right, right), mode="reflect")
    convolved: torch.Tensor = convolution(hidden)
    return convolved
