"""The native kernel as a shared library, from wherever there is one that works."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from pathlib import Path

from musicgen_space.engine.runtimes.native import build, shipped
from musicgen_space.engine.runtimes.native.check import computes_rightly

__all__ = ["load"]

log = logging.getLogger(__name__)


def load(cache: Path | None = None) -> ctypes.CDLL | None:
    """The library that came with this package, else one that is compiled into ``cache``.

    None where neither works. The log says why one did not.
    """
    for library in _candidates(cache):
        if computes_rightly(library):
            return library
        log.warning("%s computes wrongly on this machine and is not used", library._name)
    return None


def _candidates(cache: Path | None) -> Iterator[ctypes.CDLL]:
    if ready := shipped.load():
        yield ready
    if built := build.load(cache):
        yield built
