"""What a start meets on people's machines, and what it does there that nobody asked for."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from musicgen_space.errors import InvalidSetting
from musicgen_space.serve import check_address, check_folder
from musicgen_space.settings import Settings
from tests.process.watched import asked, written
from tests.servers.app import ROOT, serving

SECOND = {"prompt": "jazz", "duration": 1}
NOWHERE = "http://127.0.0.1:9"
CHOSEN_FOR_TESTS = (
    *("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR", "HF_HUB_OFFLINE", "MUSICGEN_LIBRARY"),
    *("MUSICGEN_DATABASE", "TORCHINDUCTOR_CACHE_DIR"),
)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@dataclass(frozen=True)
class Place:
    """A machine that is as good as new, but for what others left in its temporary folder."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Place:
        place = cls(folder)
        for each in (place.home, place.temporary, place.here):
            each.mkdir()
        for name in ("gradio", f"torchinductor_{getpass.getuser()}"):
            (place.temporary / name).write_text("somebody else's")
        return place

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def here(self) -> Path:
        return self.folder / "here"

    @property
    def log(self) -> Path:
        return self.folder / "watched"

    def environment(self) -> dict[str, str]:
        """Nothing is chosen, and proxies lead nowhere."""
        return {
            **{"HOME": str(self.home), "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)},
            **{"HTTP_PROXY": NOWHERE, "ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "[::1]"},
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def new_files(self) -> set[str]:
        """What is there now: paths from the folder of all three on, folders without files, too."""
        found = [*self.home.rglob("*"), *self.temporary.rglob("*"), *self.here.rglob("*")]
        leaves = [path for path in found if not path.is_dir() or not any(path.iterdir())]
        before = {f"tmp/{name}" for name in ("gradio", f"torchinductor_{getpass.getuser()}")}
        return {path.relative_to(self.folder).as_posix() for path in leaves} - before


def test_a_take_on_the_command_line_asks_nobody_and_leaves_its_file_only(tmp_path: Path) -> None:
    place = Place.at(tmp_path)
    command = ["musicgen_space", "jazz", "--duration", "1", "-o", "take.wav"]
    made = subprocess.run(
        [sys.executable, "-m", "tests.process.watched", str(place.log), *command],
        env={"PATH": os.environ["PATH"], **place.environment()},
        cwd=place.here, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert asked(place.log) == set()
    assert place.new_files() == {"here/take.wav"}
    assert not outside(place)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A page that was started, made a take for a program, and was ended."""
    place = Place.at(tmp_path_factory.mktemp("page"))
    command = ("-m", "tests.process.watched", str(place.log), "app.py")
    default = dict.fromkeys(CHOSEN_FOR_TESTS, "")
    with serving(place.folder / "log", *command, **default, **place.environment()) as address:
        calls = f"{address}/gradio_api/call/v2/generate"
        wish = urllib.request.Request(
            calls, json.dumps(SECOND).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(wish, timeout=60) as answer:
            call = json.load(answer)["event_id"]
        with urllib.request.urlopen(f"{calls}/{call}", timeout=60) as answer:
            assert b"event: complete" in answer.read()
    return place


def test_a_page_and_its_takes_ask_nobody(page: Place) -> None:
    assert asked(page.log) == set()


def test_a_page_leaves_its_library_only(page: Place) -> None:
    library = "home/.local/share/musicgen-space/"
    assert {name for name in page.new_files() if not name.startswith(library)} == set()
    assert not outside(page)


def outside(place: Place) -> set[Path]:
    """Files elsewhere that were opened to be written."""
    files = written(place.log) - {Path(os.devnull)}
    return {path for path in files if not path.is_relative_to(place.folder)}


@ipv6
def test_the_page_is_served_over_ipv6(tmp_path: Path) -> None:
    log, command = tmp_path / "log", ("-m", "tests.browser.fast_page")
    with serving(log, *command, host="[::1]", GRADIO_SERVER_NAME="::") as address:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5) as answer:
            assert json.load(answer)["status"] == "ok"
        deadline = time.monotonic() + 20  # it answers a moment before it says so
        while f"The page is on {address}\n" not in log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("host", ["nowhere.invalid", "999.1.1.1", "192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine_is_refused_in_words(host: str) -> None:
    with pytest.raises(InvalidSetting, match=f"GRADIO_SERVER_NAME must be .* got '{host}'"):
        check_address(Settings(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", pytest.param("::1", marks=ipv6)])
def test_a_port_that_is_in_use_is_told(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as other:
        port = other.getsockname()[1]
        with pytest.raises(InvalidSetting, match=f"GRADIO_SERVER_PORT must be free, {port} on"):
            check_address(Settings(host=host, port=port))
    check_address(Settings(host=host, port=port))


def test_a_folder_for_files_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(InvalidSetting, match=r"GRADIO_TEMP_DIR must be .* got '.*Not a dir"):
        check_folder(Settings(files=tmp_path / "taken" / "files"))
    check_folder(Settings(files=tmp_path / "new" / "files"))
