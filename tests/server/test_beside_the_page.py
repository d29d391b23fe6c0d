"""The API in the page's process and at its port."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from musicgen_space.server.accounts.keys import Keys
from musicgen_space.server.database import Database
from tests.server.fixtures import UNUSABLE_UVLOOP
from tests.servers.app import serving

PAGE = f"""{UNUSABLE_UVLOOP}
from musicgen_space.serve import serve
from musicgen_space.settings import Settings
from tests.server.fixtures import Hum
serve(Settings.from_environment(), lambda _: {{"local": Hum()}})
"""


def test_the_api_is_where_the_page_is(tmp_path: Path) -> None:
    database = tmp_path / "server.db"
    with (
        serving(tmp_path / "log", "-c", PAGE) as address,
        httpx.Client(base_url=address, trust_env=False, timeout=60) as client,
    ):
        assert "MusicGen" in client.get("/").text
        assert not database.exists()  # whoever has a page only has no database
        assert client.get("/readyz").json() == {"status": "ready"}
        with closing(Database(f"sqlite:///{database}")) as opened:
            key = Keys(opened).add("tests")[1]
        client.headers["x-api-key"] = key
        wish = {"prompt": "jazz, a secret", "duration": 2}
        answer = client.post("/v1/musicgen-small", json=wish, headers={"accept": "audio/flac"})
        assert answer.content.startswith(b"fLaC")
        assert client.get("/v1/musicgen-small").status_code == 405
        links = client.post("/v2/musicgen-nano", json=wish).json()
        assert client.get(links["status_url"]).status_code == 200
        assert "/v2/requests/{id}" in client.get("/openapi.json").json()["paths"]
        plays_live(address.replace("http", "ws"))
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert '"route": "/v1/{model}", "status": 200' in log
    assert '"route": "/v1/live", "status": 101' in log
    assert "ERROR" not in log
    for hidden in ("secret", key, "127.0.0.1:"):
        assert hidden not in log.replace(address, "")


def plays_live(address: str) -> None:
    """Over the page's socket, which takes no large messages and goes nowhere else."""
    wish = {"type": "start", "prompt": "jazz, a secret"}
    with connect(f"{address}/v1/live", proxy=None, close_timeout=0.1) as socket:
        socket.send(json.dumps(wish))
        while not isinstance(sound := socket.recv(30), bytes):
            pass
        assert len(sound) == 2 * 32_000 // 4
    with connect(f"{address}/v1/live", proxy=None) as socket:
        assert socket.protocol.extensions == []  # packed messages would grow
        socket.send(" " * 2**20)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    with pytest.raises(InvalidStatus, match="HTTP 403"):
        connect(f"{address}/queue/join", proxy=None)
