"""MusicGen's decoder on the native kernel, to be used in place of ``model.Decoder``.

It is made from a loaded decoder and has the same interface. Three modes:

``exact``  the weights as published (float16 where that loses nothing, else float32),
           products and cache in float32: the numbers of ``model.Decoder`` up to rounding
``int8``   weights as −63 … 63 with a scale for every 128 inputs of an output, activations
           as −127 … 127 likewise, cache in bytes (matrix.h says why 63)
``int4``   the same, but the feed-forward's weights in 4 bits with a scale for every 32

What ``packed`` says of one decoder makes another, of the same numbers, without the weights.

A row's result does not depend on the rows beside it, nor on the number of threads; so
the kernel is free to leave the other threads out where they only wait for a core.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.model import Condition, Decoder, melody_prefix, sinusoids
from musicgen_space.engine.runtimes.half import is_half, weight_of

__all__ = ["Mode", "NativeDecoder", "NativeState", "levels"]

Mode = Literal["exact", "int8", "int4"]

_FLOAT32, _FLOAT16, _INT8, _INT4 = range(4)  # decoder.cpp's Format
# How the numbers of a packed matrix are shown; what says nothing of the format is bytes.
_DTYPES = {_FLOAT32: np.float32, _FLOAT16: np.float16, _INT8: np.uint8, _INT4: np.uint8}
_PARTS = (
    "self_attention.queries_keys_values",
    "self_attention.output",
    "cross_attention.queries",
    "cross_attention.output",
    "expand",
    "contract",
    "cross_attention.keys_values",
)
_NORMS = ("self_attention_norm", "cross_attention_norm", "feed_forward_norm")
_FEED_FORWARD = ("expand", "contract")
_HEADS = -1  # in place of a layer's number


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            *("width", "heads", "layers", "feed_forward", "codebooks", "codebook_size"),
            *("looks_at_text", "cache_in_bytes"),
        )
    ]


@dataclass(slots=True, eq=False, weakref_slot=True)
class NativeState:
    """The memory of one generation; the kernel's share is freed with it."""

    rows: int
    _handle: int
    _positions: torch.Tensor  # the kernel reads them in place


