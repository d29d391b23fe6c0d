"""Checks of untrusted checkpoint files before a library reads them: kind, size, contents.

A small malicious file must neither exhaust memory nor block (as a pipe would). Metadata is
bounded here; weights are memory-mapped and need no more than their size.
"""

from __future__ import annotations

import io
import pickletools
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from musicgen_space.errors import InvalidCheckpoint

__all__ = ["MAX_JSON_BYTES", "check_regular", "check_weight_file", "is_archive", "read_bounded"]

MAX_JSON_BYTES = 4 * 2**20  # of a config or a shard index; the largest known has 0.3 MB
# Of the metadata (names and shapes) of a weight file: a pickle, each byte of which may become
# an object of 64 bytes, or a safetensors header. Published ones have 0.3 MB.
_MAX_METADATA_BYTES = 4 * 2**20
_MAX_DIRECTORY_BYTES = 4 * 2**20  # of a zip archive: at least 50 per member

# The globals that torch.save uses for tensors. Some others that torch allows, like bytearray,
# allocate gigabytes from a few bytes.
_ALLOWED_GLOBALS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(?:tensor(?:_v2)?|parameter)"
    r"|torch\.(?:storage\.)?\w+Storage"
)
_LEGACY_PICKLES = 5  # in a file of torch before 1.6: three headers, tensors, their keys


def check_regular(path: Path, max_bytes: int | None = None) -> None:
    """Raise ``InvalidCheckpoint`` unless ``path`` is a regular file of up to ``max_bytes``.

    Raises ``OSError`` if it does not exist.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InvalidCheckpoint(f"{path} is not a regular file but a folder, a pipe or a device.")
    if max_bytes is not None and found.st_size > max_bytes:
        raise _too_large(path, found.st_size, max_bytes)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of up to ``max_bytes``.

    Raises ``InvalidCheckpoint``, or ``OSError`` if it does not exist.
    """
    check_regular(path, max_bytes)
    with path.open("rb") as file:
        return file.read(max_bytes)  # special files, as in /proc, are longer than their st_size


def is_archive(file: Path) -> bool:
    """Whether torch reads ``file`` as a zip archive, rather than as its format before 1.6."""
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\3\4"


def check_weight_file(file: Path) -> None:
    """Raise ``InvalidCheckpoint`` if reading ``file`` could run code or exhaust memory.

    A file that is merely damaged may raise anything else.
    """
    check_regular(file)
    if file.suffix == ".safetensors":
        _check_header(file)
    elif is_archive(file):
        _check_archive(file)
    else:
        with file.open("rb") as opened:
            metadata = io.BytesIO(opened.read(_MAX_METADATA_BYTES))
        for _ in range(_LEGACY_PICKLES):
            _check_pickle(metadata, file)


def _check_header(file: Path) -> None:
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
    # A file shorter than that is reported by the format's own reader.
    if _MAX_METADATA_BYTES < size <= file.stat().st_size:
        raise _too_large(f"The header of {file.name}", size, _MAX_METADATA_BYTES)


def _check_archive(file: Path) -> None:
    with file.open("rb") as opened:
        _check_directory(opened, file)
        with zipfile.ZipFile(opened) as archive:
            for member in archive.infolist():
                _check_stored(member, file)
                # torch looks names up case-insensitively.
                _, _, inside = member.filename.lower().partition("/")
                if inside.startswith("data/"):
                    continue  # tensor data, which is mapped
                if member.file_size > _MAX_METADATA_BYTES:
                    what = f"{member.filename} in {file.name}"
                    raise _too_large(what, member.file_size, _MAX_METADATA_BYTES)
                if inside.endswith(".pkl"):
                    _check_pickle(io.BytesIO(archive.read(member)), file)


def _check_stored(member: zipfile.ZipInfo, file: Path) -> None:
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise InvalidCheckpoint(
            f"{file.name} is compressed ({member.filename}, of {member.file_size:,} bytes), which "
            "torch.save never does: only uncompressed weights are read."
        )


# The end of a zip archive: zip64 end record, zip64 locator, end record (PKWARE, APPNOTE.TXT,
# 4.3.14 to 4.3.16).
_ZIP64_END = struct.Struct("<4s36xQQ")
_LOCATOR = struct.Struct("<4s4xQ4x")
_END = struct.Struct("<4s8xII2x")


def _check_directory(opened: BinaryIO, file: Path) -> None:
    """Refuse an archive whose central directory is large or ambiguous to locate.

    So Python's reader, which checks the members, and torch's see the same ones.
    """
    sizes = (_ZIP64_END.size, _LOCATOR.size, _END.size)
    end = opened.seek(0, io.SEEK_END) - sum(sizes)
    opened.seek(max(0, end))
    tail = opened.read().rjust(sum(sizes), b"\0")
    record, locator = tail[: sizes[0]], tail[sizes[0] : -sizes[2]]
    signature, size, offset = _END.unpack(tail[-sizes[2] :])
    plain = signature == b"PK\5\6" and tail.endswith(b"\0\0")
    at = end + sizes[0] + sizes[1]
    if locator.startswith(b"PK\6\7"):
        signature, size, offset = _ZIP64_END.unpack(record)
        plain &= signature == b"PK\6\6" and _LOCATOR.unpack(locator)[1] == end
        at = end
    if not plain or offset + size != at:
        raise InvalidCheckpoint(f"{file.name} is damaged: its end is not as torch.save writes it.")
    if size > _MAX_DIRECTORY_BYTES:
        raise _too_large(f"The directory of {file.name}", size, _MAX_DIRECTORY_BYTES)


def _check_pickle(pickled: BinaryIO, file: Path) -> None:
    for name in _globals(pickled):
        if not _ALLOWED_GLOBALS.fullmatch(name):
            raise InvalidCheckpoint(
                f"{file.name} was refused: its pickle refers to {name}. Only plain tensors are "
                "read, because anything else in such a file could run code here."
            )


def _globals(pickled: BinaryIO) -> Iterator[str]:
    """The globals that a pickle refers to; torch's unpickler supports no other opcode for it."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")


def _too_large(what: object, size: int, limit: int) -> InvalidCheckpoint:
    return InvalidCheckpoint(f"{what} has {size:,} bytes; the limit is {limit:,}.")
