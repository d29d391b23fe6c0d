"""The Dockerfile, as far as that can be told without Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from musicgen_space.settings import VARIABLES, Settings
from tests.servers.app import ROOT

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]


def given(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def test_all_that_is_copied_is_there_and_nothing_else_is_sent_to_docker() -> None:
    copied = {name for rest in given("COPY") for name in rest.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_the_page_runs_without_rights_and_keeps_what_it_makes_in_the_volume() -> None:
    names = [name for name, _ in STEPS]
    assert given("USER") == ["musicgen"]
    assert names.index("USER") < names.index("CMD")
    [volume] = given("VOLUME")
    variables = dict(each.split("=", 1) for each in " ".join(given("ENV")).split())
    assert variables.keys() <= {*(each.name for each in VARIABLES.values()), "HF_HOME"}
    settings = Settings.from_environment(variables)
    folders = [settings.library, settings.cache, variables["HF_HOME"]]
    assert all(str(folder).startswith(f"{volume}/") for folder in folders)
    assert given("EXPOSE") == [str(settings.port)]
    assert settings.host == "0.0.0.0"


def test_the_package_is_compiled_before_its_user_can_no_longer_write_it() -> None:
    compiled = next(rest for rest in given("RUN") if "compileall" in rest)
    names = [name for name, _ in STEPS]
    assert "musicgen_space" in compiled
    assert STEPS.index(["COPY", "musicgen_space ./musicgen_space"]) < STEPS.index(["RUN", compiled])
    assert STEPS.index(["RUN", compiled]) < names.index("USER")


def test_what_it_starts_is_the_page() -> None:
    [command] = map(json.loads, given("CMD"))
    done = subprocess.run(
        [sys.executable, *command[1:], "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert "Serve the page" in done.stdout


@pytest.fixture
def page() -> Iterator[ThreadingHTTPServer]:
    """A page that is well for as long as it runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_is_healthy_while_the_page_answers_on_the_port_that_is_set(
    page: ThreadingHTTPServer,
) -> None:
    [check] = given("HEALTHCHECK")
    command = json.loads(re.sub(r"^.*?CMD ", "", check))
    for port, code in [(page.server_port, 0), (9, 1)]:
        environ = {**os.environ, "GRADIO_SERVER_PORT": str(port)}
        done = subprocess.run([sys.executable, *command[1:]], env=environ, capture_output=True)
        assert done.returncode == code
