"""A library on a disk that is full or read-only: it opens, says so, and deleting works."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from musicgen_space.errors import LibraryUnavailable, LibraryUnwritable
from musicgen_space.library import Library
from musicgen_space.library.files import write_whole
from tests.library import child as library_child
from tests.library.child import in_a_child, listed, opened, sounds_in, take_of


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the files of takes have 8000 bytes in all: a few takes."""

    def write(path: Path, data: bytes) -> None:
        used = sum(file.stat().st_size for file in (folder / "takes").iterdir())
        if used + len(data) > 8000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_whole(path, data)

    monkeypatch.setattr("musicgen_space.library.library.write_whole", write)


@pytest.fixture
def full(folder: Path, small_disk: None) -> Iterator[Library]:
    """A library into which no take fits any more."""
    library = opened(folder)
    with suppress(LibraryUnwritable):
        for _ in range(20):
            library.keep("owner", [take_of()])
    yield library
    library.close()


def test_deleting_makes_room_on_a_full_disk(full: Library, folder: Path) -> None:
    *others, oldest = listed(full)
    assert not full.writable
    with pytest.raises(LibraryUnwritable, match="the disk is full"):
        full.keep("owner", [take_of()])
    assert full.delete("owner", [oldest]) == [oldest]
    assert full.restore("owner", [oldest]) == [oldest]  # nothing has needed its room
    full.delete("owner", [oldest])
    [new] = full.keep("owner", [take_of()])
    assert full.writable
    assert listed(full) == [new, *others]
    assert full.restore("owner", [oldest]) == []
    assert sounds_in(folder) == sorted([new, *others])


def test_a_name_and_a_star_get_the_room_of_what_was_deleted(full: Library) -> None:
    first, second, *_ = listed(full)
    with pytest.raises(LibraryUnwritable):
        full.set_favourite("owner", first, True)
    with pytest.raises(LibraryUnwritable):
        full.rename("owner", first, "x")
    entry = full.entry("owner", first)
    assert (entry.name, entry.favourite) == ("jazz", False)
    full.delete("owner", [second])
    assert full.set_favourite("owner", first, True).favourite
    assert full.restore("owner", [second]) == []


def test_a_disk_that_fails_costs_no_undo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    library = opened(folder)
    deleted, kept = library.keep("owner", [take_of(), take_of()])
    library.delete("owner", [deleted])
    with monkeypatch.context() as disk:
        disk.setattr("musicgen_space.library.library.write_whole", fail)
        with pytest.raises(LibraryUnwritable):
            library.keep("owner", [take_of()])
        assert not library.writable
    assert library.restore("owner", [deleted]) == [deleted]
    assert listed(library) == [kept, deleted]
    library.close()


def test_a_disk_without_room_for_a_name_loses_what_is_deleted_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(path: Path, _: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    library = opened(folder)
    deleted, kept = library.keep("owner", [take_of(), take_of()])
    with monkeypatch.context() as full:
        full.setattr(Path, "rename", rename)
        assert library.delete("owner", [deleted]) == [deleted]
    assert listed(library) == sounds_in(folder) == [kept]
    assert library.restore("owner", [deleted]) == []
    library.close()


def test_a_full_disk_is_said_and_loses_nothing(folder: Path) -> None:
    library = opened(folder)
    before = library.keep("owner", [take_of()])
    child, answer = in_a_child(library_child.keep_with_small_files, folder)
    kept, errors = answer.recv()
    child.join()
    assert kept
    assert errors
    assert all(error.startswith("The library of takes can't be used: ") for error in errors)
    assert sorted(listed(library)) == sorted([*before, *kept]) == sounds_in(folder)
    assert all(library.take("owner", id) is not None for id in kept)
    library.close()


def nothing(folder: Path) -> None:
    pass


def lose_index(folder: Path) -> None:
    (folder / "index.sqlite3").unlink()


def lose_journal(folder: Path) -> None:
    (folder / "index.sqlite3-journal").unlink()


def break_index(folder: Path) -> None:
    (folder / "index.sqlite3").write_bytes(b"no database" * 1000)


def make_earlier_version(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index:
        index.execute("PRAGMA journal_mode = WAL")
        index.execute("PRAGMA user_version = 1")
        index.execute("ALTER TABLE takes DROP COLUMN stamp")


@pytest.mark.parametrize(
    "before", [nothing, lose_index, lose_journal, break_index, make_earlier_version]
)
def test_where_nothing_can_be_written_a_library_opens_and_deletes(
    folder: Path, before: Callable[[Path], None]
) -> None:
    library = opened(folder)
    kept, deleted, restored = library.keep("owner", [take_of(), take_of(), take_of()])
    library.close()
    before(folder)
    child, answer = in_a_child(library_child.live_without_room, folder, deleted, restored)
    said = answer.recv()
    child.join()
    assert said == {
        "first": [restored, deleted, kept],
        "writable": False,
        "kept": False,
        "deleted": [deleted, restored],
        "restored": [restored],
        "last": [restored, kept],
        "plays": True,
    }
    library = opened(folder)
    assert library.writable
    assert listed(library) == [restored, kept]
    assert library.restore("owner", [deleted]) == [deleted]
    library.close()


def test_a_disk_that_fills_up_while_a_library_is_open_hinders_no_deleting(folder: Path) -> None:
    library = opened(folder)
    deleted, kept = library.keep("owner", [take_of(), take_of()])
    library.close()
    child, answer = in_a_child(library_child.delete_when_the_disk_is_full, folder, deleted)
    assert answer.recv() == [kept]
    child.join()
    library = opened(folder)
    assert listed(library) == [kept]
    library.close()


def test_a_read_only_folder_can_be_listened_to_and_loses_nothing() -> None:
    # Not tmp_path: where only its owner may look, nobody would fail for another reason.
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        folder = Path(parent, "library")
        library = opened(folder)
        ids = library.keep("owner", [take_of()])
        library.close()
        child, answer = in_a_child(library_child.live_without_rights, folder, ids[0])
        heard, said = answer.recv()
        child.join()
        assert heard == ids
        assert len(said) == 4
        assert all("its folder can't be written to" in text for text in said), said
        folder.chmod(0o755)
        (folder / "takes").chmod(0o755)
        library = opened(folder)
        assert listed(library) == sounds_in(folder) == ids
        library.close()


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for impossible in (file, file / "below"):
        with pytest.raises(LibraryUnavailable):
            opened(impossible)
