"""Makes a virtual environment with AudioCraft 1.3.0 in it, to compare with.

    python3 tests/audiocraft/install.py .venv-audiocraft

AudioCraft pins a torch, a numpy and a transformers that can't live beside ours, and on
Python 3.11 its pinned ``av`` no longer builds. So it gets an environment of its own, where its
own code runs on our version of torch: only then do equal seeds draw equal numbers. What it
imports without needing it here is stood in for by the packages in ``stand_ins``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

STAND_INS = Path(__file__).parent / "stand_ins"

# What AudioCraft's inference imports; torch as in our requirements.txt.
NEEDED = (
    *("torch==2.13.0", "transformers>=5.23,<6", "sentencepiece", "protobuf"),
    *("av", "soundfile", "julius", "librosa", "einops", "num2words", "spacy"),
    *("omegaconf", "flashy", "torchmetrics"),
)
# Without what they ask for: that would bring the pins back.
ALONE = ("torchaudio==2.11.0", "audiocraft==1.3.0")


def main() -> None:
    """Make the environment whose folder is the only argument; an old one is replaced."""
    folder = Path(sys.argv[1])
    venv.create(folder, clear=True, with_pip=True)
    pip_install(folder, *NEEDED)
    pip_install(folder, "--no-deps", *ALONE)
    packages = next(folder.glob("lib/python3*/site-packages"))
    remove_compiled_torchaudio(packages)
    add_stand_ins(packages)


def pip_install(folder: Path, *what: str) -> None:
    """Run the environment's own pip."""
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *what], check=True)


def remove_compiled_torchaudio(packages: Path) -> None:
    """No torchaudio is built for this torch; without its libraries it computes in Python."""
    for library in (packages / "torchaudio" / "lib").glob("*.so"):
        library.unlink()


def add_stand_ins(packages: Path) -> None:
    """Copy the packages of ``stand_ins``; spaCy knows a model by its entry in pip's books."""
    shutil.copytree(STAND_INS, packages, dirs_exist_ok=True)
    entry = packages / "en_core_web_sm-0.dist-info" / "METADATA"
    entry.parent.mkdir(exist_ok=True)
    entry.write_text("Metadata-Version: 2.1\nName: en_core_web_sm\nVersion: 0\n")


if __name__ == "__main__":
    main()
