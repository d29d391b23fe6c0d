"""MusicGen's decoder on the native kernel: a drop-in for ``model.Decoder``.

It is built from a loaded decoder. Three modes:

``exact``  weights as published (float16 where that is lossless, else float32), products
           and KV cache in float32: equal to ``model.Decoder`` up to rounding
``int8``   weights −63 … 63 with a scale per 128 inputs of an output, activations
           −127 … 127 likewise, 8-bit KV cache (matrix.h says why 63)
``int4``   the same, with the feed-forward's weights in 4 bits and a scale per 32 inputs

``packed`` exports the converted matrices, from which the same decoder can be rebuilt
without the original weights.

A row's result depends neither on the other rows nor on the number of threads. So generations
that are advanced together get the logits that they would get alone, bit by bit, and the kernel
may skip threads that would only wait for a core.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.model import (
    Columns,
    Condition,
    Decoder,
    Predictor,
    melody_prefix,
    sinusoidal_positions,
)
from musicgen_space.engine.runtimes.half import fits_half, weight_of

__all__ = ["Mode", "NativeCache", "NativeDecoder", "simd_levels"]

Mode = Literal["exact", "int8", "int4"]

_FLOAT32, _FLOAT16, _INT8, _INT4 = range(4)  # decoder.cpp's Format
# How a packed matrix is exported; quantised blocks are opaque bytes.
_DTYPES = {_FLOAT32: np.float32, _FLOAT16: np.float16, _INT8: np.uint8, _INT4: np.uint8}
_PARTS = (
    "self_attn.qkv_proj",
    "self_attn.out_proj",
    "cross_attn.q_proj",
    "cross_attn.out_proj",
    "fc1",
    "fc2",
    "cross_attn.kv_proj",
)
_NORMS = ("self_attn_norm", "cross_attn_norm", "ffn_norm")
_FEED_FORWARD = ("fc1", "fc2")
_LM_HEADS = -1  # the layer index that stands for the output heads


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            *("width", "heads", "layers", "ffn_dim", "codebooks", "codebook_size"),
            *("has_cross_attn", "int8_cache"),
        )
    ]


class _Slice(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("state", "prefix", "codes", "logits")),
        *((name, ctypes.c_int) for name in ("before", "takes", "columns")),
    ]


@dataclass(slots=True, eq=False, weakref_slot=True)
class NativeCache:
    """The KV cache of one generation; owns the kernel's allocation."""

    rows: int
    _handle: int
    _positions: torch.Tensor  # the kernel reads them in place


