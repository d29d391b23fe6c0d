"""Compile the native kernel on this machine, where no prebuilt one works; cached.

A cached file is called ``<key>-<digest>.so``: the key is a checksum of the sources, the
flags, the compiler's version and the platform, the digest one of the file itself. So new
sources or a new compiler rebuild, machines of two platforms may share a home directory, and
a damaged file is never loaded.
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

from musicgen_space.engine.checkpoint.staging import remove_abandoned, staging_folder

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
MAIN = Path(__file__).parent / "src" / "decoder.cpp"
_HEADERS = sorted(MAIN.parent.glob("*.h"))
# No -march: the library picks its SIMD level at run time. No implicit FMA: all processors
# must give the same numbers.
FLAGS = (
    *("-std=c++20", "-O3", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
_TIMEOUT = 300  # seconds for a compiler
# A compiler is several processes. A watchdog in their process group reads from a pipe until
# EOF, which comes when this process closes the pipe or dies, and kills the group.
_WATCHDOG = """
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
export TMPDIR="$0"
exec "$@" 3<&-
"""


def default_cache() -> Path:
    """The user's cache folder for compiled kernels and converted weights."""
    return Path.home() / ".cache" / "musicgen-space"


def find_compiler(names: Sequence[str] = COMPILERS) -> str | None:
    """The path of the first of these C++ compilers on the PATH; None if there is none."""
    return next(filter(None, map(shutil.which, names)), None)


def load(cache: Path | None = None, compilers: Sequence[str] = COMPILERS) -> ctypes.CDLL | None:
    """The library, compiled unless it is cached; None, and a log line, if that fails."""
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
    remove_abandoned(cache)
    for file in cache.glob(f"{key}-*.so"):
        if file.stem == f"{key}-{checksum(file.read_bytes())}":
            return file
        log.warning("%s is damaged and is rebuilt", file)
        file.unlink(missing_ok=True)
    return _compile(compiler, key, cache)


def _compile(compiler: str, key: str, cache: Path) -> Path:
    """Compile into ``cache`` atomically: other processes see the whole file or none."""
    cache.mkdir(parents=True, exist_ok=True)
    with staging_folder(cache) as folder:
        built = folder / "decoder.so"
        _run_guarded([compiler, *FLAGS, "-o", str(built), str(MAIN)], folder)
        finished = cache / f"{key}-{checksum(built.read_bytes())}.so"
        os.replace(built, finished)
    return finished


def _key(compiler: str) -> str:
    version = _run([compiler, "--version"])
    parts = [compiler, version, platform.system(), platform.machine(), sources_checksum()]
    return checksum("\0".join(parts).encode())


def sources_checksum() -> str:
    """Checksum of sources and flags, all that determines the compiled kernel."""
    sources = (path.read_text(encoding="utf-8") for path in (MAIN, *_HEADERS))
    return checksum("\0".join((*FLAGS, *sources)).encode())


def checksum(data: bytes) -> str:
    """The first 32 hex digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


def _run_guarded(command: list[str], folder: Path) -> None:
    """Run a command with ``folder`` as TMPDIR; it is killed when this process dies."""
    if os.name != "posix":
        _run(command)
        return
    reading, writing = os.pipe()
    try:
        shell = ["sh", "-c", _WATCHDOG, str(folder)]
        _run([*shell, *command], stdin=reading, process_group=0)
    finally:
        os.close(writing)
        os.close(reading)


def _run(command: list[str], **options: Any) -> str:
    ran = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_TIMEOUT, **options
    )
    return str(ran.stdout)
