"""A checkpoint's files, looked at before a library reads them: their kind, size and contents.

A stranger's small file must not fill the memory, nor a pipe be waited for. What describes
weights is bounded here; the weights themselves are mapped, and take no more than they are.
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

__all__ = ["MOST_JSON", "check_regular", "check_weights", "is_archive", "read_bounded"]

MOST_JSON = 4 * 2**20  # bytes of a configuration or of an index; the largest known has 0.3 MB
# Bytes in which a file says what its tensors are called and shaped, before their numbers:
# of a pickle (each may become an object of 64) or of a header. Published ones have 0.3 MB.
_MOST_DESCRIPTION = 4 * 2**20
_MOST_DIRECTORY = 4 * 2**20  # bytes of a zip archive's, in which each member takes 50 or more

# What torch.save refers to for tensors by name. Of the rest that torch allows, some make
# gigabytes of nothing, as bytearray does.
_OF_TENSORS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(?:tensor(?:_v2)?|parameter)"
    r"|torch\.(?:storage\.)?\w+Storage"
)
_LEGACY_PICKLES = 5  # in a file of torch before 1.6: three of the format, tensors, their keys


def check_regular(path: Path, most: int | None = None) -> None:
    """Raise ``InvalidCheckpoint`` unless ``path`` is a file on a disk, of ``most`` bytes.

    Raises ``OSError`` where nothing is.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InvalidCheckpoint(f"{path} is no regular file, but a folder, a pipe or a device.")
    if most is not None and found.st_size > most:
        raise _too_large(path, found.st_size, most)


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a regular file of up to ``most`` bytes.

    Raises ``InvalidCheckpoint``, or ``OSError`` where nothing is.
    """
    check_regular(path, most)
    with path.open("rb") as file:
        return file.read(most)  # some files are longer than they say


def is_archive(file: Path) -> bool:
    """Whether torch takes ``file`` for a zip archive, rather than its format before 1.6."""
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\3\4"


def check_weights(file: Path) -> None:
    """Raise ``InvalidCheckpoint`` if reading ``file`` could run code or fill the memory.

    What is merely damaged may raise anything else.
    """
    check_regular(file)
    if file.suffix == ".safetensors":
        _check_header(file)
    elif is_archive(file):
        _check_archive(file)
    else:
        with file.open("rb") as opened:
            described = io.BytesIO(opened.read(_MOST_DESCRIPTION))
        for _ in range(_LEGACY_PICKLES):
            _check_pickle(described, file)


def _check_header(file: Path) -> None:
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
    # Where the file has less than that, the format's own reader says so.
    if _MOST_DESCRIPTION < size <= file.stat().st_size:
        raise _too_large(f"The header of {file.name}", size, _MOST_DESCRIPTION)


def _check_archive(file: Path) -> None:
    with file.open("rb") as opened:
        _check_directory(opened, file)
        with zipfile.ZipFile(opened) as archive:
            for member in archive.infolist():
                _check_stored(member, file)
                # torch looks for names whatever their case.
                _, _, inside = member.filename.lower().partition("/")
                if inside.startswith("data/"):
                    continue  # numbers, which are mapped
                if member.file_size > _MOST_DESCRIPTION:
                    what = f"{member.filename} in {file.name}"
                    raise _too_large(what, member.file_size, _MOST_DESCRIPTION)
                if inside.endswith(".pkl"):
                    _check_pickle(io.BytesIO(archive.read(member)), file)


def _check_stored(member: zipfile.ZipInfo, file: Path) -> None:
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise InvalidCheckpoint(
            f"{file.name} is compressed ({member.filename}, of {member.file_size:,} bytes), which "
            "torch.save never does: weights are only read as they are."
        )


# The end of a zip archive: the record that zip64 has besides, where that is, and the last one.
# PKWARE, APPNOTE.TXT, 4.3.14 to 4.3.16.
_RECORD_64 = struct.Struct("<4s36xQQ")
_LOCATOR = struct.Struct("<4s4xQ4x")
_LAST = struct.Struct("<4s8xII2x")


def _check_directory(opened: BinaryIO, file: Path) -> None:
    """Refuse an archive whose directory is large, or could be found in more than one place.

    Python's reader, by which the members are checked, and torch's then see the same ones.
    """
    sizes = (_RECORD_64.size, _LOCATOR.size, _LAST.size)
    end = opened.seek(0, io.SEEK_END) - sum(sizes)
    opened.seek(max(0, end))
    tail = opened.read().rjust(sum(sizes), b"\0")
    record, locator = tail[: sizes[0]], tail[sizes[0] : -sizes[2]]
    signature, size, offset = _LAST.unpack(tail[-sizes[2] :])
    plain = signature == b"PK\5\6" and tail.endswith(b"\0\0")
    at = end + sizes[0] + sizes[1]
    if locator.startswith(b"PK\6\7"):
        signature, size, offset = _RECORD_64.unpack(record)
        plain &= signature == b"PK\6\6" and _LOCATOR.unpack(locator)[1] == end
        at = end
    if not plain or offset + size != at:
        raise InvalidCheckpoint(f"{file.name} is damaged: it ends unlike what torch.save writes.")
    if size > _MOST_DIRECTORY:
        raise _too_large(f"The directory of {file.name}", size, _MOST_DIRECTORY)


def _check_pickle(pickled: BinaryIO, file: Path) -> None:
    for name in _globals(pickled):
        if not _OF_TENSORS.fullmatch(name):
            raise InvalidCheckpoint(
                f"{file.name} was refused: to be read it wants to use {name}. Only plain tensors "
                "are read, because anything else in such a file could run code here."
            )


def _globals(pickled: BinaryIO) -> Iterator[str]:
    """What a pickle refers to, up to its end. How else it could, torch doesn't read."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")


def _too_large(what: object, size: int, most: int) -> InvalidCheckpoint:
    return InvalidCheckpoint(f"{what} has {size:,} bytes, at most {most:,} are read.")
