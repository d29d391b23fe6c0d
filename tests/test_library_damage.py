"""Whatever happens to the library's folder between two starts: no sound is lost.

``LIBRARY_DAMAGES=5000 LIBRARY_SEED=7 python -m pytest tests/test_library_damage.py`` does more.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from musicgen_space.library import Library
from tests.library_child import opened, take_of

DAMAGES = int(os.environ.get("LIBRARY_DAMAGES", "200"))
SEED = int(os.environ.get("LIBRARY_SEED", "0"))
VISITORS = ("one", "two")


class Visitors:
    """What they keep, and what they must find again."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.made = 0
        # Of each: name and star by the id of a take; then those that they have deleted.
        self.listed: dict[str, dict[str, tuple[str, bool]]] = {name: {} for name in VISITORS}
        self.deleted: dict[str, dict[str, tuple[str, bool]]] = {name: {} for name in VISITORS}
        self.sounds: dict[str, str] = {}  # the SHA-256 of the samples, by id
        self.broken: dict[str, str] = {}  # the SHA-256 of files that may not play now, by id
        self.copied: set[str] = set()  # … of which a file may come back that is older

    def live(self, library: Library) -> None:
        """One of them keeps a take, or does something with one."""
        visitor = self.chance.choice(VISITORS)
        listed, deleted = self.listed[visitor], self.deleted[visitor]
        sure = [id for id in listed if id not in self.broken]
        what = self.chance.choice(["keep", "rename", "favour", "delete", "restore"])
        if len(sure) < 3 or (what == "keep" and len(sure) < 6):
            return self.keep(library, visitor)
        id = self.chance.choice(sure)
        if what == "rename":
            entry = library.rename(visitor, id, self.chance.choice(["Sonntag", "<b>", "", "日本"]))
        elif what == "favour":
            entry = library.favour(visitor, id, self.chance.random() < 0.5)
        elif what == "delete":
            assert library.delete(visitor, [id]) == [id]
            deleted[id] = listed.pop(id)
            return None
        elif deleted:
            id = self.chance.choice([*deleted])
            assert library.restore(visitor, [id]) == [id] or id in self.broken
            listed[id] = deleted.pop(id)
            return None
        else:
            return None
        assert entry is not None
        listed[id] = (entry.name, entry.favourite)
        return None

    def keep(self, library: Library, visitor: str) -> None:
        self.made += 1
        samples = np.sin(np.arange(640) / (1 + self.made), dtype=np.float32)[None] / 2
        ids = library.keep(visitor, [take_of(f"take {self.made}", samples * n) for n in (1, 0.5)])
        for id in ids:
            self.listed[visitor][id] = (f"take {self.made}", False)
            self.sounds[id] = sound_of((self.folder / "takes" / f"{id}.flac").read_bytes())

    def check(self, library: Library, away: set[str]) -> None:
        """All is there but what is ``away``."""
        for visitor in VISITORS:
            there = {e.id: (e.name, e.favourite) for e in library.search(visitor, limit=10**6)}
            listed = {id: told for id, told in self.listed[visitor].items() if id not in away}
            sure = listed.keys() - self.broken.keys()
            assert sure <= there.keys() <= listed.keys() | self.copied
            assert all(there[id] == listed[id] for id in sure - self.copied)
            for id in self.chance.sample(sorted(sure), min(len(sure), 2)):
                assert library.take(visitor, id) is not None
        paths = [path for path in self.folder.parent.rglob("*") if path.is_file()]
        contents = {path.read_bytes() for path in paths if "index" not in path.name}
        there = {sha256(content) for content in contents} | {*map(sound_of, contents)}
        for id, sound in self.sounds.items():
            assert {sound, self.broken.get(id, sound)} & there


