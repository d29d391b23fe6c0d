"""``musicgen-space keys`` and ``musicgen-space serve --api-only``."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from musicgen_space.backends.segmind import SegmindBackend
from musicgen_space.cli import main
from musicgen_space.errors import InvalidSetting
from musicgen_space.serve import serve
from musicgen_space.settings import Settings
from tests.server.fixtures import UNUSABLE_UVLOOP, free_port
from tests.servers.app import serving


def test_keys_are_made_listed_paid_and_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUSICGEN_DATABASE", f"sqlite:///{tmp_path}/server.db")

    def said(*words: str) -> str:
        assert main(["keys", *words]) == 0
        return capsys.readouterr().out

    made = said("add", "phone", "--credits", "2", "--rate", "7", "--scope", "music")
    key, id = re.fullmatch(r"(MG_[0-9a-f]{32})\nIts id is ([0-9a-f]{8})\..*\n", made).groups()  # type: ignore[union-attr]
    assert said("grant", id, "0.5") == f"{id} has 2.5 credits.\n"
    listed = said("list")
    assert f"{id}  phone" in listed
    assert "2.5 credits" in listed
    assert key not in listed
    said("revoke", id)
    assert "revoked" in said("list")
    for words, complaint in (
        (["add", " "], "name must not be empty"),
        (["add", "x", "--rate", "0"], "rate must be a whole number"),
        (["revoke", "nobody"], "key must be the id of a key"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["keys", *words])
        assert complaint in capsys.readouterr().err


ALONE = f"""{UNUSABLE_UVLOOP}
from musicgen_space.serve import serve
from musicgen_space.settings import Settings
from tests.server.fixtures import Hum
serve(Settings.from_environment(), lambda _: {{"local": Hum()}}, api_only=True)
"""


def test_the_api_is_served_alone(tmp_path: Path) -> None:
    with serving(tmp_path / "log", "-c", ALONE, path="/readyz") as address:
        wish = {"input": "jazz", "audio_length": 1, "response_format": "pcm"}
        with httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
            answer = client.post("/v1/audio/generate", json=wish)
            assert len(answer.content) == 2 * 32_000
            assert client.get("/healthz").json() == {"status": "ok"}
            assert client.get("/").status_code == 404
            assert "server" not in answer.headers
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert f"The API is on {address}\n" in log
    assert "jazz" not in log


@pytest.mark.parametrize("words", [[], ["--api-only"]])
def test_an_option_leaves_the_page_out(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []

    def served(settings: Settings, *, api_only: bool) -> int:
        chosen.append((settings.port, api_only))
        return 0

    monkeypatch.setattr("musicgen_space.serve.serve", served)
    assert main(["serve", "--port", "1234", *words]) == 0
    assert chosen == [(1234, bool(words))]


def test_without_a_model_here_there_is_no_api_alone(tmp_path: Path) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path}/server.db", port=free_port())
    hosted = {"segmind": SegmindBackend(base_url="http://127.0.0.1:9")}
    with pytest.raises(InvalidSetting, match="--api-only"):
        serve(settings, lambda _: hosted, api_only=True)
