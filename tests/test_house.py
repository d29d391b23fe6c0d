"""Who may import whom. The rules keep each room of the house understandable on its own."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "musicgen_space"
MODULES = sorted(HOUSE.rglob("*.py"))

# A library → the only files that may import it.
ONLY = {
    "gradio": ["page/"],
    "cachetools": ["page/"],
    "httpx": ["page/visitors/sign_in.py", "server/cluster/by_model.py"],
    "torch": ["engine/", "backends/local/", "backends/audiocraft/worker.py"],
    "audiocraft": ["backends/audiocraft/worker.py"],
    "spaces": ["backends/zerogpu/backend.py"],
    "transformers": ["engine/"],
    "psutil": ["engine/"],
    "requests": ["backends/segmind/http.py"],
    "huggingface_hub": ["engine/", "deploy/hub.py", "deploy/wish.py"],
    "sqlalchemy": ["library/", "server/", "sqlite.py"],
    "uvicorn": ["server/alone.py", "page/gradio_compat.py"],
    "ray": ["server/cluster/"],
    "prometheus_client": ["server/metrics.py", "server/api/operating.py"],
    "soundfile": ["audio/files.py", "audio/clips.py", "audio/reader.py"],
    "imageio_ffmpeg": ["audio/ffmpeg.py"],
    "mutagen": ["audio/files.py", "audio/loops/marks.py", "library/tags.py"],
    "soxr": ["audio/resample.py"],
    "pyloudnorm": ["audio/mastering/loudness.py"],
    "PIL": ["audio/spectrogram.py"],
}
# A room → what it must not import.
NEVER = {
    "audio/": ["engine", "backends", "page", "library", "server"],
    "engine/": [
        "backends",
        "page",
        "library",
        "server",
        "audio.files",
        "audio.reader",
        "audio.clips",
    ],
    "backends/": ["page", "library", "server"],
    "library/": ["backends", "page", "engine", "server"],
    "server/": ["engine", "page", "library"],
}
# These import only the standard library, numpy and each other; but for, within a function,
# what reads and writes files of sound.
PLAIN = [
    *("request.py", "take.py", "clip.py", "errors.py", "message.py", "settings.py", "key.py"),
    *("engine/conditioners/alphabet.py", "process/addresses.py", "process/termination.py"),
    *("process/environment.py", "process/proxies.py", "models/__init__.py"),
    *("live/__init__.py", "live/wish.py"),
]
# What Gradio keeps private, as far as it can be told by its spelling: only gradio_compat uses it.
PRIVATE = re.compile(
    r"\b(from|import) gradio\.|gradio_api|gradio_config|x-gradio"
    r"|\.(GRADIO_CACHE|temp_files|upload_file_set|fns|should_exit|api_info|get_blocks)\b"
    r"|(?<!self)(?<!cls)\._[a-z]"
)
# What a take and a clip of the public API can do with files: imported within functions only.
WITHIN_FUNCTIONS = {
    "take.py": {
        "musicgen_space.audio.files",
        "musicgen_space.audio.mastering.finish",
        "musicgen_space.audio.loops.loop",
    },
    "clip.py": {"musicgen_space.audio.clips"},
}
MOST_MODULES, MOST_FILES = 14, 18  # of a folder: more than that is not one room


@functools.cache
def imports_of(module: Path, *, everywhere: bool = True) -> set[str]:
    """What a module imports, within its functions as well if ``everywhere``."""
    names: set[str] = set()
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def project_imports(module: Path) -> set[str]:
    """The files of the project that ``module`` imports, in functions too; not for types only."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= submodules if all(map(file_of, submodules)) else {node.module, *submodules}
    return {file for name in names if (file := file_of(name)) is not None}


def file_of(name: str) -> str | None:
    """The file of a module of the project, relative to the house; None for other names."""
    package, _, path = name.partition(".")
    if package != HOUSE.name:
        return None
    stem = path.replace(".", "/")
    files = (f"{stem}.py", f"{stem}/__init__.py".lstrip("/"))
    return next((file for file in files if (HOUSE / file).is_file()), None)


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
        plain = [name.removesuffix(".py").removesuffix("/__init__") for name in PLAIN]
        ours = {f"musicgen_space.{name.replace('/', '.')}" for name in plain}
        within = WITHIN_FUNCTIONS.get(place, set())
        assert {n for n in imports_of(module) if n.startswith("musicgen_space")} <= ours | within
        assert not within & imports_of(module, everywhere=False)


def test_no_modules_import_each_other() -> None:
    graph = {str(module.relative_to(HOUSE)): project_imports(module) for module in MODULES}
    for module, names in WITHIN_FUNCTIONS.items():
        graph[module] -= {str(file_of(name)) for name in names}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"An import cycle: {' → '.join(error.args[1][::-1])}")


def test_a_folder_is_one_room() -> None:
    """At most so many modules, and so many files in all."""
    ignored = ("__pycache__", "models", "examples")
    files = [
        path
        for path in HOUSE.rglob("*")
        if path.is_file() and not set(ignored) & set(path.parts) and path.name != "__init__.py"
    ]
    in_all = Counter(path.parent for path in files)
    modules = Counter(path.parent for path in files if path.suffix == ".py")
    assert {folder: count for folder, count in in_all.items() if count > MOST_FILES} == {}
    assert {folder: count for folder, count in modules.items() if count > MOST_MODULES} == {}


PAGE = [*(HOUSE / "page").rglob("*.py"), *(HOUSE / "page").rglob("*.js"), HOUSE.parent / "app.py"]


@pytest.mark.parametrize("file", sorted(PAGE), ids=lambda path: path.name)
def test_another_gradio_is_one_file_to_check_in_each_language(file: Path) -> None:
    found = PRIVATE.search(file.read_text(encoding="utf-8"))
    assert file.stem == "gradio_compat" or not found, f"{file.name} has {found and found[0]}"


def test_what_runs_beside_audiocraft_is_on_its_own() -> None:
    """Its environment has none of ours."""
    allowed = {*sys.stdlib_module_names, "torch", "audiocraft"}
    imports = imports_of(HOUSE / "backends/audiocraft/worker.py")
    assert {name.split(".")[0] for name in imports} <= allowed


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """The command line's help and the page's start must not wait for torch."""
    code = (
        "import sys, musicgen_space.backends.local.backend, musicgen_space.cli, app;"
        "sys.exit(bool({'gradio', 'torch', 'transformers', 'soxr', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tests_that_share_a_fixture_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """xdist would say nothing: it just made all servers twice."""
    grouped = request.config.getoption("loadgroup", False)
    assert not grouped or request.node.nodeid.endswith(f"@{request.path}")
