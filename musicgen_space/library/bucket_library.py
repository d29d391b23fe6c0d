"""A library whose takes are stored in a bucket, with a working copy on this machine.

Everything is done with the copy, at the speed of a local disk and with its locks. ``Mirror``
reads it from the bucket when the library is opened, and writes to the bucket what has changed,
both in the background. The copy is a private folder that is made anew each time: nothing but the
files in the bucket outlasts the process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from musicgen_space.library.bucket import Bucket
from musicgen_space.library.entry import Storage
from musicgen_space.library.error_mapping import translate_errors
from musicgen_space.library.files import file_stamp, regular_files, remove, write_whole
from musicgen_space.library.library import Library
from musicgen_space.library.mirror import Arrival, CopiedFile, Mirror
from musicgen_space.library.records import ID
from musicgen_space.library.repair import DELETED, LISTED, repair

__all__ = ["BucketLibrary"]


class BucketLibrary(Library):
    """A ``Library`` in the bucket that is mounted at ``folder``; it opens at once.

    Takes that are in the bucket appear one after the other. Several processes may have one
    bucket: what one of them changes, the others see within ``mirror.SECONDS_BETWEEN_LOOKS``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        total_bytes: int,
        visitor_bytes: int | None,
        owner: str | None = None,
    ) -> None:
        with translate_errors():
            self._copy = tempfile.TemporaryDirectory(
                prefix="musicgen-space-takes-", ignore_cleanup_errors=True
            )
        self._mirror = Mirror(Bucket(folder), self)
        try:
            super().__init__(
                Path(self._copy.name),
                total_bytes=total_bytes,
                visitor_bytes=visitor_bytes,
                owner=owner,
            )
        except BaseException:
            self._copy.cleanup()
            raise
        self._mirror.start()

    @property
    def storage(self) -> Storage:
        """Whether the bucket has been read, whether it works, and whether it has everything."""
        mirror = self._mirror
        return Storage(reading=mirror.reading, failing=mirror.failing, storing=mirror.storing)

    def close(self) -> None:
        """Store what is not in the bucket yet, as far as that is quick; close the index."""
        self._mirror.close()
        super().close()
        self._copy.cleanup()

    def files(self) -> dict[str, CopiedFile]:
        """The files of the working copy by their takes' ids."""
        found = {}
        for name, file in sorted(regular_files(self._sounds).items()):  # .deleted before .flac
            path = self._sounds / name
            if path.suffix in (LISTED, DELETED) and ID.fullmatch(path.stem):
                deleted = path.suffix == DELETED
                found[path.stem] = CopiedFile(path, f"{name} {file_stamp(file)}", deleted)
        return found

    def take_in(self, arrivals: Mapping[str, Arrival]) -> dict[str, str | None]:
        """Take over files from the bucket, by their takes' ids; see ``mirror.Copy``."""

        def work(session: Session) -> dict[str, str | None]:
            here = self.files()
            fitting = [
                id for id, each in arrivals.items() if _stamp_of(here, id) == (each.replaces)
            ]
            for id in fitting:
                self._place(id, arrivals[id])
            repair(session, self._sounds, self._aside, owner=self._owner, alone=False)
            here = self.files()
            return {id: _stamp_of(here, id) for id in fitting}

        return self._change(work, surely=True)

    def _place(self, id: str, arrival: Arrival) -> None:
        """Write a file of the copy, in place of the one with the other suffix too."""
        right, wrong = (DELETED, LISTED) if arrival.marks.deleted else (LISTED, DELETED)
        write_whole(self._file(id, right), arrival.data)
        remove(self._file(id, wrong))

    def _remove(self, ids: Sequence[str], *suffixes: str) -> None:
        super()._remove(ids, *suffixes)
        self._mirror.remove(ids)

    def _changed_files(self) -> None:
        self._mirror.look()


def _stamp_of(files: Mapping[str, CopiedFile], id: str) -> str | None:
    return files[id].stamp if id in files else None