class NativeDecoder:
    """Codes in, logits of the next codes out; see ``model.Decoder`` for the meaning of it all."""

    def __init__(
        self,
        decoder: Decoder,
        mode: Mode,
        library: ctypes.CDLL,
        threads: int,
        level: str = "",
        packed: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """It copies the matrices of layers and heads; or takes them ``packed``, by their shapes.

        ``library`` is the kernel (``kernel.load``), and ``level`` one of its ``levels``; "" is
        the best. ``decoder`` may go afterwards.
        """
        self.config: DecoderConfig = decoder.config
        self.mode: Mode = mode
        self._library = _declared(library)
        # In float32, whatever the loaded decoder is in.
        self._text_projection = decoder.text_projection.float()
        self._chroma_projection = (
            decoder.chroma_projection.float() if decoder.config.follows_melody else None
        )
        self._embeddings = decoder.embeddings.detach().float().contiguous()  # read in place
        shape = _shape(decoder.config, in_bytes=mode != "exact")
        self._handle = self._library.musicgen_new(
            ctypes.byref(shape), _address(self._embeddings), level.encode(), threads
        )
        if not self._handle:
            raise MemoryError(f"No native decoder of these shapes on level {level!r}.")
        _freed_with(self, self._library.musicgen_free, self._handle)
        self._matrices: dict[str, tuple[int, int, int]] = {}  # layer, part and format by name
        self._copy_weights(decoder, packed)

    def packed(self) -> dict[str, np.ndarray]:
        """The matrices as they are kept, by their names in ``Decoder``; not to outlive this."""
        return {
            name: self._bytes_of(layer, part).view(_DTYPES[kept])
            for name, (layer, part, kept) in self._matrices.items()
        }

    def prefill(
        self, codes: torch.Tensor, condition: Condition, *, columns: int
    ) -> tuple[torch.Tensor, NativeState]:
        """Start a generation; see ``Decoder.prefill``."""
        states = self._text_projection(condition.text.states.float())
        prefix = None
        if self._chroma_projection is not None:
            prefix = melody_prefix(states, condition, self._chroma_projection).contiguous()
            columns += prefix.shape[1]
        state = self._start(states, condition, columns)
        return self._advance(codes, state, prefix), state

    def decode(self, codes: torch.Tensor, state: NativeState) -> torch.Tensor:
        """Add one column ``codes`` [B, K]; → logits of the next one [R, K, V]."""
        return self._advance(codes.unsqueeze(-1), state)

    def _start(self, states: torch.Tensor, condition: Condition, columns: int) -> NativeState:
        """What is masked is left out, so that every row has a text of its own length."""
        mask = condition.text.mask
        rows = 0 if self.config.follows_melody else len(mask)
        lengths = (ctypes.c_int * rows)(*mask.sum(dim=1).tolist()[:rows])
        tokens = states[mask].contiguous()
        positions = sinusoids(columns, self.config.width).contiguous()
        handle = self._library.musicgen_start(
            self._handle,
            condition.rows,
            rows,
            lengths,
            _address(tokens),
            _address(positions),
            columns,
        )
        if not handle:
            raise MemoryError("There is no memory for another generation.")
        state = NativeState(condition.rows, handle, positions)
        _freed_with(state, self._library.musicgen_end, handle)
        return state

    def _advance(
        self, codes: torch.Tensor, state: NativeState, prefix: torch.Tensor | None = None
    ) -> torch.Tensor:
        takes, codebooks, columns = codes.shape
        codes = codes.contiguous()
        logits = torch.empty(state.rows, codebooks, self.config.codebook_size)
        failed = self._library.musicgen_advance(
            self._handle,
            state._handle,
            None if prefix is None else _address(prefix),
            0 if prefix is None else prefix.shape[1],
            _address(codes),
            takes,
            columns,
            _address(logits),
        )
        if failed:
            raise _FAILURES[failed]
        return logits

    def _copy_weights(self, decoder: Decoder, packed: Mapping[str, np.ndarray] | None) -> None:
        for index, layer in enumerate(decoder.layers):
            for part, name in enumerate(_PARTS):
                if layer.looks_at_text or not name.startswith("cross_attention"):
                    linear, whole = layer.get_submodule(name), f"layers.{index}.{name}"
                    self._copy_matrix(whole, index, part, linear, self._format(name), packed)
            for part, name in enumerate(_NORMS):
                if layer.looks_at_text or not name.startswith("cross_attention"):
                    self._copy_norm(index, part, getattr(layer, name))
        heads = self._format("heads")
        self._copy_matrix("heads", _HEADS, 0, decoder.heads, heads, packed)
        self._copy_norm(_HEADS, 0, decoder.norm)

    def _format(self, part: str) -> int:
        if self.mode == "exact":
            return _FLOAT16
        return _INT4 if self.mode == "int4" and part in _FEED_FORWARD else _INT8

    def _copy_matrix(
        self,
        name: str,
        layer: int,
        part: int,
        linear: nn.Module,
        kept: int,
        packed: Mapping[str, np.ndarray] | None,
    ) -> None:
        weight, ready = weight_of(linear), None if packed is None else packed[name]
        if ready is None:
            weight = weight.float().contiguous()
        if kept == _FLOAT16 and not (is_half(weight) if ready is None else ready.itemsize == 2):
            kept = _FLOAT32
        if self._library.musicgen_set_matrix(
            *(self._handle, layer, part, kept),
            *(_address(weight) if ready is None else None, *weight.shape),
        ):
            raise MemoryError("There is no memory for the decoder's weights.")
        self._matrices[name] = layer, part, kept
        if ready is not None:
            place = self._bytes_of(layer, part)
            if ready.nbytes != place.nbytes:
                raise ValueError(f"{name} has {ready.nbytes} bytes, not {place.nbytes}.")
            place[:] = ready.view(np.uint8)

    def _bytes_of(self, layer: int, part: int) -> np.ndarray:
        """A packed matrix in place."""
        count = ctypes.c_int64()
        address = self._library.musicgen_packed(self._handle, layer, part, ctypes.byref(count))
        return np.ctypeslib.as_array((ctypes.c_uint8 * count.value).from_address(address))

    def _copy_norm(self, layer: int, part: int, norm: nn.LayerNorm) -> None:
        gain, bias = (vector.detach().float().contiguous() for vector in (norm.weight, norm.bias))
        if self._library.musicgen_set_norm(
            self._handle, layer, part, _address(gain), _address(bias)
        ):
            raise MemoryError("There is no memory for the decoder's weights.")


def levels(library: ctypes.CDLL) -> list[str]:
    """The kinds of loops that this processor has, the best last."""
    names: bytes = _declared(library).musicgen_levels()
    return names.decode().split()


_FAILURES = {
    -1: MemoryError("There is no memory for another column."),
    -2: ValueError("The generation has no room for so many columns."),
    -3: ValueError("There is no such code."),
}


def _freed_with(owner: object, free: Callable[[int], None], handle: int) -> None:
    """Have the kernel's memory freed when nobody has ``owner`` any more.

    Not at the end of the program, when a thread may still compute with it.
    """
    weakref.finalize(owner, free, handle).atexit = False


def _shape(config: DecoderConfig, *, in_bytes: bool) -> _Shape:
    return _Shape(
        config.width,
        config.heads,
        config.layers,
        config.feed_forward,
        config.codebooks,
        config.codebook_size,
        not config.follows_melody,
        in_bytes,
    )


def _address(tensor: torch.Tensor) -> int:
    return tensor.data_ptr()


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions, as at the end of decoder.cpp."""
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    types: dict[str, tuple[object, list[object]]] = {
        "levels": (text, []),
        "new": (pointer, [pointer, pointer, text, number]),
        "free": (None, [pointer]),
        "set_matrix": (number, [pointer, *[number] * 3, pointer, number, number]),
        "packed": (pointer, [pointer, number, number, pointer]),
        "set_norm": (number, [pointer, number, number, pointer, pointer]),
        "start": (pointer, [pointer, number, number, pointer, pointer, pointer, number]),
        "end": (None, [pointer]),
        "advance": (number, [*[pointer] * 3, number, pointer, number, number, pointer]),
    }
    for name, (result, arguments) in types.items():
        function = getattr(library, f"musicgen_{name}")
        function.restype, function.argtypes = result, arguments
    return library
