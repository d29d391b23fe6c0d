"""Whatever happens to the library's folder between two starts: no sound is lost.

``LIBRARIES=200 FIRST=1000 python -m pytest tests/test_library_damage.py`` tries more of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import random
import shutil
import sqlite3
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from musicgen_space.audio.files import encode, read_take
from musicgen_space.clip import Clip
from musicgen_space.errors import LibraryTooNew
from musicgen_space.library import Library
from musicgen_space.library.tags import without_tag
from musicgen_space.take import Receipt
from tests.library import child as library_child
from tests.library.child import in_a_child, listed, opened, sounds_in, take_of

LIBRARIES = int(os.environ.get("LIBRARIES", "4"))
FIRST = int(os.environ.get("FIRST", "0"))  # seed
DAMAGES = 50  # to each
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
            entry = library.set_favourite(visitor, id, self.chance.random() < 0.5)
        elif what == "delete":
            assert library.delete(visitor, [id]) == [id]
            deleted[id] = listed.pop(id)
            return None
        elif deleted:
            id = self.chance.choice([*deleted])
            assert library.restore(visitor, [id]) == [id] or id in self.broken or id in self.copied
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
            index.execute(f"PRAGMA user_version = {self.chance.choice([-1, 0, 1, 10**9])}")

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


def set_clock(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    """What the library takes for the time; other threads, such as servers', have the real one."""
    clocked = SimpleNamespace(**{**vars(time), "time": clock})
    for name, module in sys.modules.items():
        if name.startswith("musicgen_space.library.") and hasattr(module, "time"):
            monkeypatch.setattr(module, "time", clocked)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def sound_of(content: bytes) -> str | None:
    try:
        return sha256(soundfile.read(io.BytesIO(content))[0].tobytes())
    except soundfile.LibsndfileError:
        return None


