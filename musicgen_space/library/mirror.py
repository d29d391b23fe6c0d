"""Keeps a bucket and a working copy of its takes alike, in a thread of its own.

What was changed on one side only, since both were last alike, is changed on the other; of a take
that was changed on both, every mark is as it was changed last. A file in the bucket is only
removed where the library says so: after the undo period, or by a quota. So neither a
copy that is not complete, nor a bucket that is empty or can't be read, loses a take.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from musicgen_space.errors import LibraryUnavailable
from musicgen_space.library.bucket import Bucket
from musicgen_space.library.tags import Marks, read_marks, with_marks

__all__ = ["SECONDS_BETWEEN_LOOKS", "Arrival", "CopiedFile", "Copy", "Mirror"]

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 30.0  # at the bucket, where nothing was changed here
_RETRY_SECONDS = 5.0
_SLOW_SECONDS = 10.0  # of a round: from then on the bucket is said to fail
# Of reading, before what was read is listed: new takes wait for that.
_BATCH_SECONDS, _BATCH_FILES = 1.0, 32
_CLOSING_SECONDS = 20.0  # for what is not in the bucket when the library is closed


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """A file of the copy; ``stamp`` changes when it is written, replaced or renamed."""

    path: Path
    stamp: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file from the bucket, for the place of the one with the stamp ``replaces``."""

    data: bytes
    marks: Marks
    replaces: str | None


