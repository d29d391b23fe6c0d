"""Files that are made when a page or a program asks for them: the latest ones, within a bound.

Gradio deletes them after a day. Till then anybody could ask for ever new ones.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from gradio.components import Component
from gradio.processing_utils import save_bytes_to_cache

__all__ = ["MadeFiles"]

_BYTES_KEPT = 2 * 2**30  # a five-minute take in stereo is 38 MB as WAV


class MadeFiles:
    """Files that Gradio serves; together they take ``most_bytes`` or are just one."""

    def __init__(self, most_bytes: int = _BYTES_KEPT) -> None:
        self._most_bytes = most_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()  # by path; the latest last
        self._taken = 0
        self._lock = threading.Lock()

    def save(self, data: bytes, name: str, component: Component) -> str:
        """Write a file that ``component`` offers; → its path. The oldest ones go."""
        with self._lock:
            path: str = save_bytes_to_cache(data, name, component.GRADIO_CACHE)
            component.temp_files.add(path)
            self._taken += len(data) - self._sizes.pop(path, 0)
            self._sizes[path] = len(data)
            while self._taken > self._most_bytes and len(self._sizes) > 1:
                oldest, size = self._sizes.popitem(last=False)
                self._taken -= size
                with suppress(OSError):
                    Path(oldest).unlink()
                    Path(oldest).parent.rmdir()
        return path
