"""Finished takes on disk, until they are deleted or evicted by a quota."""

from musicgen_space.library.entry import Entry
from musicgen_space.library.library import MAX_NAME_CHARACTERS, UNDO_SECONDS, Library

__all__ = ["MAX_NAME_CHARACTERS", "UNDO_SECONDS", "Entry", "Library"]