class Copy(Protocol):
    """The working copy; its methods raise ``LibraryUnavailable``."""

    def files(self) -> dict[str, CopiedFile]:
        """By the ids of takes."""
        ...

    def take_in(self, arrivals: Mapping[str, Arrival]) -> dict[str, str | None]:
        """Take over files; → their stamps, None for one that is damaged.

        Those that were to replace one which has changed meanwhile are not among them.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Alike:
    """When both sides were last alike: the stamps of both files, and their marks."""

    here: str
    there: str
    marks: Marks


class Mirror:
    """``remove`` and ``look`` may be called by any thread, and never wait for the bucket.

    ``reading`` says whether the bucket has not been read to its end yet.
    """

    def __init__(self, bucket: Bucket, copy: Copy) -> None:
        self.reading = True
        self._bucket, self._copy = bucket, copy
        self._alike: dict[str, _Alike] = {}
        self._strange: dict[str, str] = {}  # id → stamp of a file in which is no take
        self._removed: set[str] = set()
        self._removing = threading.Lock()
        self._changed, self._closing = threading.Event(), threading.Event()
        self._busy = False  # with a round
        self._slow = False  # the round that runs
        self._trouble = ""  # of the last round
        self._thread = threading.Thread(target=self._run, name="bucket", daemon=True)

    @property
    def failing(self) -> bool:
        """Whether the last round failed, or the one that runs takes long."""
        return self._slow or bool(self._trouble)

    @property
    def storing(self) -> bool:
        """Whether a round runs, or is about to: how it ends is not known yet."""
        return self._busy or self._changed.is_set()

    def start(self) -> None:
        """Begin to read the bucket."""
        self._thread.start()

    def look(self) -> None:
        """Something may have changed in the copy."""
        self._changed.set()

    def remove(self, ids: Iterable[str]) -> None:
        """These takes are gone for good."""
        with self._removing:
            self._removed.update(ids)

    def close(self) -> None:
        """Write what has changed, and end; not later where the bucket does not answer."""
        self._closing.set()
        self._changed.set()
        self._thread.join(_CLOSING_SECONDS)
        if self._thread.is_alive() or self._trouble:
            log.warning("The last changes of takes are not in %s", self._bucket.folder)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._busy = True  # before the mark is cleared, so that one of both is always seen
            self._changed.clear()
            more = self._round(read=True)
            self._busy = False
            if not more:
                self._changed.wait(_RETRY_SECONDS if self._trouble else SECONDS_BETWEEN_LOOKS)
        self._round(read=False)

    def _round(self, *, read: bool) -> bool:
        """Carry over once what has changed; → whether there is more, to be read at once."""
        slow = threading.Timer(_SLOW_SECONDS, self._tell_slow)
        slow.daemon = True
        slow.start()
        errors: list[Exception] = []
        left = False
        try:
            there = self._bucket.stamps()
            errors += self._remove_there(there)
            errors += self._write_there(there)
            if read:
                failed, left = self._read_some(there)
                errors += failed
                self.reading = left or (self.reading and bool(failed))
        except (OSError, LibraryUnavailable) as error:
            errors.append(error)
        slow.cancel()
        slow.join()
        self._slow = False
        self._tell(errors)
        return left

    def _tell_slow(self) -> None:
        self._slow = True
        log.error(
            "%s does not answer. Takes that are made now are on this machine only",
            self._bucket.folder,
        )

    def _tell(self, errors: Sequence[Exception]) -> None:
        """Log a trouble once, and its end."""
        reasons = [getattr(error, "strerror", None) or str(error) for error in errors]
        if reasons and not self._trouble:
            log.error(
                "Takes can't be stored in %s: %s. Those that are made now are on this machine only",
                self._bucket.folder,
                reasons[0],
            )
        if self._trouble and not reasons:
            log.info("Takes can be stored in %s again", self._bucket.folder)
        self._trouble = reasons[0] if reasons else ""

    # ---- To the bucket

    def _remove_there(self, there: dict[str, str]) -> list[Exception]:
        with self._removing:
            removed = [*self._removed]
        return _each(removed, lambda id: self._remove_one(id, there))

    def _remove_one(self, id: str, there: dict[str, str]) -> None:
        alike = self._alike.get(id)
        if alike is not None and there.get(id) == alike.there:  # else it was changed meanwhile
            self._bucket.remove(id)
            del there[id]
        self._alike.pop(id, None)
        with self._removing:
            self._removed.discard(id)

    def _write_there(self, there: dict[str, str]) -> list[Exception]:
        changed = {id: file for id, file in self._copy.files().items() if self._is_new(id, file)}
        return _each(changed, lambda id: self._write_one(id, changed[id], there))

    def _is_new(self, id: str, file: CopiedFile) -> bool:
        alike = self._alike.get(id)
        return alike is None or alike.here != file.stamp

    def _write_one(self, id: str, file: CopiedFile, there: dict[str, str]) -> None:
        data = file.path.read_bytes()
        found, alike = read_marks(data), self._alike.get(id)
        if found is None:  # spoilt from outside
            return
        marks = merged = replace(found[1], deleted=file.deleted)
        if alike is not None and self._bucket.stamp(id) not in (None, alike.there):
            theirs = read_marks(self._bucket.read(id))
            merged = marks.merged(alike.marks, theirs[1]) if theirs else marks
        there[id] = self._bucket.write(id, with_marks(data, merged))
        # What was merged is read later, as any change of another process.
        self._alike[id] = _Alike(file.stamp, there[id] if merged == marks else "", marks)

    # ---- From the bucket

    def _read_some(self, there: Mapping[str, str]) -> tuple[list[Exception], bool]:
        """Read what is new in the bucket, for a moment; → what failed, whether there is more."""
        wanted = [id for id, stamp in there.items() if self._is_wanted(id, stamp)]
        here, arrivals, read = self._copy.files(), dict[str, Arrival](), list[str]()
        until = time.monotonic() + _BATCH_SECONDS

        def read_one(id: str) -> None:
            soon = time.monotonic() < until and len(read) < _BATCH_FILES
            if soon and not self._closing.is_set():
                arrival = self._arrival(id, there[id], here.get(id))
                read.append(id)
                if arrival is not None:
                    arrivals[id] = arrival

        failed = _each(wanted, read_one)
        if arrivals:
            self._take_in(arrivals, there)
        return failed, bool(read) and len(read) + len(failed) < len(wanted)

    def _is_wanted(self, id: str, stamp: str) -> bool:
        alike = self._alike.get(id)
        known = alike is not None and alike.there == stamp
        return not known and self._strange.get(id) != stamp and id not in self._removed

    def _arrival(self, id: str, stamp: str, here: CopiedFile | None) -> Arrival | None:
        """A file that is new in the bucket; None where there is nothing new in it."""
        data, alike = self._bucket.read(id), self._alike.get(id)
        found = read_marks(data)
        if found is None or found[0] != id:
            self._leave(id, stamp)
            return None
        if alike is not None and alike.marks == found[1]:  # only its time is another
            self._alike[id] = replace(alike, there=stamp)
            return None
        if here is not None and alike is None:
            return None
        return Arrival(data, found[1], alike.here if alike else None)

    def _take_in(self, arrivals: Mapping[str, Arrival], there: Mapping[str, str]) -> None:
        for id, stamp in self._copy.take_in(arrivals).items():
            if stamp is None:
                self._leave(id, there[id])
            else:
                self._alike[id] = _Alike(stamp, there[id], arrivals[id].marks)

    def _leave(self, id: str, stamp: str) -> None:
        self._strange[id] = stamp
        log.warning("A file in %s is not that of a take, or damaged: %s", self._bucket.folder, id)


def _each(ids: Iterable[str], action: Callable[[str], None]) -> list[Exception]:
    """Do something for every take; → the errors. What was removed meanwhile is none."""
    errors: list[Exception] = []
    for id in ids:
        try:
            action(id)
        except FileNotFoundError:
            continue
        except OSError as error:
            errors.append(error)
    return errors
