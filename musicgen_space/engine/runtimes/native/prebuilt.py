"""The prebuilt kernels in ``kernels/``, compiled by ``build_prebuilt`` for common platforms.

``kernels/manifest.json`` has each file's checksum, and one of the sources that they were
compiled from: a damaged file, or one that is older than its sources, is not loaded.
"""

from __future__ import annotations

import ctypes
import json
import logging
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen_space.engine.runtimes.native import build

__all__ = ["FOLDER", "TARGETS", "Target", "load", "this_machine"]

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "kernels"


@dataclass(frozen=True, slots=True)
class Target:
    """A platform, as Python's ``platform`` names it, and its kernel."""

    system: str
    machine: str
    file: str
    triple: str  # for the compiler, with the oldest supported C library or system


TARGETS = (
    Target("Linux", "x86_64", "linux-x86_64.so", "x86_64-linux-gnu.2.28"),
    Target("Linux", "aarch64", "linux-aarch64.so", "aarch64-linux-gnu.2.28"),
    Target("Darwin", "arm64", "macos-arm64.dylib", "aarch64-macos.11.0"),
    Target("Windows", "AMD64", "windows-x86_64.dll", "x86_64-windows-gnu"),
)


def this_machine() -> Target | None:
    """The target of this machine; None if no prebuilt kernel is for it."""
    machine = (platform.system(), platform.machine())
    return next((t for t in TARGETS if (t.system, t.machine) == machine), None)


def load(folder: Path = FOLDER) -> ctypes.CDLL | None:
    """The library for this machine; None, and a log line, if there is none that is intact."""
    target = this_machine()
    if target is None:
        log.info("There is no prebuilt kernel for %s on %s", platform.system(), platform.machine())
        return None
    file = folder / target.file
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if problem := _problem(file, manifest):
            log.warning("The prebuilt kernel is not used: %s", problem)
            return None
        return ctypes.CDLL(str(file))
    except (OSError, ValueError) as error:
        log.warning("The prebuilt kernel can't be loaded: %s", error)
        return None


def _problem(file: Path, manifest: dict[str, Any]) -> str | None:
    if manifest.get("sources") != build.sources_checksum():
        return "it was compiled from other sources"
    if manifest.get("files", {}).get(file.name) != build.checksum(file.read_bytes()):
        return f"{file} is damaged"
    return None
