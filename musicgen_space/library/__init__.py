"""Every finished take, kept on disk until it is deleted or must make room."""

from musicgen_space.library.entry import Entry
from musicgen_space.library.library import MAX_NAME_CHARACTERS, UNDO_SECONDS, Library

__all__ = ["MAX_NAME_CHARACTERS", "UNDO_SECONDS", "Entry", "Library"]
