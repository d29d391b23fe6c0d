"""Segmind's API as this server has it, spoken by the client that speaks with Segmind, too."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from sqlalchemy import select

from musicgen_space import errors
from musicgen_space.backends.segmind import SegmindBackend
from musicgen_space.key import ApiKey
from musicgen_space.request import MusicRequest
from musicgen_space.server.database import Output
from musicgen_space.take import Take
from tests.segmind.fixtures import HURRIED, take_of
from tests.server.fixtures import (
    PRICE,
    RATE,
    Api,
    api,
    hum,
    one_api,
    sent,
    serving_api,
    settings_in,
    until,
)
from tests.servers.segmind import sound_file

__all__ = ["api", "one_api"]

BOTH = pytest.mark.parametrize("version", ["v1", "v2"])
MODEL = "meta-musicgen-medium"


def client(api: Api, version: str, key: str = "") -> SegmindBackend:
    return SegmindBackend(ApiKey(key or api.key), base_url=api.url, api=version, timeouts=HURRIED)


@BOTH
def test_our_segmind_backend_makes_takes_here(api: Api, version: str) -> None:
    take = take_of(client(api, version), "lo-fi", duration=2.0, seed=7)
    np.testing.assert_allclose(take.samples, hum(MusicRequest("lo-fi", 2.0, 7)), atol=1e-4)
    assert take.request.seed == 7
    receipt = take.receipt
    assert receipt is not None
    assert receipt.cost == PRICE
    assert receipt.credits_left == pytest.approx(10 - PRICE)
    assert receipt.request_id
    assert client(api, version).balance() == pytest.approx(10 - PRICE)


@BOTH
def test_what_the_backend_says_of_refusals_is_said_of_ours(api: Api, version: str) -> None:
    poor = api.service.keys.add("poor", balance=0.01)[1]
    id, old = api.service.keys.add("old", balance=1)
    api.service.keys.revoke(id)
    for key, error in ((poor, errors.InsufficientCredits), (old, errors.KeyRefused)):
        with pytest.raises(error):
            take_of(client(api, version, key), "lo-fi")
    with pytest.raises(errors.KeyRefused, match="missing"):
        take_of(client(api, version, "SG_0123456789abcdef"), "lo-fi")
    broken = errors.ServerFailed if version == "v1" else errors.GenerationFailed
    with pytest.raises(broken, match="out of tune"):
        take_of(client(api, version), "#fail")
    assert api.credits == 10


@pytest.mark.parametrize(
    ("accept", "media_type", "kind"),
    [
        ("*/*", "audio/wav", "WAV"),
        ("application/json", "audio/wav", "WAV"),
        ("audio/flac", "audio/flac", "FLAC"),
        ("audio/mpeg;q=0.5, audio/ogg", "audio/ogg", "OGG"),
        ("audio/mp3, audio/ogg;q=0.9", "audio/mpeg", "MP3"),
        ("audio/ogg;q=x, audio/flac;q=0", "audio/wav", "WAV"),
    ],
)
def test_the_sound_comes_in_the_format_that_is_accepted(
    one_api: Api, accept: str, media_type: str, kind: str
) -> None:
    answer = one_api.post(f"/v1/{MODEL}", {"prompt": "lo-fi", "duration": 1}, accept=accept)
    assert answer.headers["content-type"] == media_type
    assert int(answer.headers["content-length"]) == len(answer.content)
    info = soundfile.info(io.BytesIO(answer.content))
    assert (info.format, info.samplerate) == (kind, RATE)
    assert answer.headers["x-cost"] == str(PRICE)
    assert answer.headers["x-seed-value"] == "42"
    assert answer.headers["x-model"] == "musicgen-nano"


def test_every_model_has_an_address_and_every_field_a_place(api: Api) -> None:
    fields = {"prompt": "lo-fi", "duration": 1, "top_k": 50, "negative_prompt": "drums"}
    assert api.post("/v1/musicgen-small", fields | {"seed": -1}).status_code == 200
    [asked] = api.studio.asked
    assert (asked.model, asked.top_k) == ("facebook/musicgen-small", 50)
    assert asked.negative_prompt == "drums"
    assert 0 <= asked.seed <= 9999


@pytest.mark.parametrize(
    ("fields", "status", "named"),
    [
        ({}, 400, "prompt"),
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": " \n"}, 406, "prompt must not be empty"),
        ({"prompt": 7}, 406, "prompt must be text"),
        ({"prompt": "x", "duration": 31}, 406, "duration must be a number from 1 to 30 seconds"),
        ({"prompt": "x", "duration": "10"}, 406, "duration"),
        ({"prompt": "x", "duration": True}, 406, "duration"),
        ({"prompt": "x", "duration": None}, 406, "duration"),
        ({"prompt": "x", "seed": 10_000}, 406, "seed must be a whole number from -1 to 9999"),
        ({"prompt": "x", "seed": 1.5}, 406, "seed"),
        ({"prompt": "x", "tempo": 120}, 406, "tempo is no parameter of this model"),
        ({"prompt": "x", "variations": 2}, 406, "variations"),
        ({"prompt": "x", "model": "other"}, 406, "model"),
        ({"prompt": "x\ud800"}, 406, "prompt"),
    ],
)
@BOTH
def test_a_body_that_makes_no_sense_is_refused_by_the_field(
    one_api: Api, version: str, fields: dict[str, object], status: int, named: str
) -> None:
    asked = len(one_api.studio.asked)
    answer = one_api.post(f"/{version}/{MODEL}", fields)
    assert answer.status_code == status
    assert named in answer.json()["error"]
    assert len(one_api.studio.asked) == asked


def test_a_clip_comes_as_base64_and_is_forgotten_with_its_job(api: Api) -> None:
    file = base64.b64encode(sound_file(2.0, 3, "ogg")).decode()
    wish = {"prompt": "#fail", "duration": 1, "continue_from": file}
    melody = {"prompt": "lo-fi", "duration": 1, "melody": f"data:audio/ogg;base64,{file}"}
    assert api.result(api.post("/v2/musicgen-melody", wish).json()).status_code == 422
    assert api.post("/v1/musicgen-melody", melody).status_code == 200
    continued, followed = api.studio.asked
    assert continued.continue_from is not None
    assert continued.continue_from.duration == pytest.approx(2, abs=0.01)
    assert followed.melody is not None
    with api.service.database.reading() as session:
        assert [*session.scalars(select(Output.format))] == ["wav"]
    for given, words in (("~", "base64"), (7, "base64"), ("AAAA", "melody: ")):
        refused = api.post("/v1/musicgen-melody", melody | {"melody": given})
        assert refused.status_code == 406
        assert words in refused.json()["error"]
    plain = api.post("/v1/musicgen-nano", melody)
    assert "needs a melody model" in plain.json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"prompt": NaN}', b"[" * 60_000, b"\xff"])
def test_a_body_that_is_no_json_object_is_malformed(one_api: Api, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = one_api.client.post(f"/v1/{MODEL}", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"error": "Malformed request body"})


def test_the_other_refusals_are_segminds(api: Api) -> None:
    wish = {"prompt": "lo-fi"}
    path = f"/v1/{MODEL}"
    typed = api.client.post(path, content=b"{}", headers={"content-type": "text/plain"})
    assert (typed.status_code, typed.json()) == (406, {"error": "Invalid content type"})
    assert api.post("/v1/other", wish).status_code == 404
    wrong = api.get(path)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.headers["content-type"].startswith("text/html")
    assert api.get("/v2/requests/unknown").json() == {"error": "Request not found"}
    assert api.get("/v2/requests/unknown/status").status_code == 404
    assert api.get("/v2/outputs/unknown.wav").status_code == 404
    bearer = httpx.post(api.url + path, json=wish, headers={"authorization": f"Bearer {api.key}"})
    assert bearer.status_code == 401
    large = api.client.post(path, json={"prompt": "x" * (8 * 2**20)})
    assert large.status_code == 413


def test_a_failed_job_is_served_as_422_and_costs_nothing(api: Api) -> None:
    links = api.post(f"/v2/{MODEL}", {"prompt": "#crash"}).json()
    answer = api.result(links)
    assert answer.status_code == 422
    assert answer.json()["status"] == "FAILED"
    assert "ZeroDivision" not in answer.text
    assert api.get(links["status_url"]).status_code == 422
    assert api.credits == 10


def test_after_a_job_that_meets_a_bug_the_next_is_made(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(take: Take, _: str) -> bytes:
        raise ZeroDivisionError(take.request.prompt)

    with monkeypatch.context() as patched:
        patched.setattr("musicgen_space.server.jobs.runner.encode", broken)
        wish = {"prompt": "my secret", "duration": 1}
        assert api.result(api.post(f"/v2/{MODEL}", wish).json()).status_code == 422
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text
    assert api.result(api.post(f"/v2/{MODEL}", wish).json()).status_code == 200
    assert api.credits == pytest.approx(10 - PRICE)


def test_a_job_and_its_file_are_for_who_asked(api: Api) -> None:
    links = api.post(f"/v2/{MODEL}", {"prompt": "lo-fi", "duration": 1}).json()
    assert links["status"] == "QUEUED"
    assert links["poll_url"] == links["status_url"]
    done = api.result(links).json()
    assert done["status"] == "COMPLETED"
    assert done["metrics"]["cost"] == PRICE
    assert done["metrics"]["remaining_credits"] == pytest.approx(10 - PRICE)
    with httpx.Client(trust_env=False) as anybody:  # who has the address
        assert anybody.get(done["output"]).content.startswith(b"RIFF")
    other = api.service.keys.add("other")[1]
    assert httpx.get(links["response_url"], headers={"x-api-key": other}).status_code == 404


def test_several_jobs_are_made_at_once(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path, at_once=3)) as api:
        for seed in range(3):
            api.post(f"/v2/{MODEL}", {"prompt": "#hold", "duration": 1, "seed": seed})
        for _ in range(3):
            assert api.studio.begun.acquire(timeout=20)
        api.studio.go.set()
        until(lambda: api.credits == pytest.approx(10 - 3 * PRICE))


def test_a_model_that_is_loaded_makes_its_jobs_before_another_is_loaded(api: Api) -> None:
    wish = {"prompt": "#hold", "duration": 1}
    for model in ("nano", "small", "nano"):
        api.post(f"/v2/musicgen-{model}", wish)
    api.studio.begun.acquire()
    api.studio.go.set()
    until(lambda: len(api.studio.asked) == 3)
    made = [str(each.model).rpartition("-")[2] for each in api.studio.asked]
    assert made == ["nano", "nano", "small"]


def test_who_waits_in_vain_gives_the_place_back(api: Api) -> None:
    api.post(f"/v2/{MODEL}", {"prompt": "#hold", "duration": 1})
    api.studio.begun.acquire()
    for name, left in ((None, 0), ("mine", 1)):  # which can be asked for again
        named = [f"Idempotency-Key: {name}"] if name else []
        waiting = sent(api, f"/v1/{MODEL}", {"prompt": "next", "duration": 1}, *named)
        until(lambda: api.service.jobs.waiting() == 1)
        waiting.close()
        until(lambda left=left: api.service.jobs.waiting() == left)  # type: ignore[misc]
    api.studio.go.set()
    wish = {"prompt": "next", "duration": 1}
    assert api.post(f"/v1/{MODEL}", wish, idempotency_key="mine").status_code == 200
    assert [each.prompt for each in api.studio.asked] == ["#hold", "next"]
    assert api.credits == pytest.approx(10 - 2 * PRICE)


def test_who_hangs_up_in_the_middle_of_a_request_is_no_failure_of_ours(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "musicgen_space.server"):
        sent(api, f"/v1/{MODEL}", {"prompt": "lo-fi"}, missing=10).close()
        until(lambda: '"cut": true' in caplog.text)
    assert [each.levelname for each in caplog.records] == ["INFO"]
    assert api.studio.asked == []


def test_on_this_machine_its_owner_needs_no_key(one_api: Api) -> None:
    wish = {"prompt": "lo-fi", "duration": 1}
    with httpx.Client(base_url=one_api.url, trust_env=False) as owner:
        answer = owner.post(f"/v1/{MODEL}", json=wish)
        assert (answer.status_code, answer.headers["x-cost"]) == (200, "0.0")
        assert "x-remaining-credits" not in answer.headers
        assert owner.get("/v1/get-user-credits").status_code == 404
        # A page of another host, whose name leads here, as a browser would send it.
        rebound = owner.post(f"/v1/{MODEL}", json=wish, headers={"host": "evil.example"})
        assert rebound.status_code == 401


def test_where_others_can_come_nothing_is_there_without_a_key(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path, root_path="/music")) as api:
        with httpx.Client(base_url=api.url, trust_env=False) as stranger:
            assert stranger.post(f"/v1/{MODEL}", json={"prompt": "x"}).status_code == 401
            for path in ("/v1/get-user-credits", "/v2/requests/x", "/metrics"):
                assert stranger.get(path).status_code == 401
            assert stranger.get("/healthz").status_code == 200
        links = api.post(f"/v2/{MODEL}", {"prompt": "lo-fi", "duration": 1}).json()
        assert links["response_url"].startswith(f"{api.url}/music/v2/requests/")


def test_a_key_opens_what_it_is_for(api: Api) -> None:
    watcher = api.service.keys.add("watcher", ["metrics"])[1]
    headers = {"x-api-key": watcher}
    assert api.client.get("/metrics", headers=headers).status_code == 200
    refused = api.client.post(f"/v1/{MODEL}", json={"prompt": "x"}, headers=headers)
    assert refused.status_code == 403
    assert api.get("/metrics").status_code == 403


def test_a_key_has_so_many_jobs_a_minute(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    key = api.service.keys.add("slow", balance=1, per_minute=2)[1]
    monkeypatch.setattr(api.service.keys, "_now", lambda: 1_800_000_010.0)
    path, wish = f"/v2/{MODEL}", {"prompt": "lo-fi", "duration": 1}
    answers = [api.client.post(path, json=wish, headers={"x-api-key": key}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["x-rate-limit-reset-at-utc"] == "2027-01-15T08:01:00Z"
    with pytest.raises(errors.RateLimited) as caught:
        take_of(client(api, "v1", key), "lo-fi")
    assert caught.value.resets_at is not None
    monkeypatch.setattr(api.service.keys, "_now", lambda: 1_800_000_070.0)
    assert api.client.post(path, json=wish, headers={"x-api-key": key}).status_code == 200


def test_more_than_may_wait_are_told_when_to_come_back(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path, api_waiting=1)) as api:
        api.post(f"/v2/{MODEL}", {"prompt": "#hold"})
        api.studio.begun.acquire()
        assert api.post(f"/v2/{MODEL}", {"prompt": "next"}).status_code == 200
        full = api.post(f"/v2/{MODEL}", {"prompt": "one more"})
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) >= 1
        assert "waiting" in full.json()["error"]
        assert api.credits == pytest.approx(10 - 2 * PRICE)


def test_a_job_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path, api_seconds=0.1)) as api:
        answer = api.result(api.post(f"/v2/{MODEL}", {"prompt": "#hold"}).json())
        assert answer.status_code == 422
        assert "longer than this server allows" in answer.json()["error"]
        assert api.credits == 10
