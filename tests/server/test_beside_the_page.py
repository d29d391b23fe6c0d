"""The API in the page's process and at its port."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import httpx

from musicgen_space.server.accounts.keys import Keys
from musicgen_space.server.database import Database
from tests.servers.app import serving


def test_the_api_is_where_the_page_is(tmp_path: Path) -> None:
    database = tmp_path / "server.db"
    with (
        serving(tmp_path / "log", "-m", "tests.browser.fast_page") as address,
        httpx.Client(base_url=address, trust_env=False, timeout=60) as client,
    ):
        assert "MusicGen" in client.get("/").text
        assert not database.exists()  # whoever has a page only has no database
        assert client.get("/readyz").json() == {"status": "ready"}
        with closing(Database(f"sqlite:///{database}")) as opened:
            key = Keys(opened).add("tests")[1]
        client.headers["x-api-key"] = key
        wish = {"prompt": "jazz, a secret", "duration": 2}
        answer = client.post("/v1/musicgen-tuneful", json=wish, headers={"accept": "audio/flac"})
        assert answer.content.startswith(b"fLaC")
        assert client.get("/v1/musicgen-tuneful").status_code == 405
        links = client.post("/v2/musicgen-plain", json=wish).json()
        assert client.get(links["status_url"]).status_code == 200
        assert "/v2/requests/{id}" in client.get("/openapi.json").json()["paths"]
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert '"route": "/v1/{model}", "status": 200' in log
    for hidden in ("secret", key, "127.0.0.1:"):
        assert hidden not in log.replace(address, "")
