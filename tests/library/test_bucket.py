"""Takes in a mounted bucket: nothing that reached it is lost, and it holds up nobody."""

from __future__ import annotations

import errno
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from musicgen_space.audio.files import encode
from musicgen_space.library import BucketLibrary, Library
from musicgen_space.library.bucket import Bucket
from musicgen_space.library.mirror import Mirror
from musicgen_space.library.tags import read_marks, read_record
from tests.library import child as library_child
from tests.library.child import in_a_child, listed, sounds_in, take_of
from tests.library.late_store import mounted


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the bucket often."""
    monkeypatch.setattr("musicgen_space.library.mirror.SECONDS_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr("musicgen_space.library.mirror._RETRY_SECONDS", 0.02)


@contextmanager
def opened(folder: Path, total_bytes: int = 2**30) -> Iterator[BucketLibrary]:
    library = BucketLibrary(folder, total_bytes=total_bytes, visitor_bytes=None)
    try:
        yield library
    finally:
        library.close()


@contextmanager
def read(folder: Path) -> Iterator[BucketLibrary]:
    with opened(folder) as library:
        until(lambda: not library.storage.reading)
        yield library


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def told(library: Library) -> list[tuple[str, str, bool]]:
    return [(entry.id, entry.name, entry.favourite) for entry in library.search("owner")]


def contents(folder: Path) -> dict[str, bytes]:
    """Of all that is in the bucket, folders too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def test_takes_names_stars_and_deletions_outlast_restarts_which_change_nothing(
    folder: Path,
) -> None:
    with opened(folder) as library:
        named, deleted, starred = library.keep("owner", [take_of(seed=seed) for seed in range(3)])
        library.rename("owner", named, "Sonntag")
        library.set_favourite("owner", starred, True)
        library.delete("owner", [deleted])
    before = contents(folder)
    assert before.keys() == {"takes", *(f"takes/{id}.flac" for id in (named, deleted, starred))}
    for _ in range(3):
        with read(folder) as library:
            assert told(library) == [(starred, "jazz", True), (named, "Sonntag", False)]
            assert library.take("owner", named).request == take_of(seed=0).request
        assert contents(folder) == before
    with read(folder) as library:
        assert library.restore("owner", [deleted]) == [deleted]
        [new] = library.keep("owner", [take_of()])
    with read(folder) as library:
        assert listed(library) == [new, starred, deleted, named]


def test_a_library_moves_into_a_bucket_with_its_files(folder: Path) -> None:
    local = Library(folder, total_bytes=2**30, visitor_bytes=None)
    ids = local.keep("owner", [take_of(), take_of()])
    local.rename("owner", ids[0], "Sonntag")
    local.close()
    with read(folder) as library:
        assert told(library) == [(ids[1], "jazz", False), (ids[0], "Sonntag", False)]


def test_no_kill_loses_what_has_reached_the_bucket(tmp_path: Path) -> None:
    """Though that comes late, in another order, and locks nothing."""
    store, mount = tmp_path / "store", tmp_path / "mount"
    (store / "takes").mkdir(parents=True)
    there: dict[str, dict[str, set[Any]]] = {}  # of each take, what may be true of it
    for _ in range(3):
        mounted(store, mount)
        for what, said in killed_at_random(mount, store):
            if what == "arrived":
                for id, marks in said.items():
                    there[id] = {name: {value} for name, value in marks.items()}
            else:
                id, verb, value = said
                there.get(id, {}).get(verb, set()).add(value)
        for path in (store / "takes").glob("*.flac"):
            assert read_record(path.read_bytes()) is not None
        mounted(store, mount)
        with read(mount) as library:
            found = {id: (name, favourite) for id, name, favourite in told(library)}
            for id, marks in there.items():
                assert (id not in found) in marks["deleted"]
                if id in found:
                    assert found[id][0] in marks["name"]
                    assert found[id][1] in marks["favourite"]
    assert there


