"""EnCodec's decoder over a sequence that grows at its end; nothing is computed twice.

A *stage* is given what came since the last time, and returns all that is settled by it.
For that it keeps the inputs that outputs still to come depend on. Only where the sequence
really starts and ends does it act as if nothing were beyond::

    one push      [kept][new······]            → as many outputs as inputs are new
    the next             [kept][new······]     → the outputs that follow those

Sequences are time-major here, [T, N, C]: a convolution is then one product of matrices
for each tap of its kernel, over slices that lie in memory as they are, and a transposed
one of stride r is two, whose rows of r · C numbers are r positions.

Milliseconds of one Zen 3 core for a second of music (EnCodec of 32 kHz with 64 filters,
in pieces of a second, with the frames around it that the first two have to repeat):

    ===========================  ====  ============
    runtime                      LSTM  convolutions
    ===========================  ====  ============
    transformers in eager torch   151           254
    ONNX Runtime 1.32              76           172
    here                           48           144
    ===========================  ====  ============

The LSTM spends its time reading weights, 67 MB for a frame, so it is faster where they
are kept in half precision (by FBGEMM; it computes in single). That loses nothing of a
checkpoint published in half precision; of others it leaves noise 91 dB below the music
of musicgen-nano, less than 16-bit files do. In 8 bit the LSTM would take half of the
time, but with random weights its output was off by 18 %.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn
from torch.nn import functional
from transformers.models.encodec.modeling_encodec import EncodecResnetBlock

from musicgen_space.engine.runtimes.half import has_fbgemm

__all__ = ["Convolution", "Layer", "Memory", "MemoryStage", "Residual", "Stage", "Upsampling"]


class Layer(Protocol):
    """A network that looks ``context`` inputs to both sides, [T + 2 context, N, C] → [T′, N, C′].

    Beyond the ends of a sequence it sees it mirrored if ``mirrored``, else zeros.
    """

    context: int
    mirrored: bool

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """As the class says."""


class Stage:
    """A layer run over one sequence, piece by piece."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._kept: torch.Tensor | None = None
        self._begun = False

    def push(self, new: torch.Tensor, *, last: bool) -> torch.Tensor | None:
        """[T′, N, C] more → the outputs that are settled now; None if too little came so far."""
        layer, context = self._layer, self._layer.context
        inputs = new if self._kept is None else torch.cat([self._kept, new])
        if not self._begun and not last and len(inputs) <= context:
            self._kept = inputs  # too short to be mirrored
            return None
        before, after = 0 if self._begun else context, context if last else 0
        if before or after:
            inputs = (_mirror if layer.mirrored else _surround)(inputs, before, after)
        self._begun = True
        self._kept = inputs[len(inputs) - 2 * context :]
        return layer(inputs)


