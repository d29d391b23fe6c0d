"""Converted decoders on disk, so that a checkpoint's next load need not convert it again.

A conversion is one file, ``<key>.npz``: arrays by name in a zip archive, which has a
checksum (CRC-32) of each. The key stands for all that the conversion was made of: the
checkpoint's weights, what they were converted to, and the engine's own sources. So what is
stale has another name and is never read; what is damaged is noticed as it is read, and
made anew. The files that were used last are kept, the others go.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from musicgen_space.engine.checkpoint.parts import Checkpoint
from musicgen_space.engine.checkpoint.unfinished import tidy, unfinished

__all__ = ["Arrays", "Conversion"]

log = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]
Made = TypeVar("Made")

MOST_BYTES = 8 * 10**9  # of all conversions together; the newest stays in any case
SMALLEST = 100_000_000  # weights of a decoder whose conversion takes long enough to be kept
_SAMPLE = 1024  # numbers of each tensor that a key looks at


@dataclass(frozen=True, slots=True)
class Conversion:
    """One checkpoint's decoder in one form, in ``file`` if it was ever written."""

    file: Path

    @classmethod
    def of(cls, checkpoint: Checkpoint, form: str, folder: Path | None) -> Conversion | None:
        """The conversion to ``form``; None where it isn't worth its file, or without a folder."""
        if folder is None or checkpoint.shapes.weights < SMALLEST:
            return None
        return cls(folder / "converted" / f"{_key(checkpoint, form)}.npz")

    def read(self, make: Callable[[Arrays], Made]) -> Made | None:
        """What ``make`` makes of the arrays; None if there are none, or damaged ones."""
        tidy(self.file.parent)
        try:
            with zipfile.ZipFile(self.file) as archive:
                made = make(_Archived(archive))
        except FileNotFoundError:
            return None
        except MemoryError:
            raise
        except Exception as error:  # a damaged archive can raise anything
            log.warning("%s can't be read, so it is made anew: %s", self.file, error)
            return None
        with suppress(OSError):
            os.utime(self.file)  # used just now
        return made

    def write(self, arrays: Arrays) -> None:
        """Keep ``arrays``; others see the whole file or none. A line in the log if it fails."""
        folder, size = self.file.parent, sum(array.nbytes for array in arrays.values())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
            if free < 2 * size:  # whoever is short of room needs the rest for something else
                log.warning("%s: no room for %d MB of converted weights", folder, size // 10**6)
                return
            with unfinished(folder) as place:
                written = place / self.file.name
                np.savez(written, **arrays)  # type: ignore[arg-type]
                os.replace(written, self.file)
        except OSError as error:
            log.warning("The converted weights are not kept: %s", error)
        else:
            log.info("Converted weights are kept in %s", self.file)
            _keep_the_last(folder)


class _Archived(Mapping[str, np.ndarray]):
    """The arrays of an archive, each read and checked when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def __getitem__(self, name: str) -> np.ndarray:
        with self._archive.open(f"{name}.npy") as member:
            array: np.ndarray = np.lib.format.read_array(member)
            if member.read(1):  # only at its end the checksum is compared
                raise zipfile.BadZipFile(f"{name} is longer than it says")
        return array

    def __iter__(self) -> Iterator[str]:
        return (name.removesuffix(".npy") for name in self._archive.namelist())

    def __len__(self) -> int:
        return len(self._archive.namelist())


def _key(checkpoint: Checkpoint, form: str) -> str:
    """Cheap: the files' sizes and times, and a few numbers of each tensor.

    The numbers tell checkpoints apart whose files have the same time, as in archives whose
    times were all set to one; the time tells of a change that they don't see.
    """
    digest = hashlib.sha256()

    def add(*facts: object) -> None:
        digest.update(repr(facts).encode())

    add(form, checkpoint.shapes, _sources())
    for file in checkpoint.files:
        status = file.stat()
        add(status.st_size, status.st_mtime_ns)
    for name, pieces in sorted(checkpoint.decoder.items()):
        for piece in pieces:
            add(name, piece.name, piece.change and piece.change.scale)
            for tensor in piece.tensors:
                add(tensor.shape, tensor.dtype)
                sample = tensor.flatten()[:_SAMPLE].contiguous()
                digest.update(sample.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


@cache
def _sources() -> str:
    """A checksum of the engine's sources: another version may convert otherwise."""
    digest = hashlib.sha256()
    engine = Path(__file__).parents[1]
    for path in sorted(path for path in engine.rglob("*") if path.suffix in (".py", ".h", ".cpp")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _keep_the_last(folder: Path) -> None:
    """Keep the conversions that were used last."""
    with suppress(OSError):  # another process may be faster
        room = MOST_BYTES
        files = sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime_ns)
        for file in reversed(files):
            room -= file.stat().st_size
            if room < 0 and file is not files[-1]:
                file.unlink()
