"""Several servers behind one address, by Ray Serve, where that is installed."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from musicgen_space.backends.base import Backend
from musicgen_space.errors import InvalidSetting
from musicgen_space.server.accounts.keys import Keys
from musicgen_space.server.cluster import Replicas, serve_cluster
from musicgen_space.server.database import Database
from musicgen_space.settings import Settings
from tests.server.fixtures import PRICE, Hum, settings_in

MODEL = "meta-musicgen-medium"


def humming(_: Settings) -> dict[str, Backend]:
    return {"local": Hum()}


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_replicas_are_one_server(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    settings = settings_in(tmp_path)
    with closing(Database(str(settings.database))) as database:
        account, key = Keys(database).add("tests", balance=10)
        headers = {"x-api-key": key}
        with (
            serve_cluster(settings, Replicas(2), humming),
            httpx.Client(
                base_url=settings.url, headers=headers, timeout=60, trust_env=False
            ) as client,
        ):
            wish = {"prompt": "jazz", "duration": 1}
            named = {"idempotency-key": "mine"}
            answers = [client.post(f"/v1/{MODEL}", json=wish, headers=named) for _ in range(4)]
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.content for answer in answers}) == 1
            assert "," not in answers[0].headers["x-request-id"]
            heard = {"input": "jazz", "audio_length": 2, "response_format": "pcm"}
            with client.stream("POST", "/v1/audio/generate", json=heard) as answer:
                assert sum(map(len, answer.iter_raw())) == 2 * 2 * 32_000
            links = client.post(f"/v2/{MODEL}", json=wish).json()
            while client.get(links["status_url"]).json()["status"] != "COMPLETED":
                pass
            file = client.get(client.get(links["response_url"]).json()["output"])
            assert file.content.startswith(b"RIFF")
        left = Keys(database).account(account)
        assert (left.reserved, left.credits) == (0, pytest.approx(10e6 - 3 * PRICE * 1e6))


def test_without_ray_a_cluster_is_told_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InvalidSetting, match="cluster"),
        serve_cluster(settings_in(tmp_path), Replicas()),
    ):
        pass