@pytest.mark.parametrize("seed", range(FIRST, FIRST + LIBRARIES))
def test_no_damage_loses_a_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Nor does it show one to another visitor, or forget its name and star."""
    visitors = Visitors(tmp_path / "library", random.Random(seed))
    damages, chance, now = Damages(visitors), visitors.chance, time.time
    set_clock(monkeypatch, lambda: now() + damages.clock)
    library = opened(visitors.folder)
    visitors.keep(library, "one")
    for _ in range(DAMAGES):
        visitors.live(library)
        library.close()
        for damage in chance.sample(damages.all, chance.choice([1, 1, 1, 2])):
            print(damage.__name__)  # what is shown when this fails
            with suppress(FileNotFoundError):  # lost already
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


def files_of_takes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "takes").iterdir()}


def set_aside(folder: Path) -> list[str]:
    """The names of files that were set aside, as they were called before."""
    return sorted(path.name[9:] for path in (folder / "set-aside").glob("*"))


def test_an_owner_finds_their_takes_again_without_an_index(folder: Path) -> None:
    library = opened(folder)
    receipt = Receipt(cost=0.5, request_id="abc")
    clip = Clip(np.zeros((1, 32000), np.float32), 32000, "song.mp3")
    takes = [take_of("jazz", seed=7, melody=clip), take_of("日本", negative_prompt="hum")]
    [named, stopped] = library.keep("owner", [replace(take, receipt=receipt) for take in takes])
    library.keep("owner", [replace(take_of("funk"), stopped=True)])
    library.keep("another", [take_of()])
    library.rename("owner", named, "Sonntag")
    library.set_favourite("owner", stopped, True)
    before = [library.search(visitor) for visitor in ("owner", "another")]
    library.close()
    for path in folder.glob("index*"):
        path.unlink()
    library = opened(folder)
    after = [library.search(visitor) for visitor in ("owner", "another")]
    assert after == before
    library.close()


def test_what_was_deleted_is_still_deleted_without_an_index(folder: Path) -> None:
    library = opened(folder)
    kept, deleted = library.keep("owner", [take_of(), take_of()])
    library.delete("owner", [deleted])
    library.close()
    (folder / "index.sqlite3").unlink()
    library = opened(folder)
    assert listed(library) == [kept]
    assert library.restore("owner", [deleted]) == [deleted]
    library.close()


def test_no_calendar_ends_an_undo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = opened(folder)
    [id] = library.keep("owner", [take_of()])
    now = time.time()
    for years in (100, -100, 0):
        library.delete("owner", [id])
        set_clock(monkeypatch, lambda now=now, years=years: now + years * 3e7)
        library.keep("owner", [take_of()])
        library.close()
        library = opened(folder)
        library.keep("owner", [take_of()])
        assert library.restore("owner", [id]) == [id]
    library.close()


def test_takes_are_in_the_order_of_keeping_whatever_the_clock_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ids = []
    for second in (3e9, 1e9, -1e9, 1e15, 2e9):
        set_clock(monkeypatch, lambda second=second: second)
        library = opened(folder)
        ids += library.keep("owner", [take_of(), take_of()])
        library.close()
    for path in [*folder.glob("index*")] * 2:
        library = opened(folder)
        assert listed(library) == ids[::-1]
        assert library.export("owner", tmp_path / "all.zip") == len(ids)
        library.close()
        path.unlink(missing_ok=True)


def test_a_take_whose_file_is_away_is_listed_when_it_is_back(folder: Path, tmp_path: Path) -> None:
    library = opened(folder)
    first, second, third = library.keep("owner", [take_of(), take_of(), take_of()])
    path = folder / "takes" / f"{second}.flac"
    for starts in (1, 3):
        library.close()
        path.rename(tmp_path / "away")
        for _ in range(starts):
            library = opened(folder)
            assert listed(library) == [third, first]
            assert library.count("owner") == 2
            assert library.entry("owner", second) is library.take("owner", second) is None
            library.close()
        (tmp_path / "away").rename(path)
        library = opened(folder)
        assert listed(library) == [third, second, first]
    library.close()


def test_a_file_of_somebody_elses_take_is_theirs_under_any_name(folder: Path) -> None:
    library = opened(folder)
    [mine], [theirs] = (library.keep(visitor, [take_of(visitor)]) for visitor in ("me", "they"))
    library.close()
    mine_path, their_path = (folder / "takes" / f"{id}.flac" for id in (mine, theirs))
    mine_path.rename(folder / "between")
    their_path.rename(mine_path)
    (folder / "between").rename(their_path)
    library = opened(folder)
    for visitor, id in (("me", mine), ("they", theirs)):
        assert listed(library, visitor) == [id]
        assert library.take(visitor, id).request.prompt == visitor
    library.close()


def test_what_a_file_says_counts_more_than_its_name(folder: Path) -> None:
    """Else the sound of one visitor would be another's, where a program has dropped its tags."""
    library = opened(folder)
    [mine], [theirs] = (library.keep(visitor, [take_of(visitor)]) for visitor in ("me", "they"))
    library.close()
    mine_path, their_path = (folder / "takes" / f"{id}.flac" for id in (mine, theirs))
    untagged = without_tag(their_path.read_bytes())
    mine_path.rename(their_path)
    mine_path.write_bytes(untagged)
    for path in (mine_path, their_path):
        os.utime(path, (0, 0))
    library = opened(folder)
    assert library.take("me", mine).request.prompt == "me"
    assert listed(library, "they") == []
    assert untagged in [path.read_bytes() for path in (folder / "takes").iterdir()]
    library.close()


def test_what_a_crash_left_half_written_is_set_aside(folder: Path) -> None:
    library = opened(folder)
    whole, starred = library.keep("owner", [take_of(), take_of()])
    library.close()
    data = (folder / "takes" / f"{whole}.flac").rename(folder / "takes" / f"{whole}.flac.part")
    half = f"{'x' * 22}.flac.part"
    (folder / "takes" / half).write_bytes(data.read_bytes()[:900])
    again = f"{starred}.flac.part"
    shutil.copy(folder / "takes" / f"{starred}.flac", folder / "takes" / again)
    library = opened(folder)
    assert listed(library) == [starred, whole]
    assert sounds_in(folder) == sorted([starred, whole])
    assert set_aside(folder) == sorted([half, again])
    library.close()


