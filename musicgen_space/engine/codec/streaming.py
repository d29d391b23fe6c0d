"""Streaming layers of EnCodec's decoder; nothing is computed twice.

A *stage* takes the new inputs and returns all outputs that they complete. It keeps the
inputs that later outputs depend on, and pads only at the true ends of the sequence::

    one push      [kept][new······]            → as many outputs as new inputs
    the next             [kept][new······]     → the outputs that follow

Sequences are time-major, [T, N, C]: a convolution is then one matrix product per tap of its
kernel over contiguous slices, and a transposed one of stride r is two, whose output rows of
r · C numbers are r positions.

Milliseconds of one Zen 3 core per second of music (32 kHz EnCodec with 64 filters, in
one-second chunks; the first two recompute the context around each chunk):

    ===========================  ====  ============
    runtime                      LSTM  convolutions
    ===========================  ====  ============
    transformers in eager torch   151           254
    ONNX Runtime 1.32              76           172
    here                           48           144
    ===========================  ====  ============

The LSTM is bound by reading weights, 67 MB per frame, so they are packed in half precision
(FBGEMM, which computes in float32). That is lossless for checkpoints published in half
precision; for others the error is 91 dB below the music of musicgen-nano, less than the
rounding of 16-bit files. In 8 bits the LSTM would take half the time, but with random
weights its output was off by 18 %.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn
from torch.nn import functional
from transformers.models.encodec.modeling_encodec import EncodecResnetBlock

from musicgen_space.engine.runtimes.half import has_fbgemm

__all__ = [
    "LSTM",
    "LSTMState",
    "Layer",
    "Layers",
    "ResidualLSTM",
    "Stage",
    "TorchLayers",
    "bias_of",
]

LSTMState = tuple[torch.Tensor, torch.Tensor]  # outputs and cells [layers, N, C]


class Layer(Protocol):
    """A layer with ``context`` inputs on both sides: [T + 2 context, N, C] → [T′, N, C′].

    The ends of a sequence are padded by reflection if ``reflect``, else with zeros.
    """

    context: int
    reflect: bool

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2 context, N, C] → [T′, N, C′]."""


class LSTM(Protocol):
    """The LSTM with its skip connection.

    ``exact_together``: sounds that are computed together are bit by bit what they are alone.
    """

    exact_together: bool

    def start(self, sounds: int) -> LSTMState:
        """The state before the first step of N sounds."""

    def __call__(self, steps: torch.Tensor, state: LSTMState) -> tuple[torch.Tensor, LSTMState]:
        """Inputs [T, N, C] and state → outputs [T, N, C] and the new state."""


class Layers(Protocol):
    """Makes our layers of transformers'; what goes between them is float32."""

    def first(self, conv: nn.Conv1d, *, reflect: bool) -> Layer:
        """The decoder's first convolution, of embeddings."""

    def lstm(self, lstm: nn.LSTM) -> LSTM:
        """The LSTM."""

    def upsampling(self, conv: nn.ConvTranspose1d) -> Layer:
        """An ELU and a transposed convolution of stride r and kernel 2 r."""

    def residual(self, block: EncodecResnetBlock, *, reflect: bool) -> Layer:
        """A residual block."""

    def last(self, conv: nn.Conv1d, *, reflect: bool) -> Layer:
        """An ELU and the convolution that gives samples."""


class TorchLayers:
    """Layers in torch and float32, for any device; see ``Layers``."""

    def first(self, conv: nn.Conv1d, *, reflect: bool) -> Layer:  # noqa: D102
        return Convolution(conv, reflect=reflect, elu=False)

    def lstm(self, lstm: nn.LSTM) -> LSTM:  # noqa: D102
        return ResidualLSTM(lstm)

    def upsampling(self, conv: nn.ConvTranspose1d) -> Layer:  # noqa: D102
        return Upsampling(conv)

    def residual(self, block: EncodecResnetBlock, *, reflect: bool) -> Layer:  # noqa: D102
        return ResidualBlock(block, reflect=reflect)

    def last(self, conv: nn.Conv1d, *, reflect: bool) -> Layer:  # noqa: D102
        return Convolution(conv, reflect=reflect, elu=True)


class Stage:
    """Streams one sequence through a layer."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._kept: torch.Tensor | None = None
        self._started = False

    def push(self, new: torch.Tensor, *, last: bool) -> torch.Tensor | None:
        """New inputs [T′, N, C] → the outputs they complete; None if it needs more input first."""
        layer, context = self._layer, self._layer.context
        inputs = new if self._kept is None else torch.cat([self._kept, new])
        if not self._started and not last and len(inputs) <= context:
            self._kept = inputs  # too short to reflect
            return None
        before, after = 0 if self._started else context, context if last else 0
        if before or after:
            inputs = (_pad_reflect if layer.reflect else _pad_zeros)(inputs, before, after)
        self._started = True
        self._kept = inputs[len(inputs) - 2 * context :]
        return layer(inputs)


class Convolution:
    """``conv`` of stride 1, after an ELU if ``elu``."""

    def __init__(self, conv: nn.Conv1d, *, reflect: bool, elu: bool) -> None:
        self.reflect, self._elu = reflect, elu
        self._dilation: int = conv.dilation[0]
        self.context = self._dilation * (conv.kernel_size[0] - 1) // 2
        self._taps = conv.weight.detach().permute(2, 1, 0).contiguous()  # [kernel, C, C′]
        self._bias = bias_of(conv)
        _share(conv, self._taps.permute(2, 1, 0))

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2 context, N, C] → [T, N, C′]."""
        length = len(inputs) - 2 * self.context
        if self._elu:
            inputs = functional.elu(inputs)
        shifted = [
            inputs[start : start + length].flatten(0, 1)
            for start in range(0, 2 * self.context + 1, self._dilation)
        ]
        outputs = torch.addmm(self._bias, shifted[0], self._taps[0])
        for rows, tap in zip(shifted[1:], self._taps[1:], strict=True):
            outputs.addmm_(rows, tap)
        return outputs.view(length, inputs.shape[1], -1)


