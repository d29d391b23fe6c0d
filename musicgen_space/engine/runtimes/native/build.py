"""The native kernel compiled on this machine, once, where none comes ready; then cached.

A cached file is called ``<key>-<digest>.so``: the key is a checksum of the sources, the
flags, the compiler's version and the kind of machine, the digest one of the file itself. So
a new source or compiler builds anew, machines of two kinds may share a home, and a damaged
file is noticed before it is loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicgen_space.engine.checkpoint.unfinished import tidy, unfinished

__all__ = [
    "COMPILERS",
    "FLAGS",
    "MAIN",
    "checksum",
    "default_cache",
    "find_compiler",
    "load",
    "sources_checksum",
]

log = logging.getLogger(__name__)

COMPILERS = ("c++", "g++", "clang++")
MAIN = Path(__file__).parent / "decoder.cpp"
_HEADERS = sorted(MAIN.parent.glob("*.h"))
# No -march: the library chooses its loops at run time. No fused products but those that the
# sources ask for: all processors are to give the same numbers.
FLAGS = (
    *("-std=c++20", "-O3", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
_SECONDS = 300  # after which a compiler is given up
# A compiler is several processes. One more, in their group, waits for the end of the pipe that
# is its stdin, which comes when this process closes it or dies, and ends all of them.
_TOGETHER = """
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
export TMPDIR="$0"
exec "$@" 3<&-
"""


def default_cache() -> Path:
    """Where compiled kernels are kept."""
    return Path.home() / ".cache" / "musicgen-space"


def find_compiler(names: Sequence[str] = COMPILERS) -> str | None:
    """The path of the first C++ compiler there is."""
    return next(filter(None, map(shutil.which, names)), None)


def load(cache: Path | None = None, compilers: Sequence[str] = COMPILERS) -> ctypes.CDLL | None:
    """The library, compiled if need be; None, and a line in the log, where that fails."""
    compiler = find_compiler(compilers)
    if compiler is None:
        log.info("No C++ compiler here")
        return None
    try:
        return ctypes.CDLL(str(_library(compiler, cache or default_cache())))
    except subprocess.CalledProcessError as error:
        log.warning("%s could not compile the kernel: %s", compiler, error.stderr.strip()[-2000:])
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("The kernel could not be compiled or loaded: %s", error)
    return None


def _library(compiler: str, cache: Path) -> Path:
    key = _key(compiler)
    tidy(cache)
    for file in cache.glob(f"{key}-*.so"):
        if file.stem == f"{key}-{checksum(file.read_bytes())}":
            return file
        log.warning("%s is damaged and built anew", file)
        file.unlink(missing_ok=True)
    return _compile(compiler, key, cache)


def _compile(compiler: str, key: str, cache: Path) -> Path:
    """Compile into ``cache``; another process sees the whole file or none."""
    cache.mkdir(parents=True, exist_ok=True)
    with unfinished(cache) as folder:
        built = folder / "decoder.so"
        _run_together([compiler, *FLAGS, "-o", str(built), str(MAIN)], folder)
        finished = cache / f"{key}-{checksum(built.read_bytes())}.so"
        os.replace(built, finished)
    return finished


def _key(compiler: str) -> str:
    version = _run([compiler, "--version"])
    parts = [compiler, version, platform.system(), platform.machine(), sources_checksum()]
    return checksum("\0".join(parts).encode())


def sources_checksum() -> str:
    """Of all that decides what a compiler makes."""
    sources = (path.read_text(encoding="utf-8") for path in (MAIN, *_HEADERS))
    return checksum("\0".join((*FLAGS, *sources)).encode())


def checksum(data: bytes) -> str:
    """32 digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def _run_together(command: list[str], folder: Path) -> None:
    """Run a command, with ``folder`` for its own files, that ends when this process does."""
    if os.name != "posix":
        _run(command)
        return
    reading, writing = os.pipe()
    try:
        shell = ["sh", "-c", _TOGETHER, str(folder)]
        _run([*shell, *command], stdin=reading, process_group=0)
    finally:
        os.close(writing)
        os.close(reading)


def _run(command: list[str], **options: Any) -> str:
    ran = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_SECONDS, **options
    )
    return str(ran.stdout)
