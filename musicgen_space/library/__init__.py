"""Finished takes on disk, until they are deleted or evicted by a quota."""

from musicgen_space.library.bucket import is_mounted
from musicgen_space.library.bucket_library import BucketLibrary
from musicgen_space.library.entry import Entry, Storage
from musicgen_space.library.library import MAX_NAME_CHARACTERS, UNDO_SECONDS, Library

__all__ = [
    "MAX_NAME_CHARACTERS",
    "UNDO_SECONDS",
    "BucketLibrary",
    "Entry",
    "Library",
    "Storage",
    "is_mounted",
]
