"""Reads the variables of a TensorFlow checkpoint without TensorFlow.

A checkpoint ("tensor bundle", version 2) is two files. ``.data-00000-of-00001`` holds the
numbers, one variable after the other. ``.index`` says where: it is a sorted string table as
LevelDB writes them (github.com/google/leveldb, ``doc/table_format.md``), from a variable's name
to a ``BundleEntryProto`` (TensorFlow, ``core/protobuf/tensor_bundle.proto``): dtype, shape,
offset and size. TensorFlow writes the table uncompressed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["read_bundle"]

_FOOTER = 48  # bytes: two block handles, padded, and a magic number
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5  # bytes after a block: its compression and a checksum
_FLOAT32 = 1  # of TensorFlow's DataType


def read_bundle(folder: Path) -> dict[str, np.ndarray]:
    """Every float32 variable of the checkpoint in ``folder``, by name.

    Raises ``ValueError`` for what is no such checkpoint, ``OSError`` if it can't be read.
    """
    index = (folder / ".index").read_bytes()
    data = (folder / ".data-00000-of-00001").read_bytes()
    variables = {}
    for name, entry in _table(index):
        fields = dict(_message(entry))
        if not name or fields.get(1) != _FLOAT32:  # the first entry is the bundle's header
            continue
        shape = tuple(_shape(fields.get(2, b"")))
        offset = int(fields.get(4, 0))
        numbers = np.frombuffer(data, "<f4", math.prod(shape), offset)
        variables[name.decode()] = numbers.reshape(shape)
    return variables


def _table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a sorted string table."""
    footer = index[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("This is no index of a TensorFlow checkpoint.")
    position = 0
    for _ in range(2):  # skip the handle of the meta-index
        _, position = _varint(footer, position)
    for _, handle in _block(index, footer[position:]):
        yield from _block(index, handle)


def _block(index: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block; keys share their beginnings with the key before."""
    offset, position = _varint(handle, 0)
    size, _ = _varint(handle, position)
    block = index[offset : offset + size + _TRAILER]
    if block[size]:
        raise ValueError("The checkpoint's index is compressed: only TensorFlow can read it.")
    restarts = struct.unpack_from("<I", block, size - 4)[0]
    end = size - 4 * (restarts + 1)
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _message(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer: numbers, or bytes for what has a length."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, position = _varint(data, position)
        elif kind == 2:
            length, position = _varint(data, position)
            value, position = data[position : position + length], position + length
        elif kind == 5:
            value, position = data[position : position + 4], position + 4
        else:
            raise ValueError(f"The checkpoint's index holds a field of kind {kind}.")
        yield tag >> 3, value


def _shape(shape: int | bytes) -> Iterator[int]:
    """The sizes in a ``TensorShapeProto``: field 2 is a dimension, whose field 1 is its size."""
    for field, dimension in _message(shape if isinstance(shape, bytes) else b""):
        if field == 2 and isinstance(dimension, bytes):
            yield int(dict(_message(dimension)).get(1, 0))


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first; → it, and what follows it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
