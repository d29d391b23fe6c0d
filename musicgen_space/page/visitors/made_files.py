"""Files that are made when a page or a program asks for them: the latest ones, within a bound.

Gradio deletes them after a day. Till then anybody could ask for ever new ones.
"""

from __future__ import annotations

import threading

import gradio as gr

from musicgen_space.page.gradio_compat import save_file
from musicgen_space.page.visitors.shares import Shares, remove_file

__all__ = ["MadeFiles"]

_BYTES_KEPT = 2 * 2**30  # a five-minute take in stereo is 38 MB as WAV


class MadeFiles:
    """Files that Gradio serves; together they take ``most_bytes`` or are just one."""

    def __init__(self, most_bytes: int = _BYTES_KEPT) -> None:
        self._shares = Shares(most_bytes)
        self._lock = threading.Lock()

    def save(self, data: bytes, name: str, component: gr.Component, visitor: str = "") -> str:
        """Write a file that ``component`` offers; → its path. The oldest ones go."""
        with self._lock:
            path = save_file(data, name, component)
            for gone in self._shares.put(path, visitor, len(data)):
                remove_file(gone)
        return path
