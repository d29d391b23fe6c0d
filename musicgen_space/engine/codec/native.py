"""EnCodec's decoder on the native kernel, in bfloat16: the layers of ``streaming``, faster.

What is multiplied is rounded to bfloat16, all else stays float32. The noise of that is 49 to
51 dB below the music of musicgen-nano, and 54 dB below the sound of random weights in
musicgen-small's shape. Where a processor has no products in bfloat16, torch computes.

Every number is summed in the same order whatever is beside it: sounds that are decoded
together are bit by bit what they would be alone, and pieces what the whole would be.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.models.encodec.modeling_encodec import EncodecResnetBlock

from musicgen_space.engine.codec.streaming import Layer, LSTMState, bias_of

__all__ = ["NativeLayers"]

_TILE = 16  # outputs of a tile of weights (codec.h)


class NativeLayers:
    """Makes the layers of one decoder; see ``streaming.TorchLayers``."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._kernel = _Kernel(library)

    @staticmethod
    def support(library: ctypes.CDLL, decoder: nn.Module) -> bool:
        """Whether the kernel has them on this processor, and for ``decoder``.

        It should be built as MusicGen's: where a rate has several residual blocks, or shortcuts
        that are convolutions, the noise would add up (to 36 dB below random weights' sound).
        """
        modules = list(decoder.modules())
        convolutions = [m for m in modules if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
        blocks = [m for m in modules if isinstance(m, EncodecResnetBlock)]
        return (
            bool(library.musicgen_has_bfloat16())
            and all(conv.in_channels % 2 == 0 for conv in convolutions)
            and all(m.hidden_size % _TILE == 0 for m in modules if isinstance(m, nn.LSTM))
            and all(isinstance(block.shortcut, nn.Identity) for block in blocks)
            and len(blocks) <= sum(isinstance(conv, nn.ConvTranspose1d) for conv in convolutions)
        )

    def first(self, conv: nn.Conv1d, *, reflect: bool) -> Layer:
        """The decoder's first convolution, of embeddings."""
        return _Convolution(self._kernel, conv, reflect=reflect, elu=False)

    def lstm(self, lstm: nn.LSTM) -> _LSTM:
        """The LSTM."""
        return _LSTM(self._kernel, lstm)

    def upsampling(self, conv: nn.ConvTranspose1d) -> Layer:
        """An ELU and a transposed convolution."""
        return _Upsampling(self._kernel, conv)

    def residual(self, block: EncodecResnetBlock, *, reflect: bool) -> Layer:
        """A residual block."""
        return _ResidualBlock(self._kernel, block, reflect=reflect)

    def last(self, conv: nn.Conv1d, *, reflect: bool) -> Layer:
        """An ELU and the convolution that gives samples."""
        return _Samples(self._kernel, conv, reflect=reflect)


class _Convolution:
    """As ``streaming.Convolution``."""

    def __init__(self, kernel: _Kernel, conv: nn.Conv1d, *, reflect: bool, elu: bool) -> None:
        self.reflect, self._elu = reflect, elu
        self._kernel = kernel
        self._taps = _Taps.of(conv.weight.detach().permute(2, 1, 0), bias_of(conv))
        self.context = (self._taps.count - 1) // 2

    def __call__(self, inputs: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """[T + 2 context, N, C] → [T, N, C′], to which ``residual`` [T, N, C′] is added."""
        rounded = self._kernel.elu(inputs) if self._elu else inputs.bfloat16()
        return self._kernel.convolve(rounded, self._taps, residual)


class _Upsampling:
    """As ``streaming.Upsampling``: a convolution of two taps with r · C′ outputs."""

    context = 1
    reflect = False

    def __init__(self, kernel: _Kernel, conv: nn.ConvTranspose1d) -> None:
        self._kernel, channels = kernel, conv.weight.shape[0]
        self._ratio: int = conv.kernel_size[0] // 2
        by_position = conv.weight.detach().permute(0, 2, 1).reshape(channels, -1)
        first, second = by_position.chunk(2, dim=1)
        self._taps = _Taps.of(torch.stack([second, first]), bias_of(conv).repeat(self._ratio))

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2, N, C] → [r T, N, C′]."""
        (length, sounds, _), ratio = inputs.shape, self._ratio
        outputs = self._kernel.convolve(self._kernel.elu(inputs), self._taps)
        by_sound = outputs.view(length - 1, sounds, ratio, -1)
        in_order = by_sound.transpose(1, 2).reshape((length - 1) * ratio, sounds, -1)
        trim = ratio - ratio // 2
        return in_order[trim : trim + (length - 2) * ratio]


class _ResidualBlock:
    """As ``streaming.ResidualBlock``."""

    def __init__(self, kernel: _Kernel, block: EncodecResnetBlock, *, reflect: bool) -> None:
        _, wide, _, narrow = block.block
        self._wide = _Convolution(kernel, wide.conv, reflect=reflect, elu=True)
        self._narrow = _Convolution(kernel, narrow.conv, reflect=reflect, elu=True)
        self.context, self.reflect = self._wide.context, reflect

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2 context, N, C] → [T, N, C]."""
        middle = inputs[self.context : len(inputs) - self.context]
        return self._narrow(self._wide(inputs), middle)


class _Samples:
    """As ``streaming.Convolution``, to one channel.

    A tile has 16 outputs: the taps are these, and their products are added up in float32.
    """

    def __init__(self, kernel: _Kernel, conv: nn.Conv1d, *, reflect: bool) -> None:
        self.reflect, self._kernel, self._bias = reflect, kernel, bias_of(conv)
        taps = conv.weight.detach()  # [1, C, taps]
        self._taps = _Taps.of(taps, torch.zeros(taps.shape[2]))
        self.context = (taps.shape[2] - 1) // 2

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """[T + 2 context, N, C] → [T, N, 1]."""
        length = len(inputs) - 2 * self.context
        products = self._kernel.convolve(self._kernel.elu(inputs), self._taps)
        samples = self._bias.expand(length, inputs.shape[1]).clone()
        for tap in range(products.shape[2]):
            samples += products[tap : tap + length, :, tap]
        return samples.unsqueeze(2)


class _LSTM:
    """As ``streaming.ResidualLSTM``."""

    exact_together = True

    def __init__(self, kernel: _Kernel, lstm: nn.LSTM) -> None:
        self._kernel, self._units = kernel, lstm.hidden_size
        self._layers = [self._pack(lstm, layer) for layer in range(lstm.num_layers)]

    def start(self, sounds: int) -> LSTMState:
        """See ``streaming.LSTM``."""
        shape = len(self._layers), sounds, self._units
        return torch.zeros(shape, dtype=torch.bfloat16), torch.zeros(shape)

    def __call__(self, steps: torch.Tensor, state: LSTMState) -> tuple[torch.Tensor, LSTMState]:
        """See ``streaming.LSTM``."""
        before, cells = state[0], state[1].clone()
        outputs, after = steps.bfloat16(), []
        for (ih, hh), outputs_before, of_layer in zip(self._layers, before, cells, strict=True):
            gates = self._kernel.convolve(outputs, ih)
            outputs = self._kernel.recur(gates, hh, outputs_before, of_layer)
            after.append(outputs[-1])
        return outputs + steps, (torch.stack(after), cells)

    def _pack(self, lstm: nn.LSTM, layer: int) -> tuple[_Taps, _Taps]:
        """Of inputs and of last outputs, in the kernel's order: four gates of 16 units each."""
        order = torch.arange(4 * self._units).view(4, -1, _TILE).transpose(0, 1).flatten()
        ih, hh, bias_ih, bias_hh = (
            getattr(lstm, f"{name}_l{layer}").detach()[order]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        bias = bias_ih + bias_hh
        return _Taps.of(ih.T[None], bias), _Taps.of(hh.T[None], torch.zeros_like(bias))


@dataclass(frozen=True, slots=True, eq=False)
class _Taps:
    """A convolution's weights as the kernel reads them: see codec.h."""

    count: int
    channels: int
    outputs: int
    weights: torch.Tensor  # bfloat16 [tiles, taps, channels / 2, 16, 2]
    bias: torch.Tensor  # float32 [tiles · 16]

    @classmethod
    def of(cls, taps: torch.Tensor, bias: torch.Tensor) -> _Taps:
        """Of weights [taps, C, C′] and a bias [C′]."""
        count, channels, outputs = taps.shape
        missing = -outputs % _TILE
        padded = functional.pad(taps, (0, missing)).view(count, channels // 2, 2, -1, _TILE)
        weights = padded.permute(3, 0, 1, 4, 2).bfloat16().contiguous()
        return cls(count, channels, outputs, weights, functional.pad(bias.float(), (0, missing)))


class _Kernel:
    """The functions of codec.h, on tensors. It keeps the caller's thread, and frees the GIL."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def elu(self, x: torch.Tensor) -> torch.Tensor:
        """float32 of any shape → bfloat16."""
        x = x.contiguous()
        out = torch.empty_like(x, dtype=torch.bfloat16)
        self._library.musicgen_elu(_address(x), _address(out), ctypes.c_int64(x.numel()))
        return out

    def convolve(
        self, x: torch.Tensor, taps: _Taps, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        """bfloat16 [T + taps − 1, N, C] → float32 [T, N, C′]."""
        x, residual = x.contiguous(), None if residual is None else residual.contiguous()
        length, sounds = len(x) - taps.count + 1, x.shape[1]
        out = torch.empty(length, sounds, taps.outputs)
        self._library.musicgen_convolve(
            ctypes.byref(
                _ConvolutionOf(
                    *(_address(x), _address(taps.weights), _address(taps.bias)),
                    *(None if residual is None else _address(residual), _address(out)),
                    *(length * sounds, taps.channels),
                    *(taps.count, sounds * taps.channels, taps.channels),
                    taps.outputs,
                )
            )
        )
        return out

    def recur(
        self, gates: torch.Tensor, taps: _Taps, before: torch.Tensor, cells: torch.Tensor
    ) -> torch.Tensor:
        """Gates from the inputs [T, N, 4 C] → outputs [T, N, C]; ``cells`` [N, C] are updated."""
        (steps, sounds, _), units = gates.shape, taps.channels
        before = before.contiguous()
        out = torch.empty(steps, sounds, units, dtype=torch.bfloat16)
        self._library.musicgen_recur(
            ctypes.byref(
                _RecurrenceOf(
                    *(_address(gates), _address(taps.weights), _address(before)),
                    *(_address(cells), _address(out), steps, sounds, units),
                )
            )
        )
        return out


def _fields(pointers: str, numbers: str) -> list[tuple[str, Any]]:
    return [
        *((name, ctypes.c_void_p) for name in pointers.split()),
        *((name, ctypes.c_int) for name in numbers.split()),
    ]


class _ConvolutionOf(ctypes.Structure):
    _fields_ = _fields(
        "x weights bias residual out",
        "rows row_stride taps tap_stride channels outputs",
    )


class _RecurrenceOf(ctypes.Structure):
    _fields_ = _fields("gates weights before cells out", "steps sounds units")


def _address(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
