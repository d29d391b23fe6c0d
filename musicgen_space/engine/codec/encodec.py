"""EnCodec: audio to codes, and codes to audio, at once or streamed while they are generated.

Streaming is exact although the network is not causal. The decoder has three parts::

    codes → embeddings → [first convolution] → [LSTM] → [upsampling convolutions] → samples

The LSTM is unidirectional. The convolutions have a context of a few frames on both sides,
so the last frames are held back until those that follow are known. ``streaming`` implements
these layers; their output must equal ``Codec.decode``, which runs transformers' own. ``native``
does the same on our kernel, in bfloat16, up to some noise.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConvTranspose1d, EncodecResnetBlock

from musicgen_space.engine.codec.native import NativeLayers
from musicgen_space.engine.codec.streaming import Layer, Layers, LSTMState, Stage, TorchLayers

__all__ = ["Codec", "CodecStream", "Push"]

_FRAMES_AT_ONCE = 50  # far more would thrash the CPU caches
# What a push needs at most, in arrays as large as the last layer's inputs: it has 7 or 8 of them
# at a time, and as measured up to 13 with what the heap of a thread of its own doesn't reuse.
_BUFFERS = 13


class Codec:
    """Transformers' ``EncodecModel`` with weight norm folded in.

    A batch has N mono sounds: a stereo take is two of them. Streams decode in bfloat16 on the
    native kernel ``library`` where this processor has its products, else in float32.
    """

    def __init__(self, model: EncodecModel, library: ctypes.CDLL | None = None) -> None:
        for module in model.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")
        config = model.config
        self._model = model
        first, lstm, *upsampling = model.decoder.layers
        reflect = config.pad_mode == "reflect"
        layers = _layers(model.decoder, library)
        self.uses_bfloat16 = isinstance(layers, NativeLayers)
        self._first = layers.first(first.conv, reflect=reflect)
        self._lstm = layers.lstm(lstm.lstm)
        self._upsampling = [
            _layer(layers, layer, reflect=reflect)
            for layer in upsampling
            if not isinstance(layer, nn.ELU)  # our layers include it
        ]
        self.first_context: int = (config.kernel_size - 1) // 2
        self.upsampling_context = _upsampling_context(config)
        self.sample_rate: int = config.sampling_rate
        self.samples_per_frame: int = math.prod(config.upsampling_ratios)

    @property
    def push_bytes(self) -> int:
        """Memory that a push takes for each sound, whatever it has of frames, and its stream."""
        samples = _FRAMES_AT_ONCE * self.samples_per_frame
        filters: int = self._model.config.num_filters
        return _BUFFERS * samples * filters * torch.float32.itemsize

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
        after = [Stage(layer) for layer in self._upsampling]
        return CodecStream(self, Stage(self._first), after)

    @torch.inference_mode()
    def push_together(self, pushes: Sequence[Push]) -> list[torch.Tensor]:
        """Push to several streams, each at its own position; → the next samples of each.

        Bit by bit those that each would get alone, in less time: the LSTM's weights are read
        once for all that have as many frames. A stream may be there only once. Other streams may
        be pushed to meanwhile, in other threads.
        """
        rounds = max(-(-push.frames // _FRAMES_AT_ONCE) for push in pushes) if pushes else 0
        for index in range(max(1, rounds)):
            pieces = [push.piece(index) for push in pushes]
            self._run([piece for piece in pieces if piece is not None])
        return [push.stream.take(push) for push in pushes]

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

    def _run(self, pushes: list[Push]) -> None:
        """All layers on a round's frames, at most ``_FRAMES_AT_ONCE`` of each stream."""
        started = []
        for push in pushes:
            embedded = self.embed(push.codes).permute(2, 0, 1).contiguous()
            hidden = push.stream.first.push(embedded, last=push.last)
            if hidden is not None:
                started.append((push, hidden))
        for group in self._groups(started):
            for push, hidden in self._recur(group):
                push.stream.upsample(hidden, last=push.last)

    def _groups(self, started: list[_Started]) -> list[list[_Started]]:
        """Those that the LSTM takes together: of one length."""
        if not self._lstm.exact_together:
            return [[each] for each in started]
        by_length = sorted(started, key=_length)
        return [list(group) for _, group in groupby(by_length, key=_length)]

    def _recur(self, group: list[_Started]) -> list[_Started]:
        """The LSTM on streams whose hidden [T, N, C] have one length."""
        if not _length(group[0]):
            return group
        sounds = [len(push.codes) for push, _ in group]
        states = [push.stream.state or self._lstm.start(len(push.codes)) for push, _ in group]
        outputs, (hidden, cells) = self._lstm(
            torch.cat([inputs for _, inputs in group], dim=1),
            (torch.cat([h for h, _ in states], dim=1), torch.cat([c for _, c in states], dim=1)),
        )
        ends = list(accumulate(sounds))
        each = [slice(end - count, end) for end, count in zip(ends, sounds, strict=True)]
        for (push, _), its in zip(group, each, strict=True):
            push.stream.state = hidden[:, its], cells[:, its]
        return [(push, outputs[:, its]) for (push, _), its in zip(group, each, strict=True)]