def test_a_take_whose_file_is_cut_short_is_set_aside(folder: Path) -> None:
    library = opened(folder)
    short, whole = library.keep("owner", [take_of(), take_of()])
    library.close()
    os.truncate(folder / "takes" / f"{short}.flac", 100)
    library = opened(folder)
    assert listed(library) == sounds_in(folder) == [whole]
    assert set_aside(folder) == [f"{short}.flac"]
    library.close()


@pytest.mark.parametrize("name", ["my song.flac", "take 1.wav", "notes.txt", ".hidden"])
def test_what_somebody_else_has_put_there_stays(folder: Path, name: str) -> None:
    (folder / "takes").mkdir(parents=True)
    for content in (b"not ours", b"fLaC and not ours", b""):
        (folder / "takes" / name).write_bytes(content)
        os.utime(folder / "takes" / name, (0, 0))
        opened(folder).close()
        assert (folder / "takes" / name).read_bytes() == content


def add_tags(path: Path) -> None:
    file = mutagen.File(path)
    file["album"] = "Mine " * 2000
    file.save()


def pack_tighter(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path, samples, rate, compression_level=1.0)


@pytest.mark.parametrize("change", [add_tags, pack_tighter])
def test_a_file_that_somebody_has_changed_but_plays_is_not_dropped(
    change: Callable[[Path], None], folder: Path
) -> None:
    library = opened(folder)
    [take] = library.keep("owner", [take_of()])
    library.close()
    path = folder / "takes" / f"{take}.flac"
    before = path.stat().st_size
    change(path)
    assert path.stat().st_size != before
    library = opened(folder)
    assert listed(library) == [take]
    library.close()
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index:
        assert index.execute("SELECT size FROM takes").fetchall() == [(path.stat().st_size,)]


def test_a_take_that_does_not_say_whose_it_is_is_the_owners(folder: Path) -> None:
    """Where there is one: to visitors of a shared page it belongs to nobody."""
    (folder / "takes").mkdir(parents=True)
    (folder / "takes" / "song.flac").write_bytes(encode(take_of("jazz", seed=7), "flac"))
    before = files_of_takes(folder)
    library = opened(folder)
    assert library.count("owner") == 0
    library.close()
    assert files_of_takes(folder) == before
    for _ in range(2):
        library = opened(folder, owner="owner")
        [entry] = library.search("owner")
        assert (entry.prompt, entry.seed, entry.name) == ("jazz", 7, "jazz")
        assert library.take("owner", entry.id) is not None
        library.close()
        (folder / "index.sqlite3").unlink()
    library = opened(folder)
    assert listed(library) == [entry.id]
    library.close()


def test_a_tag_that_makes_no_sense_is_no_tag(folder: Path) -> None:
    library = opened(folder)
    ids = library.keep("owner", [take_of() for _ in range(9)])
    library.close()
    known = json.loads(FLAC(folder / "takes" / f"{ids[0]}.flac")["musicgen_library"][0])
    others = [None, [], "x", {}]
    wrong = [{"id": "../index"}, {"created": "x"}, {"created": math.inf}, {"visitor": 7}]
    others += [{**known, **values} for values in [*wrong, {"seconds_taken": None}]]
    for id, other in zip(ids, others, strict=True):
        file = FLAC(folder / "takes" / f"{id}.flac")
        file["musicgen_library"] = json.dumps(other)
        file.save()
    (folder / "index.sqlite3").unlink()
    library = opened(folder)
    assert listed(library) == []
    assert sounds_in(folder) == sorted(ids)
    library.close()
    library = opened(folder, owner="owner")
    assert sorted(listed(library)) == sorted(ids)
    library.close()


