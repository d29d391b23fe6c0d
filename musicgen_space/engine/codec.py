"""EnCodec: sound becomes codes, and codes sound, whole or while they are still being made.

Streaming is exact, although the network is not causal. Its layers fall into three parts::

    codes → embeddings → [first convolution] → [LSTM] → [upsampling convolutions] → samples

The LSTM runs forward only and remembers without bound, so its state is carried along.
The convolutions see a few frames to both sides, so they run over a window with that much
context, and the frames at its growing edge are held back until their right side is known.
Reflect padding acts only at the real ends, where the window ends too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.utils import parametrize
from transformers import EncodecConfig, EncodecModel

__all__ = ["Codec", "CodecStream"]


class Codec:
    """Transformers' ``EncodecModel``, weight norm folded in.

    N sounds are coded at once, each of one channel: a stereo take is two of them.
    """

    def __init__(self, model: EncodecModel) -> None:
        for module in model.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")
        config = model.config
        self._model = model
        self._first, self._lstm, *upsampling = model.decoder.layers
        self._upsample = torch.nn.Sequential(*upsampling)
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
        """Frames that a stream holds back until what follows them is known."""
        return self.first_context + self.upsampling_context

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = next(self._model.parameters()).device
        return device

    @torch.inference_mode()
    def encode(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples [N, n] at ``sample_rate`` → codes [N, K, T]; the last frame may be padded."""
        encoded = self._model.encode(samples.unsqueeze(1).to(self.device))
        codes: torch.Tensor = encoded.audio_codes[0]  # one stretch: MusicGen's does not chunk
        return codes

    def stream(self) -> CodecStream:
        """Start decoding N sounds."""
        return CodecStream(self)

    @torch.inference_mode()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """All frames at once: codes [N, K, T] → samples [N, T · samples_per_frame]."""
        hidden = self.run_lstm(self._first(self.embed(codes)), None)[0]
        samples: torch.Tensor = self._upsample(hidden)[:, 0]
        return samples

    def embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [N, K, T] → the sum of their codebook entries [N, hidden, T]."""
        by_codebook = codes.to(self.device).transpose(0, 1)
        embedded: torch.Tensor = self._model.quantizer.decode(by_codebook)
        return embedded

    def run_lstm(
        self, hidden: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """[N, C, T] and the memory of earlier frames → [N, C, T] and the memory after them."""
        steps = hidden.permute(2, 0, 1)
        output, memory = self._lstm.lstm(steps, memory)
        return (output + steps).permute(1, 2, 0), memory


class CodecStream:
    """N sounds being decoded, piece by piece."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._first = _Window(codec._first, codec.first_context, 1)
        self._memory: tuple[torch.Tensor, torch.Tensor] | None = None
        self._upsample = _Window(codec._upsample, codec.upsampling_context, codec.samples_per_frame)

    @torch.inference_mode()
    def push(self, codes: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Add frames [N, K, T′]; → the samples that are settled now, [N, n] (n may be 0).

        All pushes together give exactly the samples of ``Codec.decode``; the ``last`` one
        also gives what was held back.
        """
        hidden = self._first.push(self._codec.embed(codes), last=last)
        samples = None
        if hidden is not None:
            hidden, self._memory = self._codec.run_lstm(hidden, self._memory)
            samples = self._upsample.push(hidden, last=last)
        return torch.empty((len(codes), 0)) if samples is None else samples[:, 0]


class _Window:
    """A non-causal network run over a sequence that grows at its right end.

    ``context`` is how many input frames an output depends on at each side, ``scale`` the
    number of outputs for each input frame.
    """

    def __init__(
        self, network: Callable[[torch.Tensor], torch.Tensor], context: int, scale: int
    ) -> None:
        self._network, self._context, self._scale = network, context, scale
        self._inputs: torch.Tensor | None = None
        self._done = 0  # frames at the left of the window that are only context by now

    def push(self, new: torch.Tensor, *, last: bool) -> torch.Tensor | None:
        """[N, C, T′] more → the outputs that no later input can change, None if none is new."""
        inputs = new if self._inputs is None else torch.cat([self._inputs, new], dim=-1)
        settled = inputs.shape[-1] - (0 if last else self._context)
        if settled <= self._done:
            self._inputs = inputs
            return None
        outputs = self._network(inputs)[..., self._done * self._scale : settled * self._scale]
        forgotten = max(0, settled - self._context)
        self._inputs, self._done = inputs[..., forgotten:], settled - forgotten
        return outputs


def _upsampling_context(config: EncodecConfig) -> int:
    """Frames at each side that one output sample of the upsampling layers depends on.

    Walked from the output back: a convolution of kernel k adds (k − 1) / 2 positions at
    its own rate, a transposed one of stride r and kernel 2 r divides by r and adds one.
    """
    context: int = (config.last_kernel_size - 1) // 2
    for ratio in reversed(config.upsampling_ratios):
        for block in range(config.num_residual_layers):
            dilation = config.dilation_growth_rate**block
            context += dilation * (config.residual_kernel_size - 1) // 2
        context = math.ceil(context / ratio) + 1
    return context
