"""Where the native kernel comes from: prebuilt, else compiled here, else torch computes."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from musicgen_space.engine.checkpoint import loader
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.half import HalfLinear
from musicgen_space.engine.runtimes.native import build, build_prebuilt, kernel, prebuilt, self_test
from musicgen_space.engine.runtimes.native.decoder import NativeDecoder
from musicgen_space.models import embedded_folder

EXPORTED = 'extern "C" __attribute__((visibility("default")))'
needs_compiler = pytest.mark.skipif(build.find_compiler() is None, reason="no C++ compiler here")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what comes with the package, to be changed, that is loaded in its place."""
    folder = Path(shutil.copytree(prebuilt.FOLDER, tmp_path / "kernels"))
    whole = prebuilt.load
    monkeypatch.setattr(prebuilt, "load", lambda: whole(folder))
    return folder


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda names: None)


@pytest.fixture
def small_source(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Something quick to compile in the kernel's place."""
    source = tmp_path_factory.mktemp("source") / "small.cpp"
    monkeypatch.setattr(build, "MAIN", source)
    return lambda text: source.write_text(text.replace('extern "C"', EXPORTED))


def here() -> prebuilt.Target:
    """This machine's kind."""
    target = prebuilt.this_machine()
    assert target is not None
    return target


# With the package.


def test_the_kernel_comes_with_the_package_and_nothing_is_compiled(
    tmp_path: Path, no_compiler: None
) -> None:
    library = kernel.load(tmp_path)
    assert library is not None
    assert Path(library._name).parent == prebuilt.FOLDER
    assert not list(tmp_path.iterdir())


def test_what_comes_is_of_todays_sources_for_every_kind_of_machine() -> None:
    manifest = json.loads((prebuilt.FOLDER / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sources"] == build.sources_checksum(), "run `make kernels`"
    for target in prebuilt.TARGETS:
        data = (prebuilt.FOLDER / target.file).read_bytes()
        assert manifest["files"][target.file] == build.checksum(data)
        assert len(data) < 500_000


@pytest.mark.timeout(1200)  # the compiler makes its C++ library first, once a machine
def test_whoever_compiles_it_again_gets_the_same_bytes(tmp_path: Path) -> None:
    """Of the one for this machine; ``make kernels`` makes the others likewise."""
    made = build_prebuilt.compile_for(here(), tmp_path)
    assert made.read_bytes() == (prebuilt.FOLDER / here().file).read_bytes()


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "other sources", "missing", "no manifest"])
def test_one_that_is_not_what_it_should_be_is_compiled_here_and_the_log_says_so(
    package: Path, compiled: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    file, manifest = package / here().file, package / "manifest.json"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-1000])
    elif damage == "missing":
        file.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"sources": "older"}))
    library = kernel.load(compiled)
    assert library is not None
    assert Path(library._name).parent == compiled
    assert "The prebuilt kernel" in caplog.text


