"""A disk cache of converted weights, so that loading a checkpoint again skips the conversion.

An entry is one file, ``<key>.npz``: arrays by name in a zip archive, with a checksum (CRC-32)
of each. The key is a hash of all inputs: the checkpoint's weights, the target format and the
engine's own sources. So stale entries are never read; damaged ones are detected while they
are read, and rewritten. The least recently used are evicted.
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
from musicgen_space.engine.checkpoint.staging import remove_abandoned, staging_folder
from musicgen_space.engine.runtimes.base import Arrays

__all__ = ["CacheEntry"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_BYTES = 8 * 10**9  # of all entries; the newest stays in any case
MIN_WEIGHTS = 100_000_000  # smaller decoders convert too fast to be worth caching
_SAMPLE = 1024  # values of each tensor that are hashed into the key


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The weights of one decoder in one format, in ``file`` once it is written."""

    file: Path

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, weight_format: str | None, folder: Path | None
    ) -> CacheEntry | None:
        """The entry for ``weight_format`` (see ``Runtime``); None if it should not be cached."""
        if folder is None or weight_format is None or checkpoint.shapes.weights < MIN_WEIGHTS:
            return None
        return cls(folder / "converted" / f"{_key(checkpoint, weight_format)}.npz")

    def read(self, restore: Callable[[Arrays], Result]) -> Result | None:
        """``restore(arrays)``; None if there is no entry or it is damaged."""
        remove_abandoned(self.file.parent)
        try:
            with zipfile.ZipFile(self.file) as archive:
                result = restore(_LazyArchive(archive))
        except FileNotFoundError:
            return None
        except MemoryError:
            raise
        except Exception as error:  # a damaged archive can raise anything
            log.warning("%s can't be read and is rewritten: %s", self.file, error)
            return None
        with suppress(OSError):
            os.utime(self.file)  # marks it as recently used
        return result

    def write(self, arrays: Arrays) -> None:
        """Write ``arrays`` atomically; a failure is only logged."""
        folder, size = self.file.parent, sum(array.nbytes for array in arrays.values())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
            if free < 2 * size:  # leave the rest of a nearly full disk alone
                log.warning(
                    "%s: not enough disk space to cache %d MB of weights", folder, size // 10**6
                )
                return
            with staging_folder(folder) as staging:
                written = staging / self.file.name
                np.savez(written, **arrays)  # type: ignore[arg-type]
                os.replace(written, self.file)
        except OSError as error:
            log.warning("The converted weights are not cached: %s", error)
        else:
            log.info("Converted weights are cached in %s", self.file)
            _evict(folder)


class _LazyArchive(Mapping[str, np.ndarray]):
    """The arrays of an archive, each read and verified when it is accessed."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def __getitem__(self, name: str) -> np.ndarray:
        with self._archive.open(f"{name}.npy") as member:
            array: np.ndarray = np.lib.format.read_array(member)
            if member.read(1):  # zipfile verifies the checksum at the end of the member
                raise zipfile.BadZipFile(f"{name} is longer than it says")
        return array

    def __iter__(self) -> Iterator[str]:
        return (name.removesuffix(".npy") for name in self._archive.namelist())

    def __len__(self) -> int:
        return len(self._archive.namelist())


def _key(checkpoint: Checkpoint, weight_format: str) -> str:
    """A cheap hash: the files' sizes and modification times, and some values of each tensor.

    The values distinguish checkpoints whose files all have the same time, as from an archive;
    the times catch changes to values that are not sampled.
    """
    digest = hashlib.sha256()

    def add(*facts: object) -> None:
        digest.update(repr(facts).encode())

    add(weight_format, checkpoint.shapes, _sources_checksum())
    for file in checkpoint.files:
        status = file.stat()
        add(status.st_size, status.st_mtime_ns)
    for name, pieces in sorted(checkpoint.decoder.items()):
        for piece in pieces:
            add(name, piece.name, piece.patch and piece.patch.scale)
            for tensor in piece.tensors:
                add(tensor.shape, tensor.dtype)
                sample = tensor.flatten()[:_SAMPLE].contiguous()
                digest.update(sample.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


@cache
def _sources_checksum() -> str:
    """Of the engine's sources: another version may convert differently."""
    digest = hashlib.sha256()
    engine = Path(__file__).parents[1]
    for path in sorted(path for path in engine.rglob("*") if path.suffix in (".py", ".h", ".cpp")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _evict(folder: Path) -> None:
    """Delete the least recently used entries beyond ``MAX_BYTES``."""
    with suppress(OSError):  # another process may be faster
        budget = MAX_BYTES
        files = sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime_ns)
        for file in reversed(files):
            budget -= file.stat().st_size
            if budget < 0 and file is not files[-1]:
                file.unlink()
