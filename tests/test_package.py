"""What somebody has who installs the package: everything, in any folder, and its types."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest
import soundfile
from packaging.requirements import Requirement

from musicgen_space import __version__
from tests.servers.app import ROOT, serving
from tools.install import attempts, uv_variables
from tools.requirements import requirement_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# What else a Space is made of.
OF_CLONE = ("LICENSE", "README.md", "app.py", "requirements.txt")
PIP_INSTALL = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path) -> Path:
    """Where the commands are of an environment that has the wheel, and finds what it needs."""
    folder = wheel.parent / "environment"
    venv.create(folder, with_pip=False)
    place = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", place))
    needed = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "needed.pth").write_text("\n".join(needed))
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, *PIP_INSTALL, str(wheel)], check=True)
    return python.parent


def output_of(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_is_small_enough_to_publish(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = [path for path in (ROOT / "musicgen_space").rglob("*") if path.is_file()]
    ours = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    of_clone = {f"musicgen_space/deploy/clone/{name}" for name in OF_CLONE}
    assert packed == ours | of_clone
    assert wheel.name == f"musicgen_space-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 100 * 10**6


def test_an_installed_command_makes_a_take_in_any_folder(scripts: Path, tmp_path: Path) -> None:
    wish = ["lo-fi piano", "--duration", "1", "-o", "take.flac"]
    output_of(scripts / "musicgen-space", *wish, cwd=tmp_path)
    assert soundfile.info(tmp_path / "take.flac").duration == 1


def test_an_installed_command_lists_the_models(scripts: Path, tmp_path: Path) -> None:
    assert "musicgen-nano" in output_of(scripts / "musicgen-space", "models", cwd=tmp_path)


def test_an_installed_command_serves_the_page(scripts: Path, tmp_path: Path) -> None:
    command = (str(scripts / "musicgen-space"), "serve")
    with serving(tmp_path / "log", *command, python=scripts / "python", cwd=tmp_path) as address:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5) as answer:
            assert json.load(answer)["backends"][0] == "local"
        with urllib.request.urlopen(address, timeout=5) as answer:
            assert b"MusicGen" in answer.read()


def test_an_installed_command_makes_the_same_space_as_a_clone(
    scripts: Path, tmp_path: Path
) -> None:
    deploy = ["deploy", "my-name/my-space", "--write"]
    output_of(scripts / "musicgen-space", *deploy, "installed", cwd=tmp_path)
    output_of(sys.executable, "-m", "musicgen_space", *deploy, tmp_path / "cloned", cwd=ROOT)
    files = [path for path in (tmp_path / "cloned").rglob("*") if path.is_file()]
    names = {path.relative_to(tmp_path / "cloned") for path in files}
    compared = filecmp.cmpfiles(tmp_path / "cloned", tmp_path / "installed", names)
    assert ({*map(Path, compared[0])}, *compared[1:]) == (names, [], [])
    assert {*map(Path, OF_CLONE)} < names


def test_whoever_uses_the_package_has_its_types(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from musicgen_space.request import MusicRequest\n"
        'request = MusicRequest("lo-fi piano", duration=8)\n'
        "seconds: float = request.duration\n"
    )
    check = [sys.executable, "-m", "mypy", "--strict", "--python-executable", scripts / "python"]
    output_of(*check, "mine.py", cwd=tmp_path)


@pytest.mark.parametrize("name", requirement_files())
def test_requirements_follow_from_the_project(name: str) -> None:
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == requirement_files()[name], "make requirements"


def test_what_is_pinned_is_within_what_the_project_allows() -> None:
    allowed = {need.name: need for need in map(Requirement, PROJECT["project"]["dependencies"])}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert pins
    for pin in pins:
        (version,) = pin.specifier
        assert allowed[pin.name].specifier.contains(version.version)


def test_a_hosted_page_installs_all_but_what_makes_music_here() -> None:
    hosted, full = (
        {line for line in requirement_files()[name].splitlines() if line[:1] != "#"}
        for name in ("requirements-hosted.txt", "requirements.txt")
    )
    assert hosted < full
    left_out = {Requirement(line).name for line in full - hosted}
    assert left_out == set(PROJECT["tool"]["musicgen-space"]["engine"])
    assert {"torch", "transformers"} < left_out


def test_packages_come_from_where_pip_would_get_them() -> None:
    configuration = (
        ":env:.find-links='/wheels'\n"
        "global.extra-index-url='https://a.invalid/simple\\nhttps://b.invalid/simple'\n"
        "global.find-links='/other'\n"
        "global.timeout='60'\n"
        "install.constraint='limits.txt'\n"
    )
    assert uv_variables(configuration) == {
        "UV_FIND_LINKS": "/wheels",
        "UV_INDEX": "https://a.invalid/simple https://b.invalid/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_CONSTRAINT": "limits.txt",
    }
    assert uv_variables("") == {}


@pytest.mark.parametrize(
    ("uv", "variables", "tried"),
    [
        ("/uv", {}, [("/uv", "auto"), ("/uv", None), ("python", None)]),
        ("/uv", {"UV_INDEX": "https://a.invalid"}, [("/uv", None), ("python", None)]),
        (None, {}, [("python", None)]),
    ],
)
def test_uv_installs_and_where_it_can_not_pip_does(
    uv: str | None, variables: dict[str, str], tried: list[tuple[str, str | None]]
) -> None:
    ways = attempts(uv, Path("python"), Path("needs.txt"), variables)
    assert [(command[0], more.get("UV_TORCH_BACKEND")) for command, more in ways] == tried