class Damages:
    """What can happen to a folder."""

    def __init__(self, visitors: Visitors) -> None:
        self.visitors, self.chance, self.folder = visitors, visitors.chance, visitors.folder
        self.clock = 0.0  # by how many seconds it is wrong
        self.takes, self.index = self.folder / "takes", self.folder / "index.sqlite3"
        self.all = [
            self.empty_index, self.cut_index, self.lose_index, self.spoil_index, self.old_index,
            self.spoil_journal, self.lose_journal, self.forget_rows, self.other_version,
            self.something_else_as_index, self.cut_file, self.spoil_file, self.rename_file,
            self.swap_files, self.touch_files, self.copy_file, self.half_a_file,
            self.foreign_files, self.set_clock,
        ]  # fmt: skip

    def file(self) -> Path:
        """That of a take which is whole."""
        return self.chance.choice([path for path in self.takes.iterdir() if id_in(path)])

    def empty_index(self) -> None:
        self.index.write_bytes(b"")

    def cut_index(self) -> None:
        data = self.index.read_bytes()
        self.index.write_bytes(data[: self.chance.randrange(len(data) + 1)])

    def lose_index(self) -> None:
        for path in self.folder.glob("index.sqlite3*"):
            path.unlink()

    def spoil_index(self) -> None:
        spoil(self.index, self.chance)

    def old_index(self) -> None:
        """Take the place of the index with an older one, then keep the present one for later."""
        old = self.folder.with_name("old")
        now = self.index.read_bytes()
        if old.exists():
            shutil.copy(old, self.index)
        old.write_bytes(now)

    def spoil_journal(self) -> None:
        for ending in self.chance.sample(["-journal", "-wal", "-shm"], 2):
            self.index.with_name(self.index.name + ending).write_bytes(self.chance.randbytes(9000))

    def lose_journal(self) -> None:
        self.index.with_name("index.sqlite3-journal").unlink(missing_ok=True)

    def forget_rows(self) -> None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(self.index)) as index, index:
            index.execute("DELETE FROM takes WHERE number % 3 = 0")

    def other_version(self) -> None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(self.index)) as index:
            index.execute(f"PRAGMA user_version = {self.chance.choice([-1, 0, 1, 3, 99])}")

    def something_else_as_index(self) -> None:
        self.index.unlink()
        with closing(sqlite3.connect(self.index)) as index, index:
            index.execute(self.chance.choice(["CREATE TABLE takes (x)", "CREATE TABLE songs (x)"]))

    def cut_file(self) -> None:
        path = self.file()
        id = id_in(path)
        os.truncate(path, self.chance.randrange(path.stat().st_size))
        self.visitors.broken[id] = sha256(path.read_bytes())

    def spoil_file(self) -> None:
        path = self.file()
        id = id_in(path)
        spoil(path, self.chance)
        self.visitors.broken[id] = sha256(path.read_bytes())

    def rename_file(self) -> None:
        path = self.file()
        if path.suffix == ".flac":
            path.rename(self.takes / f"{self.chance.choice('abc')} song.{self.chance.random()}")

    def swap_files(self) -> None:
        first, second = self.file(), self.file()
        if first.suffix == second.suffix:
            between = first.rename(self.folder / "between")
            if first != second:
                second.rename(first)
            between.rename(second)

    def touch_files(self) -> None:
        moment = self.chance.randrange(2**32)
        for path in self.takes.iterdir():
            os.utime(path, (moment, moment), follow_symlinks=False)

    def copy_file(self) -> None:
        path = self.file()
        self.visitors.copied.add(id_in(path))
        shutil.copy(path, self.takes / f"copy {self.chance.random()}{path.suffix}")

    def half_a_file(self) -> None:
        """What is left of one that was being written."""
        data = self.file().read_bytes()
        id = f"{self.chance.getrandbits(88):022x}"
        (self.takes / f"{id}.flac.part").write_bytes(data[: self.chance.randrange(len(data))])

    def foreign_files(self) -> None:
        (self.takes / "notes.txt").write_text("not a take")
        (self.takes / "music.flac").write_bytes(b"fLaC" + self.chance.randbytes(500))
        (self.takes / f"{self.chance.getrandbits(88):022x}.flac").write_bytes(b"")
        (self.takes / "folder.flac").mkdir(exist_ok=True)
        with suppress(FileExistsError):
            (self.takes / "loop.flac").symlink_to("loop.flac")

    def set_clock(self) -> None:
        self.clock = self.chance.uniform(-60, 60) * 365 * 86400


def id_in(path: Path) -> str | None:
    """The take that a file is, by its tags."""
    try:
        return json.loads(FLAC(path)["musicgen_library"][0])["id"]
    except (mutagen.MutagenError, OSError, KeyError, ValueError):
        return None


def spoil(path: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(chance.randrange(path.stat().st_size + 1))
        file.write(chance.randbytes(chance.randint(16, 600)))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def sound_of(content: bytes) -> str | None:
    try:
        return sha256(soundfile.read(io.BytesIO(content))[0].tobytes())
    except soundfile.LibsndfileError:
        return None


def test_no_damage_loses_a_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it show one to another visitor, or forget its name and star."""
    visitors = Visitors(tmp_path / "library", random.Random(SEED))
    damages, chance, now = Damages(visitors), visitors.chance, time.time
    monkeypatch.setattr("time.time", lambda: now() + damages.clock)
    library = opened(visitors.folder)
    visitors.keep(library, "one")
    for _ in range(DAMAGES):
        visitors.live(library)
        library.close()
        for damage in chance.sample(damages.all, chance.choice([1, 1, 1, 2])):
            damage()
        away = moved_away(visitors.folder, tmp_path / "away") if chance.random() < 0.1 else set()
        library = opened(visitors.folder)
        visitors.check(library, away)
        if away:
            library.close()
            (visitors.folder / "takes").rmdir()
            (tmp_path / "away").rename(visitors.folder / "takes")
            library = opened(visitors.folder)
            visitors.check(library, set())
    library.close()


def moved_away(folder: Path, to: Path) -> set[str]:
    """Move all takes to another disk; → their ids."""
    (folder / "takes").rename(to)
    return {id for path in to.iterdir() if (id := id_in(path))}