class NativeDecoder(Predictor):
    """Codes in, logits of the next codes out; the interface and shapes of ``model.Decoder``."""

    def __init__(
        self,
        decoder: Decoder,
        mode: Mode,
        library: ctypes.CDLL,
        threads: int,
        level: str = "",
        packed: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Convert the matrices of ``decoder``, or take them from ``packed``.

        With ``packed``, only the shapes of the decoder's matrices are used (meta tensors will
        do). ``library`` is the kernel (``kernel.load``), ``level`` one of its ``simd_levels``;
        "" is the best. ``decoder`` is not referenced afterwards.
        """
        self.config: DecoderConfig = decoder.config
        self.mode: Mode = mode
        self._library = _with_signatures(library)
        # In float32, whatever the dtype of the loaded decoder.
        self._text_proj = decoder.text_proj.float()
        self._chroma_proj = decoder.chroma_proj.float() if decoder.config.follows_melody else None
        self._embeddings = decoder.embeddings.detach().float().contiguous()  # read in place
        shape = _shape(decoder.config, int8_cache=mode != "exact")
        self._handle = self._library.musicgen_new(
            ctypes.byref(shape), _address(self._embeddings), level.encode(), threads
        )
        if not self._handle:
            raise MemoryError(f"No native decoder of these shapes on level {level!r}.")
        _free_with(self, self._library.musicgen_free, self._handle)
        self._matrices: dict[str, tuple[int, int, int]] = {}  # name → layer, part, format
        self._convert_weights(decoder, packed)

    @property
    def position_bytes(self) -> int:
        """See ``Predictor.position_bytes``; matrix.h says how they lie."""
        config, width = self.config, self.config.head_width
        lane = _padded(width, 4) + _padded(width, 16)  # numbers of a key and a value
        of_lane = 4 * lane if self.mode == "exact" else lane + 2 * 4  # and their scales
        return config.layers * config.heads * of_lane

    def packed(self) -> dict[str, np.ndarray]:
        """Views of the converted matrices by their names in ``Decoder``; valid while this lives."""
        return {
            name: self._bytes_of(layer, part).view(_DTYPES[fmt])
            for name, (layer, part, fmt) in self._matrices.items()
        }

    def start(
        self, condition: Condition, max_steps: int
    ) -> tuple[NativeCache, torch.Tensor | None]:
        """See ``Predictor.start``."""
        states = self._text_proj(condition.text.states.float())
        if self._chroma_proj is None:
            return self._init_cache(states, condition, max_steps), None
        prefix = melody_prefix(states, condition, self._chroma_proj)
        return self._init_cache(states, condition, max_steps + prefix.shape[1]), prefix

    def step(self, states: Sequence[NativeCache], columns: Sequence[Columns]) -> list[torch.Tensor]:
        """See ``Predictor.step``; what they read of the weights is read once."""
        reads = [_Read(self.config, *each) for each in zip(states, columns, strict=True)]
        slices = (_Slice * len(reads))(*(read.slice() for read in reads))
        failed = self._library.musicgen_advance(self._handle, slices, len(reads))
        if failed:
            raise _FAILURES[failed]()
        return [read.logits for read in reads]

    def _init_cache(
        self, states: torch.Tensor, condition: Condition, positions: int
    ) -> NativeCache:
        """Padding is dropped from the text, so each row has a text of its own length."""
        mask = condition.text.mask
        rows = 0 if self.config.follows_melody else len(mask)
        lengths = (ctypes.c_int * rows)(*mask.sum(dim=1).tolist()[:rows])
        tokens = states[mask].contiguous()
        table = sinusoidal_positions(positions, self.config.width).contiguous()
        handle = self._library.musicgen_start(
            self._handle,
            condition.rows,
            rows,
            lengths,
            _address(tokens),
            _address(table),
            positions,
        )
        if not handle:
            raise MemoryError("Out of memory for the KV cache.")
        cache = NativeCache(condition.rows, handle, table)
        _free_with(cache, self._library.musicgen_end, handle)
        return cache

    def _convert_weights(self, decoder: Decoder, packed: Mapping[str, np.ndarray] | None) -> None:
        for index, layer in enumerate(decoder.layers):
            for part, name in enumerate(_PARTS):
                if layer.has_cross_attn or not name.startswith("cross_attn"):
                    linear, whole = layer.get_submodule(name), f"layers.{index}.{name}"
                    self._convert_matrix(whole, index, part, linear, self._format(name), packed)
            for part, name in enumerate(_NORMS):
                if layer.has_cross_attn or not name.startswith("cross_attn"):
                    self._copy_norm(index, part, getattr(layer, name))
        heads = self._format("lm_heads")
        self._convert_matrix("lm_heads", _LM_HEADS, 0, decoder.lm_heads, heads, packed)
        self._copy_norm(_LM_HEADS, 0, decoder.norm)

    def _format(self, part: str) -> int:
        if self.mode == "exact":
            return _FLOAT16
        return _INT4 if self.mode == "int4" and part in _FEED_FORWARD else _INT8

    def _convert_matrix(
        self,
        name: str,
        layer: int,
        part: int,
        linear: nn.Module,
        fmt: int,
        packed: Mapping[str, np.ndarray] | None,
    ) -> None:
        weight, ready = weight_of(linear), None if packed is None else packed[name]
        if ready is None:
            weight = weight.float().contiguous()
        if fmt == _FLOAT16 and not (fits_half(weight) if ready is None else ready.itemsize == 2):
            fmt = _FLOAT32
        if self._library.musicgen_set_matrix(
            *(self._handle, layer, part, fmt),
            *(_address(weight) if ready is None else None, *weight.shape),
        ):
            raise MemoryError("Out of memory for the decoder's weights.")
        self._matrices[name] = layer, part, fmt
        if ready is not None:
            target = self._bytes_of(layer, part)
            if ready.nbytes != target.nbytes:
                raise ValueError(f"{name} has {ready.nbytes} bytes, not {target.nbytes}.")
            target[:] = ready.view(np.uint8)

    def _bytes_of(self, layer: int, part: int) -> np.ndarray:
        """A view of the kernel's memory of one matrix."""
        count = ctypes.c_int64()
        address = self._library.musicgen_packed(self._handle, layer, part, ctypes.byref(count))
        return np.ctypeslib.as_array((ctypes.c_uint8 * count.value).from_address(address))

    def _copy_norm(self, layer: int, part: int, norm: nn.LayerNorm) -> None:
        gain, bias = (vector.detach().float().contiguous() for vector in (norm.weight, norm.bias))
        if self._library.musicgen_set_norm(
            self._handle, layer, part, _address(gain), _address(bias)
        ):
            raise MemoryError("Out of memory for the decoder's weights.")


