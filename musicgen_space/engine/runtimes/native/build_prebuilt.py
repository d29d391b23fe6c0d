"""Cross-compile the prebuilt kernels for every platform, on any of them.

    python -m musicgen_space.engine.runtimes.native.build_prebuilt [--folder FOLDER]

The compiler is Zig's clang, a package on PyPI (``ziglang``) that bundles the C and C++
libraries of all platforms. Its version is pinned, so the builds are reproducible.
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
from musicgen_space.engine.runtimes.native.prebuilt import FOLDER, TARGETS, Target

__all__ = ["compile_for", "main"]

_FLAGS = (*build.FLAGS, "-s", "-Wall", "-Werror")


def main() -> None:
    """Compile all targets and write the manifest."""
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
    """Compile the library for ``target`` into ``folder``. Raises ``CalledProcessError``."""
    zig = [sys.executable, "-m", "ziglang", "c++", "-target", target.triple]
    # The install name of a macOS library would be the output path.
    name = ["-install_name", target.file] if target.system == "Darwin" else []
    # Some linkers leave more than the library beside it.
    with tempfile.TemporaryDirectory() as scratch:
        linked = Path(scratch) / target.file
        command = [*zig, *_FLAGS, *name, "-o", str(linked), build.MAIN.name]
        subprocess.run(command, check=True, cwd=build.MAIN.parent)
        return Path(shutil.move(linked, folder / target.file))


if __name__ == "__main__":
    main()
