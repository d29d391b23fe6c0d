"""EnCodec: audio to codes, and codes to audio, at once or streamed while they are generated.

Streaming is exact although the network is not causal. The decoder has three parts::

    codes → embeddings → [first convolution] → [LSTM] → [upsampling convolutions] → samples

The LSTM is unidirectional. The convolutions have a context of a few frames on both sides,
so the last frames are held back until those that follow are known. ``streaming`` implements
these layers; their output must equal ``Codec.decode``, which runs transformers' own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConvTranspose1d, EncodecResnetBlock

from musicgen_space.engine.codec.streaming import (
    Convolution,
    Layer,
    LSTMStage,
    ResidualBlock,
    ResidualLSTM,
    Stage,
    Upsampling,
)

__all__ = ["Codec", "CodecStream"]

_FRAMES_AT_ONCE = 50  # far more would thrash the CPU caches


class Codec:
    """Transformers' ``EncodecModel`` with weight norm folded in.

    A batch has N mono sounds: a stereo take is two of them.
    """

    def __init__(self, model: EncodecModel) -> None:
        for module in model.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")
        config = model.config
        self._model = model
        first, lstm, *upsampling = model.decoder.layers
        reflect = config.pad_mode == "reflect"
        self._first = Convolution(first.conv, reflect=reflect, elu=False)
        self._lstm = ResidualLSTM(lstm.lstm)
        self._upsampling = [
            _layer(layer, reflect=reflect)
            for layer in upsampling
            if not isinstance(layer, nn.ELU)  # our layers include it
        ]
        self.first_context: int = (config.kernel_size - 1) // 2
        self.upsampling_context = _upsampling_context(config)
        self.sample_rate: int = config.sampling_rate
        self.samples_per_frame: int = math.prod(config.upsampling_ratios)

    @property
    def frame_rate(self) -> int:
        """Frames a second."""
        return self.sample_rate // self.samples_per_frame

    @property
    def lookahead(self) -> int:
        """Frames that a stream holds back until the next ones are known."""
        return self.first_context + self.upsampling_context

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        device: torch.device = next(self._model.parameters()).device
        return device

    @torch.inference_mode()
    def encode(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples [N, n] at ``sample_rate`` → codes [N, K, T]; the last frame may be padded."""
        encoded = self._model.encode(samples.unsqueeze(1).to(self.device))
        codes: torch.Tensor = encoded.audio_codes[0]  # MusicGen's EnCodec does not chunk
        return codes

    def stream(self) -> CodecStream:
        """Start decoding N sounds."""
        upsampling = [Stage(layer) for layer in self._upsampling]
        return CodecStream(self, [Stage(self._first), LSTMStage(self._lstm), *upsampling])

    @torch.inference_mode()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """All frames at once: codes [N, K, T] → samples [N, T · samples_per_frame]."""
        samples: torch.Tensor = self._model.decoder(self.embed(codes))[:, 0]
        return samples

    def embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [N, K, T] → the sum of their codebook entries [N, hidden, T]."""
        by_codebook = codes.to(self.device).transpose(0, 1)
        embedded: torch.Tensor = self._model.quantizer.decode(by_codebook)
        return embedded


class CodecStream:
    """Streaming decoder of a batch of N sounds."""

    def __init__(self, codec: Codec, stages: list[Stage | LSTMStage]) -> None:
        self._codec, self._stages = codec, stages
        self._frames = 0  # pushed so far
        self._returned = 0  # samples so far
        self._ready: list[torch.Tensor] = []  # samples [N, …] not yet returned

    @torch.inference_mode()
    def push(self, codes: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Add frames [N, K, T′]; → the next samples [N, n].

        All but the ``last`` push hold back ``Codec.lookahead`` frames, so n may be 0. All
        pushes together give the samples of ``Codec.decode``.
        """
        frames = codes.shape[-1]
        self._frames += frames
        for start in range(0, max(1, frames), _FRAMES_AT_ONCE):
            end = start + _FRAMES_AT_ONCE
            self._run(codes[..., start:end], last=last and end >= frames)
        return self._take(self._frames - (0 if last else self._codec.lookahead), len(codes))

    def _run(self, codes: torch.Tensor, *, last: bool) -> None:
        """Run all stages; one that needs more input ends the pass."""
        hidden: torch.Tensor | None = self._codec.embed(codes).permute(2, 0, 1).contiguous()
        for stage in self._stages:
            if hidden is None:
                return
            hidden = stage.push(hidden, last=last)
        if hidden is not None:
            self._ready.append(hidden[..., 0].T)

    def _take(self, frames: int, sounds: int) -> torch.Tensor:
        """The samples of the first ``frames`` frames that were not yet returned."""
        wanted = max(0, frames * self._codec.samples_per_frame - self._returned)
        self._returned += wanted
        nothing = torch.empty((sounds, 0), device=self._codec.device)
        ready = torch.cat([nothing, *self._ready], dim=1)
        self._ready = [ready[:, wanted:]]
        return ready[:, :wanted]


def _layer(layer: Any, *, reflect: bool) -> Layer:
    """Our streaming layer for one of transformers' after the LSTM."""
    if isinstance(layer, EncodecConvTranspose1d):
        return Upsampling(layer.conv)
    if isinstance(layer, EncodecResnetBlock):
        return ResidualBlock(layer, reflect=reflect)
    return Convolution(layer.conv, reflect=reflect, elu=True)


def _upsampling_context(config: EncodecConfig) -> int:
    """Receptive field of the upsampling layers: frames on each side of an output sample.

    From the output backwards: a convolution of kernel k adds (k − 1) / 2 positions at its
    own rate, a transposed one of stride r and kernel 2 r divides by r and adds one.
    """
    context: int = (config.last_kernel_size - 1) // 2
    for ratio in reversed(config.upsampling_ratios):
        for block in range(config.num_residual_layers):
            dilation = config.dilation_growth_rate**block
            context += dilation * (config.residual_kernel_size - 1) // 2
        context = math.ceil(context / ratio) + 1
    return context