class _Read:
    """What one generation reads in a call: keeps the tensors whose addresses the kernel gets."""

    def __init__(self, config: DecoderConfig, cache: NativeCache, columns: Columns) -> None:
        self._cache, self._codes = cache, columns.codes.contiguous()
        self._prefix = None if columns.prefix is None else columns.prefix.contiguous()
        self.logits = torch.empty(cache.rows, config.codebooks, config.codebook_size)

    def slice(self) -> _Slice:
        """As the kernel wants it."""
        takes, _, steps = self._codes.shape
        return _Slice(
            self._cache._handle,
            None if self._prefix is None else _address(self._prefix),
            _address(self._codes),
            _address(self.logits),
            0 if self._prefix is None else self._prefix.shape[1],
            takes,
            steps,
        )


def simd_levels(library: ctypes.CDLL) -> list[str]:
    """The SIMD variants of the kernel that this processor can run, the fastest last."""
    names: bytes = _with_signatures(library).musicgen_levels()
    return names.decode().split()


_FAILURES: dict[int, Callable[[], Exception]] = {
    -1: lambda: MemoryError("Out of memory for the next step."),
    -2: lambda: ValueError("More steps than the KV cache was allocated for."),
    -3: lambda: ValueError("A code is out of the codebook's range."),
}


def _free_with(owner: object, free: Callable[[int], None], handle: int) -> None:
    """Have the kernel's memory freed when nobody has ``owner`` any more.

    Not at the end of the program, when a thread may still compute with it.
    """
    weakref.finalize(owner, free, handle).atexit = False


def _shape(config: DecoderConfig, *, int8_cache: bool) -> _Shape:
    return _Shape(
        config.width,
        config.heads,
        config.layers,
        config.ffn_dim,
        config.codebooks,
        config.codebook_size,
        not config.follows_melody,
        int8_cache,
    )


def _padded(count: int, to: int) -> int:
    return -(-count // to) * to


def _address(tensor: torch.Tensor) -> int:
    return tensor.data_ptr()


def _with_signatures(library: ctypes.CDLL) -> ctypes.CDLL:
    """``library`` with its functions' ctypes signatures; see the end of decoder.cpp."""
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
        "advance": (number, [pointer, pointer, number]),
    }
    for name, (result, arguments) in types.items():
        function = getattr(library, f"musicgen_{name}")
        function.restype, function.argtypes = result, arguments
    return library
