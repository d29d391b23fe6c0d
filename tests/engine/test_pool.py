"""The kernel's threads have no race: what ThreadSanitizer watches them do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from musicgen_space.engine.runtimes.native import build

STRESS = Path(__file__).parent / "pool_stress.cpp"
FLAGS = ("-fsanitize=thread", "-std=c++20", "-O1", "-g", "-pthread", f"-I{build.MAIN.parent}")


def compiled(compiler: str, source: Path, folder: Path) -> Path:
    program = folder / source.stem
    command = [compiler, *FLAGS, "-o", str(program), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    return program


@pytest.fixture
def compiler(tmp_path: Path) -> str:
    """One that has ThreadSanitizer, which runs here."""
    found = build.find_compiler(("g++", "clang++"))
    if found is None:
        pytest.skip("no C++ compiler here")
    nothing = tmp_path / "nothing.cpp"
    nothing.write_text("int main() {}")
    try:
        subprocess.run([compiled(found, nothing, tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("ThreadSanitizer does not run here")
    return found


def test_callers_and_threads_of_a_pool_have_no_race(compiler: str, tmp_path: Path) -> None:
    """Tens of thousands of programs from three callers, on pools of one to four threads."""
    stress = compiled(compiler, STRESS, tmp_path)
    ran = subprocess.run(
        [stress, "40", "600"], capture_output=True, text=True, timeout=200, check=False
    )
    assert ran.stderr == ""
    assert (ran.returncode, ran.stdout) == (0, "0 wrong\n")
