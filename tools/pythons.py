"""Finds another Python on this machine: ``python -m tools.pythons 3.12`` prints where it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["find_python"]

_CHECK = "import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1])"


def find_python(version: str) -> str | None:
    """The path of a Python of ``version`` that can make environments, None where there is none."""
    return next((path for path in _candidates(version) if _is_one(path, version)), None)


def _candidates(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):
        yield found
    yield from map(str, Path.home().glob(f".pyenv/versions/{version}*/bin/python{version}"))
    if uv := shutil.which("uv"):
        found_by_uv = subprocess.run(
            [uv, "python", "find", "--no-python-downloads", version], capture_output=True, text=True
        )
        yield from found_by_uv.stdout.split("\n")[:1]


def _is_one(path: str, version: str) -> bool:
    """Whether it runs: pyenv puts a file there for each version that it has, chosen or not."""
    try:
        done = subprocess.run([path, "-c", _CHECK, version], capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    python = find_python(sys.argv[1])
    print(python or "")
    sys.exit(python is None)