def killed_at_random(mount: Path, store: Path) -> list[Any]:
    """Let a process use the bucket, and kill it; → what it said."""
    child, answer = in_a_child(library_child.live_in_a_bucket_until_killed, mount, store)
    said = [answer.recv() for _ in range(random.randint(3, 12))]
    time.sleep(random.uniform(0, 0.03))
    child.kill()
    child.join()
    while answer.poll():
        try:
            said.append(answer.recv())
        except EOFError:
            break
    return said


def test_takes_that_move_to_another_visitor_are_theirs_after_a_restart(folder: Path) -> None:
    with opened(folder) as library:
        kept, deleted = library.keep("owner", [take_of(), take_of()])
        library.delete("owner", [deleted])
    with read(folder) as library:
        assert library.move("owner", "somebody") == 2
        assert library.move("owner", "somebody") == 0
    with read(folder) as library:
        assert listed(library) == []
        assert listed(library, "somebody") == [kept]
        assert library.restore("somebody", [deleted]) == [deleted]


def test_processes_share_a_bucket(folder: Path) -> None:
    with read(folder) as first, read(folder) as second:
        [one] = first.keep("owner", [take_of("one")])
        [two] = second.keep("owner", [take_of("two")])
        until(lambda: listed(first) == listed(second) == [two, one])
        first.delete("owner", [two])
        until(lambda: listed(second) == [one])
        assert second.restore("owner", [two]) == [two]
        until(lambda: listed(first) == [two, one])


def test_what_two_processes_change_of_one_take_is_both_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read(folder) as library:
        [id] = library.keep("owner", [take_of()])
    gate, once = threading.Lock(), Mirror._round

    def one_at_a_time(mirror: Mirror, *, read: bool) -> bool:
        with gate:
            return once(mirror, read=read)

    monkeypatch.setattr(Mirror, "_round", one_at_a_time)
    with read(folder) as first, read(folder) as second:
        with gate:
            first.rename("owner", id, "Sonntag")
            second.set_favourite("owner", id, True)
        until(lambda: told(first) == told(second) == [(id, "Sonntag", True)])
    with read(folder) as library:
        assert told(library) == [(id, "Sonntag", True)]


def test_a_bucket_that_does_not_answer_holds_nobody_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(folder) as library:
        [old] = library.keep("owner", [take_of()])
    answers, stamps = threading.Event(), Bucket.stamps

    def late(bucket: Bucket) -> dict[str, str]:
        answers.wait()
        return stamps(bucket)

    monkeypatch.setattr(Bucket, "stamps", late)
    monkeypatch.setattr("musicgen_space.library.mirror._SLOW_SECONDS", 0)
    with opened(folder) as library:
        [new] = library.keep("owner", [take_of()])
        assert library.rename("owner", new, "Sonntag") is not None
        assert told(library) == [(new, "Sonntag", False)]
        assert library.storage.reading
        assert library.storage.storing
        until(lambda: library.storage.failing)
        assert f"{folder} does not answer" in caplog.text
        monkeypatch.undo()
        answers.set()
        until(lambda: listed(library) == [new, old])
        until(lambda: not library.storage.reading)
        until(lambda: not library.storage.storing)
    assert sounds_in(folder) == sorted([old, new])


def test_a_page_ends_though_its_bucket_does_not_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("musicgen_space.library.mirror._CLOSING_SECONDS", 0.01)
    answers = threading.Event()
    monkeypatch.setattr(Bucket, "stamps", lambda _: answers.wait() and {})
    library = BucketLibrary(folder, total_bytes=2**30, visitor_bytes=None)
    library.keep("owner", [take_of()])
    library.close()
    assert f"The last changes of takes are not in {folder}" in caplog.messages
    answers.set()
    until(lambda: all(thread.name != "bucket" for thread in threading.enumerate()))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO, errno.ENOTCONN])
