"""Libraries in the tests, and what other processes do with them: be killed, find no room."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy.dialects.sqlite  # noqa: F401  (before a process gives up its rights)

from musicgen_space.errors import LibraryUnavailable, LibraryUnwritable
from musicgen_space.library import BucketLibrary, Library
from musicgen_space.library.tags import read_marks
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take
from tests.library.late_store import carry_over

RATE = 32000
NOBODY = 65534

# Children start as copies of a process that has imported all they need.
children = multiprocessing.get_context("forkserver")
children.set_forkserver_preload(["pytest", "tests.library.child"])


def take_of(prompt: str = "jazz", samples: np.ndarray | None = None, **wish: Any) -> Take:
    """A take of 20 ms, if nothing else is said."""
    if samples is None:
        samples = np.sin(np.arange(640) / 10, dtype=np.float32)[None] / 2
    return Take(samples, RATE, MusicRequest(prompt, **wish), "local", "musicgen-nano", 1.5)


def opened(folder: Path, visitor_bytes: int | None = None, *, owner: str | None = None) -> Library:
    return Library(folder, total_bytes=2**30, visitor_bytes=visitor_bytes, owner=owner)


def listed(library: Library, visitor: str = "owner", **search: Any) -> list[str]:
    return [entry.id for entry in library.search(visitor, **{"limit": 10**6} | search)]


def sounds_in(folder: Path) -> list[str]:
    return sorted(file.name.removesuffix(".flac") for file in (folder / "takes").iterdir())


def in_a_child(target: Callable[..., None], *args: Any) -> tuple[Any, Any]:
    """Start it; → the process and where its answer will be."""
    here, there = children.Pipe()
    child = children.Process(target=target, args=(*args, there))
    child.start()
    there.close()
    return child, here


def live_until_killed(folder: Path, visitor_bytes: int | None, answer: Connection) -> None:
    """Keep takes and do things with them; tell of each before, as "will", and after, as "did"."""
    answer.send(("will", "open", "", None))
    library = opened(folder, visitor_bytes)
    chance, ids = random.Random(), []
    while True:
        new = library.keep("owner", [take_of(seed=seed) for seed in range(chance.randint(1, 2))])
        for id in new:
            answer.send(("did", "keep", id, None))
        ids = [*ids, *new][-4:]
        for _ in range(2):
            id, verb, value = chance.choice(ids), *chance.choice(DOINGS)
            answer.send(("will", verb, id, value))
            if do(library, verb, id, value):
                answer.send(("did", verb, id, value))


# What is done to a take, and what it is then.
DOINGS = (
    ("name", "Sonntag"), ("name", "jazz"), ("favourite", True), ("favourite", False),
    ("deleted", True), ("deleted", False), ("deleted", False),
)  # fmt: skip


def do(library: Library, verb: str, id: str, value: Any) -> bool:
    """→ whether it was possible: what is deleted has no star."""
    if verb == "name":
        return library.rename("owner", id, value) is not None
    if verb == "favourite":
        return library.set_favourite("owner", id, value) is not None
    return bool((library.delete if value else library.restore)("owner", [id]))


def keep_some(folder: Path, how_many: int, answer: Connection) -> None:
    library = opened(folder)
    answer.send([id for n in range(how_many) for id in library.keep("owner", [take_of(seed=n)])])


def live_without_rights(folder: Path, id: str, answer: Connection) -> None:
    """Open a folder that is read-only; → what is listed, and why nothing can be changed."""
    (folder / "takes").chmod(0o555)
    folder.chmod(0o555)
    if os.geteuid() == 0:  # may write everywhere
        os.setuid(NOBODY)
    library, errors = opened(folder), []
    for attempt in (
        lambda: library.keep("owner", [take_of()]),
        lambda: library.set_favourite("owner", id, True),
        lambda: library.rename("owner", id, "x"),
        lambda: library.delete("owner", [id]),
    ):
        try:
            attempt()
        except LibraryUnavailable as error:
            errors.append(str(error))
    answer.send((listed(library), errors))


def live_without_room(folder: Path, deleted: str, restored: str, answer: Connection) -> None:
    """Open a library, keep and delete where no byte can be written; → what came of it."""
    said: dict[str, Any] = {}
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    library = opened(folder)
    said["first"] = listed(library)
    said["writable"] = library.writable
    try:
        library.keep("owner", [take_of()])
    except LibraryUnwritable:
        said["kept"] = False
    said["deleted"] = library.delete("owner", [deleted, restored])
    said["restored"] = library.restore("owner", [restored])
    said["last"] = listed(library)
    said["plays"] = library.take("owner", restored) is not None
    answer.send(said)


def delete_when_the_disk_is_full(folder: Path, id: str, answer: Connection) -> None:
    """Open a library, find no room any more and delete; → what is listed then."""
    library = opened(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    library.delete("owner", [id])
    answer.send(listed(library))


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


def live_in_a_bucket_until_killed(mount: Path, store: Path, answer: Connection) -> None:
    """Keep takes and do things with them; tell of each before, and what is in the store then."""
    tempfile.tempdir = str(mount.parent)  # it can't remove what it leaves there
    carry_over(mount, store)
    library = BucketLibrary(mount, total_bytes=2**30, visitor_bytes=None)
    chance = random.Random()
    ids = library.keep("owner", [take_of(seed=seed) for seed in range(2)])
    while True:
        for _ in range(3):
            id, verb, value = chance.choice(ids), *chance.choice(DOINGS)
            answer.send(("will", (id, verb, value)))
            do(library, verb, id, value)
            time.sleep(chance.uniform(0, 0.02))
        answer.send(("arrived", _arrived(library, store)))
        ids = [*ids, *library.keep("owner", [take_of()])][-3:]


def _arrived(library: Library, store: Path) -> dict[str, dict[str, Any]]:
    """Wait until the store has what the library lists; → the marks of each."""
    while True:
        here = {entry.id: (entry.name, entry.favourite) for entry in library.search("owner")}
        files = [file.read_bytes() for file in (store / "takes").glob("*.flac")]
        marks = dict(filter(None, map(read_marks, files)))
        there = {
            id: (each.name or "jazz", each.favourite)
            for id, each in marks.items()
            if not each.deleted
        }
        if here == there:
            return {
                id: {"name": name, "favourite": favourite, "deleted": False}
                for id, (name, favourite) in there.items()
            }
        time.sleep(0.005)