class Upsampling:
    """An ELU and the transposed convolution ``conv`` of stride r and kernel 2 r.

    Input t contributes to outputs r t … r t + 2 r − 1, of which r − r // 2 are trimmed at the
    start. So each r outputs are the sum of one input's first half and the previous input's
    second half.
    """

    context = 1
    reflect = False

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        channels, _, kernel = conv.weight.shape
        self._ratio = kernel // 2
        by_position = conv.weight.detach().permute(0, 2, 1).contiguous()  # [C, 2 r, C′]
        self._first, self._second = by_position.view(channels, -1).chunk(2, dim=1)
        self._bias = bias_of(conv).repeat(self._ratio)
        _share(conv, by_position.permute(0, 2, 1))

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2, N, C] → [r T, N, C′]."""
        length, sounds, _ = inputs.shape
        inputs, ratio = functional.elu(inputs), self._ratio
        outputs = torch.addmm(self._bias, inputs[1:].flatten(0, 1), self._first)
        outputs.addmm_(inputs[:-1].flatten(0, 1), self._second)
        by_sound = outputs.view(length - 1, sounds, ratio, -1)
        in_order = by_sound.transpose(1, 2).reshape((length - 1) * ratio, sounds, -1)
        trim = ratio - ratio // 2
        return in_order[trim : trim + (length - 2) * ratio]


class ResidualBlock:
    """transformers' ``EncodecResnetBlock``: two convolutions and a shortcut."""

    def __init__(self, block: EncodecResnetBlock, *, reflect: bool) -> None:
        _, wide, _, narrow = block.block
        self._wide = Convolution(wide.conv, reflect=reflect, elu=True)
        self._narrow = Convolution(narrow.conv, reflect=reflect, elu=True)
        self._shortcut: Convolution | None = None
        if not isinstance(block.shortcut, nn.Identity):
            self._shortcut = Convolution(block.shortcut.conv, reflect=reflect, elu=False)
        self.context, self.reflect = self._wide.context, reflect

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2 context, N, C] → [T, N, C]."""
        outputs = self._narrow(self._wide(inputs))
        middle = inputs[self.context : len(inputs) - self.context]
        return outputs.add_(middle if self._shortcut is None else self._shortcut(middle))


class ResidualLSTM:
    """The LSTM with its skip connection; weights in half precision where FBGEMM is available."""

    def __init__(self, lstm: nn.LSTM) -> None:
        self.lstm = lstm
        packable = has_fbgemm() and lstm.weight_ih_l0.device.type == "cpu"
        self._cells = [_pack(lstm, layer) for layer in range(lstm.num_layers)] if packable else None
        self.exact_together = packable

    def start(self, sounds: int) -> LSTMState:
        """See ``LSTM.start``."""
        shape = self.lstm.num_layers, sounds, self.lstm.hidden_size
        zeros = torch.zeros(shape, device=next(self.lstm.parameters()).device)
        return zeros, zeros

    def __call__(self, steps: torch.Tensor, state: LSTMState) -> tuple[torch.Tensor, LSTMState]:
        """See ``LSTM``."""
        if self._cells is None:
            output, state = self.lstm(steps, state)
            return output + steps, state
        output, *after = torch.quantized_lstm(
            steps,
            state,
            self._cells,
            has_biases=True,
            num_layers=self.lstm.num_layers,
            dropout=0.0,
            train=False,
            bidirectional=False,
            batch_first=False,
            dtype=torch.float16,
        )
        return output + steps, (after[0], after[1])


def bias_of(conv: nn.Conv1d | nn.ConvTranspose1d) -> torch.Tensor:
    """The bias [C′] of a convolution; ``ValueError`` without one."""
    if conv.bias is None:
        raise ValueError("EnCodec's convolutions have a bias.")
    return conv.bias.detach()


def _share(conv: nn.Conv1d | nn.ConvTranspose1d, weight: torch.Tensor) -> None:
    """Make ``conv`` use ``weight`` as well, so that the weights are in memory once."""
    conv.weight = nn.Parameter(weight, requires_grad=False)


def _pack(lstm: nn.LSTM, layer: int) -> torch.ScriptObject:
    """One layer's weights, packed in half precision."""
    packed = [
        torch.ops.quantized.linear_prepack_fp16(
            getattr(lstm, f"weight_{kind}_l{layer}").detach(),
            getattr(lstm, f"bias_{kind}_l{layer}").detach(),
        )
        for kind in ("ih", "hh")
    ]
    cell: torch.ScriptObject = torch.ops.quantized.make_quantized_cell_params_fp16(*packed)
    return cell


def _pad_zeros(inputs: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """[T, N, C] padded with zeros."""
    return functional.pad(inputs, (0, 0, 0, 0, before, after))


def _pad_reflect(inputs: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """[T, N, C] padded by reflection; if too short for that, zero-padded at the end first.

    As in transformers (``EncodecConv1d._pad1d``).
    """
    positions = torch.arange(-before, len(inputs) + after, device=inputs.device)
    missing = max(0, max(before, after) + 1 - len(inputs))
    inputs = _pad_zeros(inputs, 0, missing)
    end = len(inputs) - 1
    return inputs[end - (end - positions.abs()).abs()]