def test_a_bucket_that_fails_is_told_once_and_gets_everything_when_it_is_back(
    folder: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with read(folder) as library:
        [old] = library.keep("owner", [take_of()])
        until(lambda: sounds_in(folder) == [old])
        caplog.set_level(logging.INFO)
        with monkeypatch.context() as broken:
            broken.setattr(Bucket, "write", fail)
            [new] = library.keep("owner", [take_of()])
            until(lambda: library.storage.failing)
            library.rename("owner", old, "Sonntag")
            assert told(library) == [(new, "jazz", False), (old, "Sonntag", False)]
            assert library.take("owner", new) is not None
        until(lambda: not library.storage.failing)
        until(lambda: sounds_in(folder) == sorted([old, new]))
        lines = [line for line in caplog.messages if "stored in" in line]
        assert lines[0].startswith(f"Takes can't be stored in {folder}: {os.strerror(code)}.")
        assert lines[1:] == [f"Takes can be stored in {folder} again"]
    with read(folder) as library:
        assert told(library) == [(new, "jazz", False), (old, "Sonntag", False)]


def test_what_can_not_be_written_can_still_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(folder) as library:
        ids = library.keep("owner", [take_of(), take_of()])

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as broken:
        broken.setattr(Bucket, "write", fail)
        with opened(folder) as library:
            [new] = library.keep("owner", [take_of()])
            until(lambda: listed(library) == [new, *ids[::-1]])


def test_an_empty_mount_loses_nothing(folder: Path) -> None:
    with read(folder) as library:
        ids = library.keep("owner", [take_of(), take_of()])
        until(lambda: sounds_in(folder) == sorted(ids))
        away = folder.rename(folder.with_name("away"))
        until((folder / "takes").exists)
        assert listed(library) == ids[::-1]
        (folder / "takes").rmdir()
        folder.rmdir()
        away.rename(folder)
        assert listed(library) == ids[::-1]
    assert sounds_in(folder) == sorted(ids)


def test_nothing_is_stored_where_a_bucket_has_been(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read(folder) as library:
        with monkeypatch.context() as unmounted:
            unmounted.setattr(os.path, "ismount", lambda _: False)
            until(lambda: library.storage.failing)
            ids = library.keep("owner", [take_of()])
            assert sounds_in(folder) == []
        until(lambda: sounds_in(folder) == ids)


def test_what_is_gone_for_good_leaves_the_bucket(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read(folder) as library:
        kept, deleted = library.keep("owner", [take_of(), take_of()])
        library.delete("owner", [deleted])
        until(lambda: deleted in sounds_in(folder))  # it is perhaps not written yet
        until(lambda: read_marks(file_of(folder, deleted))[1].deleted)
        monkeypatch.setattr("musicgen_space.library.library.UNDO_SECONDS", -1)
        listed(library)
        until(lambda: sounds_in(folder) == [kept])
    room = len(file_of(folder, kept)) + 1
    with opened(folder, total_bytes=room) as library:
        until(lambda: not library.storage.reading)
        [new] = library.keep("owner", [take_of()])
        until(lambda: sounds_in(folder) == [new])


def file_of(folder: Path, id: str) -> bytes:
    return (folder / "takes" / f"{id}.flac").read_bytes()


def test_what_is_no_take_stays_in_the_bucket_as_it_is(folder: Path) -> None:
    with opened(folder) as library:
        cut, other, whole = library.keep("owner", [take_of(), take_of(), take_of()])
    takes = folder / "takes"
    (takes / f"{cut}.flac").write_bytes(file_of(folder, cut)[:-100])
    (takes / f"{other}.flac").write_bytes(encode(take_of("from elsewhere"), "flac"))
    (takes / "song.flac").write_bytes(file_of(folder, whole))
    (folder / "notes.txt").write_text("mine")
    (takes / f"{whole}.abcd.part").write_bytes(b"fLaC")
    before = contents(folder)
    with read(folder) as library:
        assert listed(library) == [whole]
    assert contents(folder) == before
    os.utime(takes / f"{whole}.abcd.part", (0, 0))  # its writer is gone
    with read(folder) as library:
        assert listed(library) == [whole]
    assert contents(folder).keys() == before.keys() - {f"takes/{whole}.abcd.part"}
