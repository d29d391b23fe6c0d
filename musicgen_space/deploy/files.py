"""The files of a Space: this package, what starts it, what it needs, and how the hub shows it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from musicgen_space.deploy.wish import ZERO_GPU

__all__ = ["Readme", "write_space"]

_PACKAGE = Path(__file__).parents[1]
# What of a clone an installed package has with it: pyproject.toml puts it there.
_WITH_IT = Path(__file__).parent / "clone"
_THUMBNAIL = "musicgen_space/deploy/thumbnail.png"
_PYTHON = "3.12.12"  # the newest that the hub lists for ZeroGPU
_TORCH_ON_ZERO_GPU = "torch>=2.8,<2.12"  # what it lists, too
_CPU = "cpu-"  # how the hub's names of machines without a GPU begin
# PyPI's torch brings gigabytes of GPU libraries. This index has it without; pip prefers 2.13.0+cpu
# from there to PyPI's 2.13.0, as it sorts above.
_TORCH_FOR_CPU = "--extra-index-url https://download.pytorch.org/whl/cpu"
# What in the header belongs to this version; the rest is the owner's once the Space is there.
_OF_VERSION = {"sdk", "sdk_version", "python_version", "app_file", "models", "preload_from_hub"}


@dataclass(frozen=True, slots=True)
class Readme:
    """What a Space's README.md has: its header, and the text below."""

    header: dict[str, Any] = field(default_factory=dict)
    text: str = ""


def write_space(folder: Path, name: str, hardware: str, owners: Readme | None = None) -> None:
    """Write all of it to ``folder``, which is made, for a Space on ``hardware`` of the hub's.

    ``owners`` is the README that the Space has: its text and header stay, but for what belongs
    to a version. Raises ``OSError`` where writing fails.
    """
    leave_out = shutil.ignore_patterns("__pycache__", "*.pyc", _WITH_IT.name)
    shutil.copytree(_PACKAGE, folder / _PACKAGE.name, ignore=leave_out)
    for file in ("app.py", "LICENSE"):
        shutil.copy(_of_clone(file), folder)
    needs = _needs(_of_clone("requirements.txt").read_text(encoding="utf-8"), hardware)
    (folder / "requirements.txt").write_text(needs, encoding="utf-8")
    header = _header(_of_clone("README.md").read_text(encoding="utf-8"), name, hardware)
    (folder / "README.md").write_text(_readme(header, owners or Readme()), encoding="utf-8")


def _of_clone(name: str) -> Path:
    """A file that lies beside the package in a clone, and within it where it is installed."""
    packed = _WITH_IT / name
    return packed if packed.exists() else _PACKAGE.parent / name


def _needs(needs: str, hardware: str) -> str:
    """The requirements, with the torch for ``hardware``."""
    if hardware == ZERO_GPU:
        return re.sub(r"^torch==.*$", _TORCH_ON_ZERO_GPU, needs, flags=re.MULTILINE)
    return f"{_TORCH_FOR_CPU}\n{needs}" if hardware.startswith(_CPU) else needs


def _header(readme: str, name: str, hardware: str) -> dict[str, Any]:
    """The header of this project's README, for one Space."""
    header: dict[str, Any] = yaml.safe_load(readme.split("---\n")[1])
    if hardware.startswith(_CPU):  # there the default is musicgen-nano, which is in the package
        del header["preload_from_hub"]
    return header | {
        "sdk_version": version("gradio"),
        "python_version": _PYTHON,
        "suggested_hardware": hardware,
        "thumbnail": f"https://huggingface.co/spaces/{name}/resolve/main/{_THUMBNAIL}",
    }


def _readme(header: dict[str, Any], owners: Readme) -> str:
    """A Space's README: its header, and what its owner wrote, else a line about what it is."""
    kept = {key: value for key, value in owners.header.items() if key not in _OF_VERSION}
    header = header | kept
    facts = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)
    about = f"# {header['title']}\n\n{header['short_description']}."
    return f"---\n{facts}---\n\n{owners.text.strip() or about}\n"
