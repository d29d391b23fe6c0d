"""Who may import whom. The rules keep each room of the house understandable on its own."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "musicgen_space"
MODULES = sorted(HOUSE.rglob("*.py"))

# A library → the only files that may import it.
ONLY = {
    "gradio": ["page/"],
    "torch": ["engine/", "backends/local/", "backends/audiocraft/worker.py"],
    "audiocraft": ["backends/audiocraft/worker.py"],
    "transformers": ["engine/"],
    "psutil": ["engine/"],
    "requests": ["backends/segmind/http.py"],
    "huggingface_hub": ["engine/"],
    "sqlalchemy": ["library/"],
    "soundfile": ["audio/files.py", "audio/clips.py", "audio/reader.py"],
    "imageio_ffmpeg": ["audio/ffmpeg.py"],
    "mutagen": ["audio/files.py", "library/tags.py"],
    "soxr": ["audio/resample.py"],
    "pyloudnorm": ["audio/loudness.py"],
    "PIL": ["audio/spectrogram.py"],
}
# A room → what it must not import.
NEVER = {
    "audio/": ["engine", "backends", "page", "library"],
    "engine/": ["backends", "page", "library", "audio.files", "audio.reader", "audio.clips"],
    "backends/": ["page", "library"],
    "library/": ["backends", "page", "engine"],
}
# These import only the standard library, numpy and each other.
PLAIN = [
    *("request.py", "take.py", "clip.py", "errors.py", "settings.py", "key.py"),
    *("engine/conditioners/alphabet.py", "process/addresses.py", "process/ending.py"),
    *("process/environment.py", "process/proxies.py"),
]
MOST_FILES = 14  # of one kind in a folder: more than that is not one room


@functools.cache
def imports_of(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def uses(module: Path, library: str) -> bool:
    return any(name == library or name.startswith(library + ".") for name in imports_of(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_follow_the_plan_of_the_house(module: Path) -> None:
    place = str(module.relative_to(HOUSE))
    for library, rooms in ONLY.items():
        if uses(module, library):
            assert place.startswith(tuple(rooms)), f"{place} must not import {library}"
    for room, forbidden in NEVER.items():
        if place.startswith(room):
            assert not [name for name in forbidden if uses(module, f"musicgen_space.{name}")]
    assert not [room for room in ("training", "benchmarks", "tests") if uses(module, room)]
    if place in PLAIN:
        allowed = {*sys.stdlib_module_names, "numpy", "musicgen_space"}
        foreign = {name for name in imports_of(module) if name.split(".")[0] not in allowed}
        assert not foreign
        ours = {f"musicgen_space.{name[:-3].replace('/', '.')}" for name in PLAIN}
        assert {n for n in imports_of(module) if n.startswith("musicgen_space")} <= ours


def test_what_runs_beside_audiocraft_is_on_its_own() -> None:
    """Its environment has none of ours."""
    allowed = {*sys.stdlib_module_names, "torch", "audiocraft"}
    imports = imports_of(HOUSE / "backends/audiocraft/worker.py")
    assert {name.split(".")[0] for name in imports} <= allowed


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """The command line's help and the page's start must not wait for torch."""
    code = (
        "import sys, musicgen_space.__main__, musicgen_space.backends.local.backend, app;"
        "sys.exit(bool({'torch', 'transformers', 'soxr', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_hosted_page_installs_is_a_part_of_what_every_page_installs() -> None:
    hosted, full = (
        {line for line in (HOUSE.parent / name).read_text().splitlines() if line[:1] != "#"}
        for name in ("requirements-hosted.txt", "requirements.txt")
    )
    assert hosted < full
    assert not any(line.startswith(("torch", "transformers")) for line in hosted)
