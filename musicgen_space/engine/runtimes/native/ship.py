"""Compile the kernels that come with this package, for every kind of machine from any one.

    python -m musicgen_space.engine.runtimes.native.ship [--folder FOLDER] [FILE ...]

The compiler is Zig's clang, a package on PyPI (``ziglang``) that has all the systems' C
and C++ libraries with it. Its version is fixed, and then so is each byte of what it makes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from musicgen_space.engine.runtimes.native import build
from musicgen_space.engine.runtimes.native.shipped import FOLDER, TARGETS, Target

__all__ = ["compile_for", "main"]

_FLAGS = (*build.FLAGS, "-s", "-Wall", "-Werror")


def main() -> None:
    """Compile all of them, and write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for target in TARGETS:
        print(compile_for(target, folder), flush=True)
    manifest = {
        "compiler": f"ziglang {version('ziglang')}",
        "sources": build.sources_checksum(),
        "files": {t.file: build.checksum((folder / t.file).read_bytes()) for t in TARGETS},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def compile_for(target: Target, folder: Path) -> Path:
    """The library for ``target``, made in ``folder``. Raises ``CalledProcessError``."""
    zig = [sys.executable, "-m", "ziglang", "c++", "-target", target.triple]
    # A Mac's library has a name of its own in it, which would be its path here.
    name = ["-install_name", target.file] if target.system == "Darwin" else []
    # Linkers leave more than the library where they write it.
    with tempfile.TemporaryDirectory() as aside:
        linked = Path(aside) / target.file
        command = [*zig, *_FLAGS, *name, "-o", str(linked), build.MAIN.name]
        subprocess.run(command, check=True, cwd=build.MAIN.parent)
        return Path(shutil.move(linked, folder / target.file))


if __name__ == "__main__":
    main()