class Convolution:
    """``conv`` of stride 1, after an ELU if ``activated``."""

    def __init__(self, conv: nn.Conv1d, *, mirrored: bool, activated: bool) -> None:
        self.mirrored, self._activated = mirrored, activated
        self._dilation: int = conv.dilation[0]
        self.context = self._dilation * (conv.kernel_size[0] - 1) // 2
        self._taps = conv.weight.detach().permute(2, 1, 0).contiguous()  # [kernel, C, C′]
        self._bias = _bias(conv)
        _share(conv, self._taps.permute(2, 1, 0))

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2 context, N, C] → [T, N, C′]."""
        length = len(inputs) - 2 * self.context
        if self._activated:
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

    Input t reaches the outputs r t … r t + 2 r − 1, of which r − r // 2 are cut off at the
    start. So r outputs in a row are made of an input's first half and the previous one's
    second half.
    """

    context = 1
    mirrored = False

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        channels, _, kernel = conv.weight.shape
        self._ratio = kernel // 2
        by_position = conv.weight.detach().permute(0, 2, 1).contiguous()  # [C, 2 r, C′]
        self._first, self._second = by_position.view(channels, -1).chunk(2, dim=1)
        self._bias = _bias(conv).repeat(self._ratio)
        _share(conv, by_position.permute(0, 2, 1))

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2, N, C] → [r T, N, C′]."""
        length, sounds, _ = inputs.shape
        inputs, ratio = functional.elu(inputs), self._ratio
        outputs = torch.addmm(self._bias, inputs[1:].flatten(0, 1), self._first)
        outputs.addmm_(inputs[:-1].flatten(0, 1), self._second)
        by_sound = outputs.view(length - 1, sounds, ratio, -1)
        in_order = by_sound.transpose(1, 2).reshape((length - 1) * ratio, sounds, -1)
        cut = ratio - ratio // 2
        return in_order[cut : cut + (length - 2) * ratio]


class Residual:
    """transformers' ``EncodecResnetBlock``: two convolutions and a way around them."""

    def __init__(self, block: EncodecResnetBlock, *, mirrored: bool) -> None:
        _, wide, _, narrow = block.block
        self._wide = Convolution(wide.conv, mirrored=mirrored, activated=True)
        self._narrow = Convolution(narrow.conv, mirrored=mirrored, activated=True)
        self._around: Convolution | None = None
        if not isinstance(block.shortcut, nn.Identity):
            self._around = Convolution(block.shortcut.conv, mirrored=mirrored, activated=False)
        self.context, self.mirrored = self._wide.context, mirrored

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2 context, N, C] → [T, N, C]."""
        outputs = self._narrow(self._wide(inputs))
        middle = inputs[self.context : len(inputs) - self.context]
        return outputs.add_(middle if self._around is None else self._around(middle))


class Memory:
    """The LSTM and a way around it; its weights in half precision where torch can."""

    def __init__(self, lstm: nn.LSTM) -> None:
        self.lstm = lstm
        packable = has_fbgemm() and lstm.weight_ih_l0.device.type == "cpu"
        self._cells = [_pack(lstm, layer) for layer in range(lstm.num_layers)] if packable else None

    def __call__(
        self, steps: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """[T, N, C] and the memory of earlier steps → [T, N, C] and the memory after them."""
        if self._cells is None:
            output, memory = self.lstm(steps, memory)
            return output + steps, memory
        if memory is None:
            zeros = steps.new_zeros(self.lstm.num_layers, *steps.shape[1:])
            memory = zeros, zeros
        output, *after = torch.quantized_lstm(
            steps,
            memory,
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


class MemoryStage:
    """The LSTM run over one sequence."""

    def __init__(self, memory: Memory) -> None:
        self._run = memory
        self._memory: tuple[torch.Tensor, torch.Tensor] | None = None

    def push(self, new: torch.Tensor, *, last: bool) -> torch.Tensor | None:
        """[T′, N, C] more → as many outputs."""
        if not len(new):
            return new
        outputs, self._memory = self._run(new, self._memory)
        return outputs


def _bias(conv: nn.Conv1d | nn.ConvTranspose1d) -> torch.Tensor:
    if conv.bias is None:
        raise ValueError("EnCodec's convolutions have a bias.")
    return conv.bias.detach()


def _share(conv: nn.Conv1d | nn.ConvTranspose1d, weight: torch.Tensor) -> None:
    """Let ``conv`` see the same weights where they lie now, so that they are there once."""
    conv.weight = nn.Parameter(weight, requires_grad=False)


def _pack(lstm: nn.LSTM, layer: int) -> torch.ScriptObject:
    """One layer's weights in half precision."""
    halves = [
        torch.ops.quantized.linear_prepack_fp16(
            getattr(lstm, f"weight_{half}_l{layer}").detach(),
            getattr(lstm, f"bias_{half}_l{layer}").detach(),
        )
        for half in ("ih", "hh")
    ]
    cell: torch.ScriptObject = torch.ops.quantized.make_quantized_cell_params_fp16(*halves)
    return cell


def _surround(inputs: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Zeros at the ends of [T, N, C]."""
    return functional.pad(inputs, (0, 0, 0, 0, before, after))


def _mirror(inputs: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """[T, N, C] mirrored at its ends; if too short for that, zeros follow it first.

    As transformers does it (``EncodecConv1d._pad1d``).
    """
    positions = torch.arange(-before, len(inputs) + after, device=inputs.device)
    missing = max(0, max(before, after) + 1 - len(inputs))
    inputs = _surround(inputs, 0, missing)
    end = len(inputs) - 1
    return inputs[end - (end - positions.abs()).abs()]
