"""``POST /v1/audio/generate``: sound is sent while it is made, once, and for what it costs."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import soundfile

from musicgen_space.audio.resample import to_int16
from musicgen_space.request import MusicRequest
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

__all__ = ["api", "one_api"]

PATH = "/v1/audio/generate"
SOUND = to_int16(hum(MusicRequest("jazz", 2.0, 7)))[0].tobytes()
WISH = {"input": "jazz", "audio_length": 2, "seed": 7}


def test_the_sound_is_heard_while_it_is_made(api: Api) -> None:
    wish = WISH | {"input": "#hold", "response_format": "pcm"}
    with api.client.stream("POST", PATH, json=wish) as answer:
        assert answer.headers["content-type"] == "audio/pcm"
        assert answer.headers["x-sample-rate"] == str(RATE)
        assert answer.headers["x-seed-value"] == "7"
        pieces = answer.iter_bytes()
        heard = b""
        while len(heard) < len(SOUND) // 2:
            heard += next(pieces)
        assert heard == SOUND[: len(SOUND) // 2]  # half of it: the rest isn't made yet
        api.studio.go.set()
        assert heard + b"".join(pieces) == SOUND
    until(lambda: api.credits != 10)
    assert api.credits == pytest.approx(10 - PRICE)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", None])
def test_the_sound_comes_as_a_file_of_the_format(one_api: Api, kind: str | None) -> None:
    answer = one_api.post(PATH, WISH | {"response_format": kind})
    assert answer.status_code == 200
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    assert rate == RATE
    if kind in ("wav", "flac", None):
        assert samples.tobytes() == SOUND


def test_events_carry_the_sound_as_openai_s_do(one_api: Api) -> None:
    answer = one_api.post(PATH, WISH | {"response_format": "pcm", "stream_format": "sse"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(each.partition("data: ")[2]) for each in answer.text.split("\n\n")[:-1]]
    *sound, done = events
    assert {each["type"] for each in sound} == {"speech.audio.delta"}
    assert len(sound) == 2
    assert b"".join(base64.b64decode(each["audio"]) for each in sound) == SOUND
    assert done["type"] == "speech.audio.done"
    assert done["request_id"] == answer.headers["x-request-id"]


def test_fields_go_by_their_names_there(one_api: Api) -> None:
    more = {"negative_prompt": "drums", "guidance_scale": 5, "model": "musicgen-small"}
    usual = {"speed": 1.0, "audio_start": 0, "num_inference_steps": None, "top_k": 50}
    assert one_api.post(PATH, WISH | more | usual).headers["x-model"] == "musicgen-small"
    asked = one_api.studio.asked[-1]
    assert (asked.prompt, asked.duration, asked.seed) == ("jazz", 2, 7)
    assert (asked.negative_prompt, asked.guidance_scale, asked.top_k) == ("drums", 5, 50)
    assert asked.model == "facebook/musicgen-small"
    assert one_api.post(PATH, {"input": "x", "audio_length": 60}).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": 7}, 400, "input"),
        ({"input": "x", "audio_length": 0}, 400, "audio_length"),
        ({"input": "x", "audio_length": "10"}, 400, "audio_length"),
        ({"input": "x", "speed": 2}, 400, "speed"),
        ({"input": "x", "num_inference_steps": 100}, 400, "num_inference_steps"),
        ({"input": "x", "response_format": "opus"}, 400, "response_format"),
        ({"input": "x", "response_format": "mp3", "stream_format": "sse"}, 400, "response_format"),
        ({"input": "x", "stream_format": ["sse"]}, 400, "stream_format"),
        ({"input": "x", "prompt": "y"}, 400, "prompt"),
        ({"input": "x", "voice": "y"}, 400, "voice"),
        ({"input": "x", "model": 7}, 400, "model"),
        ({"input": "x", "model": "other"}, 404, "model"),
    ],
)
def test_refusals_name_the_field_in_openai_s_envelope(
    one_api: Api, fields: dict[str, object], status: int, param: str
) -> None:
    answer = one_api.post(PATH, fields)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, status)
    assert param in error["message"]


def test_a_key_comes_as_openai_s_clients_send_it(api: Api) -> None:
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        for key, status in ((api.key, 200), ("wrong", 401)):
            headers = {"authorization": f"Bearer {key}"}
            answer = client.post(PATH, json=WISH, headers=headers)
            assert answer.status_code == status
            models = client.get("/v1/models", headers=headers)
            assert models.status_code == status
        assert models.json()["error"]["type"] == "AuthenticationError"
    names = {each["id"] for each in api.get("/v1/models").json()["data"]}
    own = {f"musicgen-{name}" for name in ("nano", "small", "melody")}
    assert names == {"meta-musicgen-medium", *own}
    poor = api.service.keys.add("poor")[1]
    broke = api.client.post(PATH, json=WISH, headers={"x-api-key": poor})
    assert broke.status_code == 402


def test_what_fails_before_there_is_sound_is_an_error_and_costs_nothing(api: Api) -> None:
    answer = api.post(PATH, WISH | {"input": "#fail"})
    assert answer.status_code == 500
    assert "out of tune" in answer.json()["error"]["message"]
    assert api.credits == 10


def test_who_hangs_up_ends_the_music_and_pays_nothing(api: Api) -> None:
    wish = WISH | {"input": "#hold"}
    named = {"idempotency-key": "mine"}
    with api.client.stream("POST", PATH, json=wish, headers=named) as answer:
        next(answer.iter_bytes())
    until(lambda: api.studio.stopped == 1)
    until(lambda: api.service.keys.account(api.account).reserved == 0)
    assert api.credits == 10
    api.studio.go.set()
    assert api.post(PATH, wish, idempotency_key="mine").status_code == 200  # not made before
    assert api.credits == pytest.approx(10 - PRICE)


@pytest.mark.parametrize("wish", [{}, {"response_format": "pcm"}, {"stream_format": "sse"}])
def test_one_name_is_made_and_paid_once(api: Api, wish: dict[str, str]) -> None:
    first, second = (api.post(PATH, WISH | wish, idempotency_key="mine") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["x-request-id"] == second.headers["x-request-id"]
    assert len(api.studio.asked) == 1
    assert api.credits == pytest.approx(10 - PRICE)
    if wish.get("response_format") == "pcm":
        assert first.content == second.content == SOUND


def test_a_slow_reader_holds_up_nobody(api: Api) -> None:
    """It reads nothing of five minutes of music, which are made all the same."""
    with api.client.stream("POST", PATH, json={"input": "x", "audio_length": 300}):
        with httpx.Client(base_url=api.url, headers=api.client.headers, timeout=30) as other:
            assert other.post(PATH, json=WISH).status_code == 200
        until(lambda: api.credits == pytest.approx(10 - 2 * PRICE))


@pytest.mark.parametrize(
    ("path", "wish", "costs"),
    [
        (PATH, {"input": "#hold", "audio_length": 300}, 0),  # ends with its reader
        ("/v1/musicgen-nano", {"prompt": "jazz", "duration": 300}, PRICE),
    ],
)
def test_a_reader_that_stops_is_cut_and_its_place_is_free(
    tmp_path: Path, path: str, wish: dict[str, object], costs: float
) -> None:
    with serving_api(settings_in(tmp_path), stall=0.3) as api, sent(api, path, wish) as stalled:
        peer = stalled.getsockname()[1]
        until(lambda: any(each.status == "ESTABLISHED" for each in connections_from(peer)))
        assert api.post(PATH, WISH).status_code == 200  # nobody waits for it
        until(lambda: not connections_from(peer))
        until(lambda: api.service.keys.account(api.account).reserved == 0)
        assert api.credits == pytest.approx(10 - PRICE - costs)
        assert api.post(PATH, WISH).status_code == 200


def connections_from(port: int) -> list[Any]:
    """What this process, which serves, has open to that port."""
    found = psutil.Process().net_connections()
    return [each for each in found if each.raddr and each.raddr.port == port]


def test_metrics_tell_what_was_made(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path)) as api:
        api.post(PATH, WISH)
        api.post(PATH, WISH | {"input": "#fail"})
        watcher = api.service.keys.add("watcher", ["metrics"])[1]
        text = api.client.get("/metrics", headers={"x-api-key": watcher}).text
        assert 'musicgen_jobs_total{outcome="completed"} 1.0' in text
        assert 'musicgen_jobs_total{outcome="failed"} 1.0' in text
        assert "musicgen_music_seconds_total 2.0" in text
        assert "musicgen_first_sound_seconds_count 1.0" in text
        assert f'musicgen_requests_total{{route="{PATH}",status="500"}} 1.0' in text
