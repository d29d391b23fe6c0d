"""The files of a Space: this package, what starts it, what it needs, and how the hub shows it."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version
from pathlib import Path

import yaml

from musicgen_space.deploy.wish import ZERO_GPU

__all__ = ["write_space"]

_PACKAGE = Path(__file__).parents[1]
# What of a clone an installed package has with it: pyproject.toml puts it there.
_WITH_IT = Path(__file__).parent / "clone"
_THUMBNAIL = "musicgen_space/deploy/thumbnail.png"
_PYTHON = "3.12.12"  # the newest that the hub lists for ZeroGPU
_TORCH_ON_ZERO_GPU = "torch>=2.8,<2.12"  # what it lists, too


def write_space(folder: Path, name: str, hardware: str) -> None:
    """Write all of it to ``folder``, which is made, for a Space on ``hardware`` of the hub's.

    Raises ``OSError`` where that fails.
    """
    leave_out = shutil.ignore_patterns("__pycache__", "*.pyc", _WITH_IT.name)
    shutil.copytree(_PACKAGE, folder / _PACKAGE.name, ignore=leave_out)
    shutil.copy(_of_clone("app.py"), folder)
    needs = _of_clone("requirements.txt").read_text(encoding="utf-8")
    if hardware == ZERO_GPU:
        needs = re.sub(r"^torch==.*$", _TORCH_ON_ZERO_GPU, needs, flags=re.MULTILINE)
    (folder / "requirements.txt").write_text(needs, encoding="utf-8")
    readme = _readme(_of_clone("README.md").read_text(encoding="utf-8"), name, hardware)
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _of_clone(name: str) -> Path:
    """A file that lies beside the package in a clone, and within it where it is installed."""
    packed = _WITH_IT / name
    return packed if packed.exists() else _PACKAGE.parent / name


def _readme(readme: str, name: str, hardware: str) -> str:
    """The header of this project's README, for one Space, and a line about what it is."""
    header = yaml.safe_load(readme.split("---\n")[1])
    header |= {
        "sdk_version": version("gradio"),
        "python_version": _PYTHON,
        "suggested_hardware": hardware,
        "thumbnail": f"https://huggingface.co/spaces/{name}/resolve/main/{_THUMBNAIL}",
    }
    facts = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{facts}---\n\n# {header['title']}\n\n{header['short_description']}.\n"