def test_files_say_whose_they_are_until_they_leave(folder: Path, tmp_path: Path) -> None:
    library = opened(folder)
    [id] = library.keep("a-secret-token", [take_of()])
    hashed = hashlib.sha256(b"a-secret-token").hexdigest().encode()
    assert hashed in (folder / "takes" / f"{id}.flac").read_bytes()
    library.export("a-secret-token", tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    assert read_take(contents[0]).request == take_of().request
    assert not any(hashed in content for content in contents)
    library.close()


@pytest.mark.parametrize("content", [b"no database" * 100, b"", b"SQLite format 3\0" + bytes(5000)])
def test_a_broken_index_is_set_aside_and_made_anew(
    folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    library = opened(folder)
    ids = library.keep("owner", [take_of(), take_of()])
    library.close()
    (folder / "index.sqlite3").write_bytes(content)
    library = opened(folder)
    assert listed(library) == ids[::-1]
    assert "Takes added to the index from their files: 2" in caplog.messages
    if content:
        [aside] = (folder / "set-aside").glob("*-index.sqlite3")
        assert aside.read_bytes() == content
        assert any(str(aside) in message for message in caplog.messages)
    library.close()


def test_what_a_broken_index_says_is_not_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = opened(folder)
    ids = library.keep("owner", [take_of("a secret song")])
    library.close()
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index, index:
        index.execute("UPDATE takes SET settings = CAST(settings || X'FF' AS TEXT)")
    library = opened(folder)
    assert listed(library) == ids
    assert any("settings" in message for message in caplog.messages)
    assert "secret" not in caplog.text
    library.close()


def test_processes_that_start_with_a_broken_index_lose_nothing(folder: Path) -> None:
    library = opened(folder)
    ids = library.keep("owner", [take_of(), take_of()])
    library.close()
    (folder / "index.sqlite3").write_bytes(b"no database" * 100)
    started = [in_a_child(library_child.keep_some, folder, 3) for _ in range(4)]
    ids += [id for _, answer in started for id in answer.recv()]
    for child, _ in started:
        child.join()
    library = opened(folder)
    assert sorted(listed(library)) == sorted(ids) == sounds_in(folder)
    library.close()


@pytest.mark.parametrize("content", [None, b"", b"no database" * 100])
def test_an_index_that_breaks_or_goes_while_it_is_open_is_made_anew(
    folder: Path, content: bytes | None
) -> None:
    library, other = opened(folder), opened(folder)
    [first] = library.keep("owner", [take_of()])
    (folder / "index.sqlite3").unlink()
    if content is not None:
        (folder / "index.sqlite3").write_bytes(content)
    [second] = library.keep("owner", [take_of()])
    assert listed(library) == [second, first]
    [third] = other.keep("owner", [take_of()])
    assert listed(library) == listed(other) == [third, second, first]
    library.close()
    other.close()


def as_version_1(folder: Path, deleted: str) -> None:
    """Make a library what it was when files said nothing and the index everything."""
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index, index:
        index.execute("ALTER TABLE takes DROP COLUMN stamp")
        index.execute("UPDATE takes SET deleted = 0.0 WHERE id = ?", [deleted])
        index.execute("PRAGMA user_version = 1")
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index:
        index.execute("PRAGMA journal_mode = WAL")
    for path in (folder / "takes").iterdir():
        path.write_bytes(without_tag(path.read_bytes()))
        path.rename(path.with_suffix(".flac"))


def test_a_library_of_an_earlier_version_is_as_safe_after_its_first_start(folder: Path) -> None:
    library = opened(folder)
    named, starred, deleted = library.keep("owner", [take_of(), take_of(), take_of()])
    library.rename("owner", named, "Sonntag")
    library.set_favourite("owner", starred, True)
    library.delete("owner", [deleted])
    before = [replace(entry, bytes=0) for entry in library.search("owner")]
    library.close()
    as_version_1(folder, deleted)
    for _ in range(2):
        library = opened(folder)
        assert [replace(entry, bytes=0) for entry in library.search("owner")] == before
        library.close()
        (folder / "index.sqlite3").unlink()
    library = opened(folder)
    assert library.restore("owner", [deleted]) == [deleted]
    library.close()


def test_an_index_of_a_newer_version_is_left_as_it_is(folder: Path) -> None:
    library = opened(folder)
    ids = library.keep("owner", [take_of()])
    library.close()
    set_version(folder, 99)
    before = (folder / "index.sqlite3").read_bytes()
    with pytest.raises(LibraryTooNew, match="newer version"):
        opened(folder)
    assert (folder / "index.sqlite3").read_bytes() == before
    assert sounds_in(folder) == ids
    set_version(folder, 2)
    library = opened(folder)
    assert listed(library) == ids
    library.close()


def set_version(folder: Path, version: int) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index:
        index.execute(f"PRAGMA user_version = {version}")
