"""The native kernel as a shared library: prebuilt, else compiled here."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from pathlib import Path

from musicgen_space.engine.runtimes.native import build, prebuilt
from musicgen_space.engine.runtimes.native.self_test import passes_self_test

__all__ = ["load"]

log = logging.getLogger(__name__)


def load(cache: Path | None = None) -> ctypes.CDLL | None:
    """The first library that passes the self-test: prebuilt, else compiled into ``cache``.

    None if neither works; the log says why.
    """
    for library in _candidates(cache):
        if passes_self_test(library):
            return library
        log.warning("%s failed its self-test on this machine and is not used", library._name)
    return None


def _candidates(cache: Path | None) -> Iterator[ctypes.CDLL]:
    if library := prebuilt.load():
        yield library
    if library := build.load(cache):
        yield library
