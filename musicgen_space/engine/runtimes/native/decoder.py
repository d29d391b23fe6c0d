"""MusicGen's decoder on the native kernel: a drop-in for ``model.Decoder``.

It is built from a loaded decoder. Three modes:

``exact``  weights as published (float16 where that is lossless, else float32), products
           and KV cache in float32: equal to ``model.Decoder`` up to rounding
``int8``   weights −63 … 63 with a scale per 128 inputs of an output, activations
           −127 … 127 likewise, 8-bit KV cache (matrix.h says why 63)
``int4``   the same, with the feed-forward's weights in 4 bits and a scale per 32 inputs

``packed`` exports the converted matrices, from which the same decoder can be rebuilt
without the original weights.

A row's result depends neither on the other rows nor on the number of threads, so the kernel
may skip threads that would only wait for a core.
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
from musicgen_space.engine.model import Condition, Decoder, melody_prefix, sinusoidal_positions
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


@dataclass(slots=True, eq=False, weakref_slot=True)
class NativeCache:
    """The KV cache of one generation; owns the kernel's allocation."""

    rows: int
    _handle: int
    _positions: torch.Tensor  # the kernel reads them in place


class NativeDecoder:
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

    def packed(self) -> dict[str, np.ndarray]:
        """Views of the converted matrices by their names in ``Decoder``; valid while this lives."""
        return {
            name: self._bytes_of(layer, part).view(_DTYPES[fmt])
            for name, (layer, part, fmt) in self._matrices.items()
        }

    def prefill(
        self, codes: torch.Tensor, condition: Condition, *, max_steps: int
    ) -> tuple[torch.Tensor, NativeCache]:
        """Start a generation; see ``Decoder.prefill``."""
        states = self._text_proj(condition.text.states.float())
        prefix = None
        if self._chroma_proj is not None:
            prefix = melody_prefix(states, condition, self._chroma_proj).contiguous()
            max_steps += prefix.shape[1]
        cache = self._init_cache(states, condition, max_steps)
        return self._forward(codes, cache, prefix), cache

    def decode(self, codes: torch.Tensor, cache: NativeCache) -> torch.Tensor:
        """Add one step ``codes`` [B, K]; → logits of the next one [R, K, V]."""
        return self._forward(codes.unsqueeze(-1), cache)

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

    def _forward(
        self, codes: torch.Tensor, cache: NativeCache, prefix: torch.Tensor | None = None
    ) -> torch.Tensor:
        takes, codebooks, steps = codes.shape
        codes = codes.contiguous()
        logits = torch.empty(cache.rows, codebooks, self.config.codebook_size)
        failed = self._library.musicgen_advance(
            self._handle,
            cache._handle,
            None if prefix is None else _address(prefix),
            0 if prefix is None else prefix.shape[1],
            _address(codes),
            takes,
            steps,
            _address(logits),
        )
        if failed:
            raise _FAILURES[failed]
        return logits

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


def simd_levels(library: ctypes.CDLL) -> list[str]:
    """The SIMD variants of the kernel that this processor can run, the fastest last."""
    names: bytes = _with_signatures(library).musicgen_levels()
    return names.decode().split()


_FAILURES = {
    -1: MemoryError("Out of memory for the next step."),
    -2: ValueError("More steps than the KV cache was allocated for."),
    -3: ValueError("A code is out of the codebook's range."),
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
        "advance": (number, [*[pointer] * 3, number, pointer, number, number, pointer]),
    }
    for name, (result, arguments) in types.items():
        function = getattr(library, f"musicgen_{name}")
        function.restype, function.argtypes = result, arguments
    return library