class CodecStream:
    """Streaming decoder of a batch of N sounds."""

    def __init__(self, codec: Codec, first: Stage, upsampling: list[Stage]) -> None:
        self._codec, self.first, self._upsampling = codec, first, upsampling
        self.state: LSTMState | None = None
        self._frames = 0  # pushed so far
        self._returned = 0  # samples so far
        self._ready: list[torch.Tensor] = []  # samples [N, …] not yet returned

    def push(self, codes: torch.Tensor, *, last: bool) -> torch.Tensor:
        """Add frames [N, K, T′]; → the next samples [N, n].

        All but the ``last`` push hold back ``Codec.lookahead`` frames, so n may be 0. All
        pushes together give the samples of ``Codec.decode``, in bfloat16 up to its noise.
        """
        return self._codec.push_together([Push(self, codes, last)])[0]

    def upsample(self, hidden: torch.Tensor, *, last: bool) -> None:
        """Run the stages after the LSTM; one that needs more input ends the pass."""
        for stage in self._upsampling:
            outputs = stage.push(hidden, last=last)
            if outputs is None:
                return
            hidden = outputs
        self._ready.append(hidden[..., 0].T)

    def take(self, push: Push) -> torch.Tensor:
        """The samples [N, n] that ``push`` completed."""
        self._frames += push.frames
        known = self._frames - (0 if push.last else self._codec.lookahead)
        wanted = max(0, known * self._codec.samples_per_frame - self._returned)
        self._returned += wanted
        nothing = torch.empty((len(push.codes), 0), device=self._codec.device)
        ready = torch.cat([nothing, *self._ready], dim=1)
        self._ready = [ready[:, wanted:]]
        return ready[:, :wanted]


@dataclass(frozen=True, slots=True, eq=False)
class Push:
    """Frames [N, K, T′] for a stream; ``last`` if it gets no more."""

    stream: CodecStream
    codes: torch.Tensor
    last: bool

    @property
    def frames(self) -> int:
        """How many."""
        return self.codes.shape[-1]

    def piece(self, index: int) -> Push | None:
        """Those of them that are decoded in round ``index``; None if there are none left."""
        start = index * _FRAMES_AT_ONCE
        end = start + _FRAMES_AT_ONCE
        if start >= max(1, self.frames):
            return None
        return Push(self.stream, self.codes[..., start:end], self.last and end >= self.frames)


_Started = tuple[Push, torch.Tensor]  # a push, and what the first convolution made of it


def _length(started: _Started) -> int:
    return len(started[1])


def _layers(decoder: nn.Module, library: ctypes.CDLL | None) -> Layers:
    """What our layers of ``decoder`` are computed by."""
    if library is not None and NativeLayers.support(library, decoder):
        return NativeLayers(library)
    return TorchLayers()


def _layer(layers: Layers, layer: Any, *, reflect: bool) -> Layer:
    """Our streaming layer for one of transformers' after the LSTM."""
    if isinstance(layer, EncodecConvTranspose1d):
        return layers.upsampling(layer.conv)
    if isinstance(layer, EncodecResnetBlock):
        return layers.residual(layer, reflect=reflect)
    return layers.last(layer.conv, reflect=reflect)


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
