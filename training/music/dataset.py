"""Rendered music on disk: int16 sound in files of a few pieces each, and their captions.

Every file is written whole or not at all, by several processes, in any order; what is there
already is kept. So an interrupted rendering goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.music.compose import compose
from training.music.render import SAMPLE_RATE, render

__all__ = ["Dataset", "as_floats", "write"]

_PIECES_A_FILE = 50
_Job = tuple[Path, list[int], float, Path]


def write(
    folder: Path, seeds: Sequence[int], seconds: float, soundfont: Path, processes: int
) -> None:
    """Render the first ``seconds`` of the pieces of ``seeds`` to ``folder``, in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs: list[_Job] = [
        (
            folder / f"{start:06}.npy",
            list(seeds[start : start + _PIECES_A_FILE]),
            seconds,
            soundfont,
        )
        for start in range(0, len(seeds), _PIECES_A_FILE)
    ]
    jobs = [job for job in jobs if not job[0].exists()]
    if processes == 1 or len(jobs) < 2:
        done: Iterator[None] = map(_write_file, jobs)
        _watch(done, len(jobs))
        return
    # Not forked: torch's threads, if there are any, would not survive it.
    with multiprocessing.get_context("spawn").Pool(min(processes, len(jobs))) as pool:
        _watch(pool.imap_unordered(_write_file, jobs), len(jobs))


def _watch(done: Iterator[None], total: int) -> None:
    for _ in tqdm(done, total=total, desc="render", unit="file", mininterval=5):
        pass


def _write_file(job: _Job) -> None:
    """Captions first: the sound says that the file is complete."""
    file, seeds, seconds, soundfont = job
    pieces = [compose(seed) for seed in seeds]
    captions = [{"seed": piece.seed, "caption": piece.caption} for piece in pieces]
    file.with_suffix(".json").write_text(json.dumps(captions, indent=0))
    sounds = np.stack([_whole_numbers(render(piece, seconds, soundfont)) for piece in pieces])
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.save(stream, sounds)
    os.replace(partial, file)


def _whole_numbers(sound: np.ndarray) -> np.ndarray:
    numbers: np.ndarray = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
    return numbers


class Dataset:
    """The music in a ``folder``, read as it is needed."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.npy"))
        self._sounds = [np.load(file, mmap_mode="r") for file in files]
        self.captions: list[str] = [
            entry["caption"]
            for file in files
            for entry in json.loads(file.with_suffix(".json").read_text())
        ]
        self.samples: int = self._sounds[0].shape[1]  # of each piece

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def seconds(self) -> float:
        """The length of each piece."""
        return self.samples / SAMPLE_RATE

    def clip(self, piece: int, start: int, samples: int) -> np.ndarray:
        """int16 [samples] of a piece, from the sample ``start`` on."""
        file, row = divmod(piece, _PIECES_A_FILE)
        clip: np.ndarray = self._sounds[file][row, start : start + samples]
        return clip

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All pieces whole, in order: float32 [up to ``size``, samples], within −1 … 1."""
        for start in range(0, len(self), size):
            pieces = range(start, min(len(self), start + size))
            yield as_floats(np.stack([self.clip(piece, 0, self.samples) for piece in pieces]))


def as_floats(sounds: np.ndarray) -> np.ndarray:
    """int16 → float32 within −1 … 1."""
    floats: np.ndarray = sounds.astype(np.float32) / 32767
    return floats
