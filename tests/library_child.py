"""What other processes do with a library in the tests: keep takes, be killed, find no room."""

from __future__ import annotations

import itertools
import os
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy.dialects.sqlite  # noqa: F401  (before a process gives up its rights)

from musicgen_space.errors import LibraryUnavailable
from musicgen_space.library import Library
from musicgen_space.request import MusicRequest, Take

RATE = 32000
NOBODY = 65534


def take_of(prompt: str = "jazz", samples: np.ndarray | None = None, **wish: Any) -> Take:
    """A take of 20 ms, if nothing else is said."""
    if samples is None:
        samples = np.sin(np.arange(640) / 10, dtype=np.float32)[None] / 2
    return Take(samples, RATE, MusicRequest(prompt, **wish), "local", "musicgen-nano", 1.5)


def opened(folder: Path, visitor_bytes: int | None = None) -> Library:
    return Library(folder, total_bytes=2**30, visitor_bytes=visitor_bytes)


def keep_until_killed(folder: Path, visitor_bytes: int | None, answer: Connection) -> None:
    """Keep takes, "+id" after each, and delete every third, "-id" before."""
    answer.send("?")
    library = opened(folder, visitor_bytes)
    for number in itertools.count():
        for id in library.keep("owner", [take_of(seed=seed) for seed in range(1 + number % 2)]):
            answer.send(f"+{id}")
        if number % 3 == 0:
            answer.send(f"-{id}")
            library.delete("owner", [id])


def keep_some(folder: Path, how_many: int, answer: Connection) -> None:
    library = opened(folder)
    answer.send([id for n in range(how_many) for id in library.keep("owner", [take_of(seed=n)])])


def keep_without_rights(folder: Path, answer: Connection) -> None:
    """Keep with a library that was opened before its folder became read-only, and open it then."""
    library = opened(folder)
    (folder / "takes").chmod(0o555)
    folder.chmod(0o555)
    if os.geteuid() == 0:  # may write everywhere
        os.setuid(NOBODY)
    for attempt in (lambda: library.keep("owner", [take_of()]), lambda: opened(folder)):
        try:
            answer.send(repr(attempt()))
        except LibraryUnavailable as error:
            answer.send(str(error))


def keep_with_small_files(folder: Path, answer: Connection) -> None:
    """Keep while no file may grow beyond some size, which first is too small for anything."""
    library = opened(folder)
    kept, errors = [], []
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 5000)).astype(np.float32)
    for most in range(1000, 200_000, 4000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        try:
            kept += library.keep("owner", [take_of(samples=samples)] * 2)
        except LibraryUnavailable as error:
            errors.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    answer.send((kept, errors))