def test_one_that_the_system_refuses_is_done_without(
    package: Path, no_compiler: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a processor of another kind would."""
    file, manifest = package / here().file, package / "manifest.json"
    file.write_bytes(b"of another kind of machine")
    told = json.loads(manifest.read_text())
    told["files"][file.name] = build.checksum(file.read_bytes())
    manifest.write_text(json.dumps(told))
    assert kernel.load(tmp_path) is None
    assert "can't be loaded" in caplog.text


def test_on_a_machine_that_none_is_for_one_is_compiled(
    no_compiler: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with caplog.at_level(logging.INFO):
        assert kernel.load() is None
    assert "riscv64" in caplog.text
    assert "No C++ compiler" in caplog.text


def test_numbers_that_are_wrong_are_not_heard(
    monkeypatch: pytest.MonkeyPatch, no_compiler: None, caplog: pytest.LogCaptureFixture
) -> None:
    step = NativeDecoder.step

    def wrong(self: NativeDecoder, *arguments: Any) -> list[torch.Tensor]:
        return [logits * 1.5 for logits in step(self, *arguments)]

    monkeypatch.setattr(NativeDecoder, "step", wrong)
    assert kernel.load() is None
    assert "failed its self-test" in caplog.text


def test_another_library_is_no_kernel() -> None:
    assert not self_test.passes_self_test(ctypes.CDLL(None))


def test_where_no_kernel_works_torch_computes_with_the_weights_as_published(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernel, "load", lambda cache: None)
    with caplog.at_level(logging.INFO):
        model = loader.load(embedded_folder(), CPU)
    assert any(isinstance(module, HalfLinear) for module in model.decoder.modules())
    assert "torch computes" in caplog.text


# Compiled here.


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the kernel compiled in it."""
    folder = tmp_path_factory.mktemp("compiled")
    assert build.load(folder) is not None
    return folder


@needs_compiler
def test_what_is_compiled_here_passes_the_self_test(compiled: Path) -> None:
    library = build.load(compiled)
    assert library is not None
    assert self_test.passes_self_test(library)


@needs_compiler
def test_a_compiler_that_fails_is_no_error(
    tmp_path: Path, small_source: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    small_source("this is no C++")
    assert build.load(tmp_path) is None
    assert "could not compile" in caplog.text
    assert not list(tmp_path.iterdir())


@needs_compiler
def test_a_library_is_built_once_and_a_damaged_one_anew(
    tmp_path: Path, small_source: Callable[[str], None]
) -> None:
    small_source('extern "C" int answer() { return 42; }')
    assert build.load(tmp_path) is not None
    (file,) = tmp_path.iterdir()
    built = file.read_bytes()
    written = file.stat().st_mtime_ns
    assert build.load(tmp_path) is not None
    assert file.stat().st_mtime_ns == written
    file.unlink()  # and not in place: the library is loaded
    file.write_bytes(built[:1000])
    library = build.load(tmp_path)
    assert library is not None
    assert library.answer() == 42
    (again,) = tmp_path.iterdir()
    assert len(again.read_bytes()) == len(built)


@needs_compiler
def test_a_new_source_is_a_new_library(tmp_path: Path, small_source: Callable[[str], None]) -> None:
    for number in (1, 2):
        small_source(f'extern "C" int answer() {{ return {number}; }}')
        library = build.load(tmp_path)
        assert library is not None
        assert library.answer() == number


@needs_compiler
def test_another_kind_of_machine_has_a_library_of_its_own_in_the_same_folder(
    tmp_path: Path, small_source: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_source('extern "C" int answer() { return 42; }')
    build.load(tmp_path)
    monkeypatch.setattr("platform.machine", lambda: "another")
    build.load(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


COMPILER = """#!/bin/sh
test "$1" = --version && exit
exec 9>{alive}
sleep 60 &
echo compiling >&9
wait
"""
BUILD = (
    "import sys; from musicgen_space.engine.runtimes.native import build; from pathlib import Path;"
)
BUILD += "build.load(Path(sys.argv[1]), [sys.argv[2]])"


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="without process groups")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_build_that_is_killed_takes_its_compiler_along_and_its_files_go_later(
    number: int, tmp_path: Path, small_source: Callable[[str], None]
) -> None:
    alive, compiler, cache = tmp_path / "alive", tmp_path / "compiler", tmp_path / "cache"
    os.mkfifo(alive)
    compiler.write_text(COMPILER.format(alive=alive))
    compiler.chmod(0o755)
    command = [sys.executable, "-c", BUILD, cache, compiler]
    with subprocess.Popen(command) as process, alive.open("rb") as processes:
        assert processes.readline() == b"compiling\n"
        process.send_signal(number)
        assert processes.read() == b""  # the last one of them has ended
    (left,) = cache.iterdir()
    small_source('extern "C" int answer() { return 42; }')
    assert build.load(cache) is not None
    assert not left.exists()
    assert [path.suffix for path in cache.iterdir()] == [".so"]


POOL = """
#include "FOLDER/pool.h"
extern "C" int chunks_done(int threads) {
  Pool pool(threads, 1);
  std::atomic<int> done{0};
  pool.run([&](Pool::Worker& worker) { worker.each(100, [&](int) { ++done; }); });
  return pool.threads() < threads ? done.load() : -1;
}
"""
SHORT_OF_MEMORY = """
import ctypes, resource, sys
pool = ctypes.CDLL(sys.argv[1])
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 2**26  # a thread's stack takes megabytes of it
resource.setrlimit(resource.RLIMIT_AS, (most, most))
print(pool.chunks_done(64))
"""


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as on Linux")
def test_threads_that_can_not_be_started_are_done_without(
    tmp_path: Path, small_source: Callable[[str], None]
) -> None:
    small_source(POOL.replace("FOLDER", str(Path(build.__file__).parent / "src")))
    assert build.load(tmp_path) is not None
    (library,) = tmp_path.iterdir()
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "100\n", done.stderr
