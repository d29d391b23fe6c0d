"""Writes the requirements*.txt from pyproject.toml: ``python -m tools.requirements``.

A Space reads requirements.txt only, so each file is complete in itself, or includes that one.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["requirement_files"]

ROOT = Path(__file__).parent.parent

_WRITTEN = "# Written from pyproject.toml and constraints.txt by `make requirements`."
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def requirement_files(root: Path = ROOT) -> dict[str, str]:
    """Each file's name and text."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project, engine = pyproject["project"], pyproject["tool"]["musicgen-space"]["engine"]
    pins = _pins((root / "constraints.txt").read_text(encoding="utf-8"))
    everything = [pins.get(_name(line), line) for line in project["dependencies"]]
    hosted = [line for line in everything if _name(line) not in engine]
    return {
        "requirements.txt": _file("What the page needs, with local generation.", everything),
        "requirements-hosted.txt": _file("The page with Segmind only: no torch.", hosted),
        "requirements-training.txt": _beside("What training needs", "training", project),
        "requirements-dev.txt": _beside("What the checks and tests need", "test", project),
    }


def _beside(about: str, extra: str, project: dict[str, Any]) -> str:
    lines = project["optional-dependencies"][extra]
    return _file(f"{about} besides requirements.txt.", ["-r requirements.txt", *lines])


def _file(about: str, lines: list[str]) -> str:
    return "\n".join([f"# {about}", _WRITTEN, *lines, ""])


def _pins(constraints: str) -> dict[str, str]:
    """The package of each line, and the line."""
    lines = [line for line in constraints.splitlines() if line and line[0] != "#"]
    return {_name(line): line for line in lines}


def _name(requirement: str) -> str:
    """A package's name as it is compared: packaging.python.org, "Name normalization"."""
    found = _NAME.match(requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


if __name__ == "__main__":
    for name, text in requirement_files().items():
        (ROOT / name).write_text(text, encoding="utf-8")
