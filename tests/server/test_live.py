"""``WS /v1/live``: music that goes on, for whoever may have it, as long as it is heard."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from musicgen_space.server.live import session as live_session
from tests.server.fixtures import PRICE, RATE, Api, api, one_api, serving_api, settings_in, until

__all__ = ["api", "one_api"]

WISH = {"prompt": "jazz", "seed": 7}


class Client:
    """One end of a session."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.sound = b""

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def next(self) -> dict[str, Any] | bytes:
        message = self.socket.recv(30)
        if isinstance(message, bytes):
            self.sound += message
            return message
        event = json.loads(message)
        assert isinstance(event, dict)
        return event

    def until(self, kind: str, **facts: Any) -> dict[str, Any]:
        """The next event of a type that says so."""
        facts["type"] = kind
        while True:
            event = self.next()
            if isinstance(event, dict) and facts.items() <= event.items():
                return event

    def end(self, confirmed: bool = False) -> tuple[dict[str, Any], dict[str, Any], int]:
        """The last error and the last word, and the code that closed it; all is heard till then."""
        said: list[dict[str, Any]] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                event = self.next()
                if isinstance(event, dict):
                    said.append(event)
                elif confirmed:
                    self.confirm()
        code = self.socket.protocol.close_code
        assert code is not None
        errors = [each["error"] for each in said if "error" in each]
        return errors[-1] if errors else {}, said[-1], code

    def barrier(self) -> None:
        """Wait until what was said is done."""
        self.say("nothing")
        self.until("error")

    def confirm(self) -> None:
        self.say("heard", seconds=len(self.sound) / 2 / RATE)


@contextmanager
def connected(
    api: Api, key: str | None = "", name: str = "127.0.0.1", **headers: str
) -> Iterator[Client]:
    """A client with the key of the tests, or another one; None: without. ``name``: of the host."""
    given = {} if key is None else {"x-api-key": key or api.key}
    port = api.service.settings.port
    with (
        socket.create_connection(("127.0.0.1", port)) as link,
        connect(
            f"ws://{name}:{port}/v1/live",
            sock=link,
            additional_headers={**given, **headers},
            max_size=None,
            close_timeout=0.1,
        ) as opened,
    ):
        yield Client(opened)


@pytest.fixture
def client(one_api: Api) -> Iterator[Client]:
    """Of the server that the tests of this file share."""
    with connected(one_api) as client:
        yield client
    until(lambda: free(one_api))


def begun_confirming(api: Api, client: Client) -> None:
    """Start, and say before there is any sound that none was heard."""
    api.studio.go.clear()
    client.say("start", prompt="#hold jazz")
    client.say("heard", seconds=0)
    client.barrier()
    api.studio.go.set()


def free(api: Api) -> bool:
    return api.studio.room.requests == []


def test_it_starts_is_steered_and_stops(one_api: Api, client: Client) -> None:
    client.say("start", **WISH, balance=0.5)
    assert client.next() == {"type": "waiting", "place": 1}
    assert client.next() == {"type": "loading", "what": "Tuning", "fraction": 0.5}
    started = client.until("started")
    facts = {"sample_rate": RATE, "channels": 1, "format": "pcm16", "seed": 7}
    assert facts.items() <= started.items()
    heard = {"type": "heard", "prompt": "jazz", "coming": None, "speed": 3.0}
    assert client.next() == {**heard, "start": 0.0}
    piece = client.next()
    assert isinstance(piece, bytes)
    samples = np.frombuffer(piece, "<i2")
    assert (samples.size, samples[0]) == (RATE // 4, 2**14)
    client.say("steer", prompt="house", balance=0.25)
    later = client.until("heard", prompt="house")
    assert later["start"] > 0
    client.say("stop")
    _, last, code = client.end()
    assert (last, code) == ({"type": "ended", "reason": "stopped"}, 1000)
    until(lambda: free(one_api))
    assert one_api.studio.visitors == [f"api-{one_api.account}"]


def test_float32_is_what_the_model_made(client: Client) -> None:
    client.say("start", **WISH, balance=0.1, format="float32")
    client.until("heard")
    piece = client.next()
    assert isinstance(piece, bytes)
    assert np.array_equal(np.frombuffer(piece, "<f4"), np.full(RATE // 4, 0.1, np.float32))


def test_fields_go_where_they_belong(one_api: Api, client: Client) -> None:
    numbers = {"guidance_scale": 5, "temperature": 0.5, "top_k": 9, "top_p": 0.5}
    texts = {"negative_prompt": "drums", "blend_prompt": "funk", "change": "arrive"}
    client.say("start", **WISH, **numbers, **texts, balance=1, model="musicgen-small")
    assert client.until("started")["model"] == "musicgen-small"
    wish = one_api.studio.wishes[-1]
    request = wish.request
    assert (request.model, request.seed) == ("facebook/musicgen-small", 7)
    assert (request.negative_prompt, request.blend_prompt) == ("drums", "funk")
    assert {name: getattr(request, name) for name in numbers} == numbers
    assert (wish.balance, wish.change) == (1.0, "arrive")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"type": "play"}, "type"),
        ({"type": "steer", "prompt": "  "}, "prompt"),
        ({"type": "steer", "prompt": None}, "prompt"),
        ({"type": "steer", "balance": 2}, "balance"),
        ({"type": "steer", "change": "jump"}, "change"),
        ({"type": "steer", "seed": 1}, "seed"),
        ({"type": "steer", "self": 1}, "self"),
        ({"type": "heard", "seconds": "all"}, "seconds"),
        ({"type": "heard", "minutes": 1}, "minutes"),
        ("[1]", None),
        ("{" * 5000, None),
        (b"\0", None),
        (json.dumps({"type": "steer", "prompt": "x" * 2**16}), None),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_and_the_music_goes_on(
    client: Client, message: object, param: str | None
) -> None:
    client.say("start", **WISH)
    client.until("started")
    client.socket.send(json.dumps(message) if isinstance(message, dict) else message)  # type: ignore[arg-type]
    error = client.until("error")["error"]
    assert (error["param"], error["code"] in (400, 413)) == (param, True)
    client.say("steer", prompt="house")
    assert client.until("heard", prompt="house")


@pytest.mark.parametrize(
    ("message", "status", "param"),
    [
        ({"type": "steer", "prompt": "x"}, 400, "type"),
        ({"prompt": "x"}, 400, "type"),
        ({"type": "start"}, 400, "prompt"),
        ({"type": "start", "prompt": "x", "duration": 9}, 400, "duration"),
        ({"type": "start", "prompt": "x", "melody": "x"}, 400, "melody"),
        ({"type": "start", "prompt": "x", "format": "mp3"}, 400, "format"),
        ({"type": "start", "prompt": "x", "format": []}, 400, "format"),
        ({"type": "start", "prompt": "x", "balance": "half"}, 400, "balance"),
        ({"type": "start", "prompt": "x", "model": 7}, 400, "model"),
        ({"type": "start", "prompt": "x", "model": "other"}, 404, "model"),
        ({"type": "start", "prompt": "x", "api_key": 7}, 400, "api_key"),
        ({"type": "start", "prompt": "#fail"}, 500, None),
        ({"type": "start", "prompt": "#crash"}, 500, None),
    ],
)
def test_what_can_not_be_begun_ends_with_the_error_of_the_http_api(
    one_api: Api, client: Client, message: dict[str, Any], status: int, param: str | None
) -> None:
    client.socket.send(json.dumps(message))
    error, last, code = client.end()
    assert (error["code"], error["param"], code) == (status, param, 4000 + status)
    assert last == {"type": "ended", "reason": "error"}
    assert free(one_api)


def test_a_key_comes_in_a_header_or_in_the_first_message_and_is_never_logged(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    bearer = {"authorization": f"Bearer {api.key}"}
    for headers, fields in ((bearer, {}), ({}, {"api_key": api.key})):
        with connected(api, None, **headers) as client:
            client.say("start", prompt="a secret", **fields)
            client.until("started")
        until(lambda: free(api))
    until(lambda: caplog.text.count('"route": "/v1/live"') == 2)
    ours = [each.getMessage() for each in caplog.records if each.name.startswith("musicgen")]
    assert '"method": "WS", "route": "/v1/live", "status": 101' in ours[0]
    assert not any(hidden in "".join(ours) for hidden in (api.key, "secret"))


def test_who_may_not_is_refused(api: Api) -> None:
    revoked, key = api.service.keys.add("revoked", balance=9)
    api.service.keys.revoke(revoked)
    watcher = api.service.keys.add("watcher", ["metrics"], 9)[1]
    poor = api.service.keys.add("poor")[1]
    for wrong, status in (("wrong", 401), (key, 401), (watcher, 403), (poor, 402)):
        with connected(api, wrong) as client:
            client.say("start", **WISH)
            error, _, code = client.end()
            assert (error["code"], code) == (status, 4000 + status)
    hasty = api.service.keys.add("hasty", balance=9, per_minute=1)[1]
    codes = []
    for _ in range(2):
        with connected(api, hasty) as client:
            client.say("start", prompt="#over")
            codes.append(client.end()[2])
    assert codes == [1000, 4429]


def test_a_page_of_another_site_needs_a_key(api: Api) -> None:
    """A browser opens WebSockets to this machine for any page."""
    own = api.url
    foreign = ("https://evil.example", "null", "http://127.0.0.1:1", own.replace("127.0.0.1", "x"))
    for origin, key, allowed in (
        *((each, None, False) for each in foreign),
        (foreign[0], "", True),
        (own, None, True),
    ):
        with connected(api, key, origin=origin) as client:
            client.say("start", **WISH)
            if allowed:
                client.until("started")
            else:
                assert client.end()[2] == 4401
        until(lambda: free(api))


def test_a_name_that_was_given_this_machine_s_address_needs_a_key(api: Api) -> None:
    address = f"http://evil.example:{api.service.settings.port}"
    with connected(api, None, name="evil.example", origin=address) as client:
        client.say("start", **WISH)
        assert client.end()[2] == 4401


def test_where_others_can_reach_it_nobody_is_without_a_key(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path, host="0.0.0.0")) as api, connected(api, None) as client:
        client.say("start", **WISH)
        assert client.end()[2] == 4401


def test_who_goes_away_frees_the_engine(api: Api) -> None:
    with connected(api) as client:
        client.say("start", **WISH)
        client.until("started")
        assert not free(api)
    until(lambda: free(api))
    with connected(api) as client:
        client.say("start", **WISH)
        client.until("started")
        client.socket.socket.shutdown(2)  # without a word
    until(lambda: free(api))


def test_as_many_play_as_may(tmp_path: Path) -> None:
    with (
        serving_api(settings_in(tmp_path, live_sessions=2)) as api,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(2):
            client = stack.enter_context(connected(api))
            client.say("start", **WISH)
            client.until("started")
        with connected(api) as third:
            third.say("start", **WISH)
            error, _, code = third.end()
            assert (error["type"], code) == ("RateLimitError", 4429)
            assert "2 are playing live music here" in error["message"]
        client.say("stop")
        client.end()
        with connected(api) as third:
            third.say("start", **WISH)
            assert third.until("started")


def test_where_others_can_reach_it_a_key_plays_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, host="0.0.0.0")
    with serving_api(settings) as api, connected(api) as first, connected(api) as second:
        first.say("start", **WISH)
        first.until("started")
        second.say("start", **WISH)
        error, _, code = second.end()
        assert "You are playing live music already" in error["message"]
        assert code == 4429


def test_a_session_s_time_is_up(client: Client) -> None:
    client.say("start", prompt="#over")
    error, last, code = client.end()
    assert (error, last["reason"], code) == ({}, "time", 1000)


def test_each_minute_that_begins_is_charged_once(api: Api) -> None:
    for seconds, minutes in ((1, 1), (61, 3)):
        with connected(api) as client:
            begun_confirming(api, client)
            while len(client.sound) < 2 * RATE * seconds:
                if isinstance(client.next(), bytes):
                    client.confirm()
            client.say("stop")
            client.end()
        assert api.credits == pytest.approx(10 - minutes * PRICE)


def test_what_fails_before_there_is_sound_costs_nothing(api: Api) -> None:
    with connected(api) as client:
        client.say("start", prompt="#fail")
        client.end()
    assert api.credits == 10


def test_it_ends_with_the_credits_or_the_key(api: Api) -> None:
    account, key = api.service.keys.add("one minute", balance=PRICE)
    with connected(api, key) as client:
        client.say("start", **WISH)
        error, last, code = client.end()
        assert (error["code"], last["reason"], code) == (402, "error", 4402)
        assert len(client.sound) == 2 * RATE * 60
    assert api.service.keys.account(account).credits == 0
    account, key = api.service.keys.add("revoked", balance=9)
    with connected(api, key) as client:
        begun_confirming(api, client)
        api.service.keys.revoke(account)
        assert client.end(confirmed=True)[2] == 4401


def test_no_more_is_made_than_a_slow_client_has_heard(api: Api) -> None:
    with connected(api) as client:
        begun_confirming(api, client)
        # The last: nobody has heard what wasn't sent.
        for seconds, made in ((0, 1), (0.5, 1.5), (0.25, 1.5), (100, 2.5)):
            client.say("heard", seconds=seconds)
            while len(client.sound) < 2 * RATE * made:
                client.next()
            wait_for_sound(api, made)
            client.barrier()
            assert api.studio.told == made


def wait_for_sound(api: Api, seconds: float) -> None:
    until(lambda: api.studio.told >= seconds)


def stands_still(api: Api) -> bool:
    before = api.studio.told
    threading.Event().wait(0.1)
    return api.studio.told == before


def test_who_reads_nothing_has_no_more_made_than_the_network_takes(
    one_api: Api, client: Client
) -> None:
    client.say("start", **WISH)
    client.until("started")

    until(lambda: stands_still(one_api))
    assert one_api.studio.told < 600  # some megabytes, which are the kernel's


def test_who_reads_nothing_for_long_is_gone(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path), stall=0.2) as api, connected(api) as client:
        client.say("start", **WISH)
        client.until("started")
        until(lambda: free(api))


def test_who_said_what_it_hears_and_falls_silent_is_gone(
    one_api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_session, "_IDLE_SECONDS", 0.1)
    monkeypatch.setattr(live_session, "_LOOK_SECONDS", 0.05)
    client.say("start", **WISH)
    client.until("started")
    client.say("heard", seconds=0)
    _, last, code = client.end()
    assert (last["reason"], code) == ("idle", 4408)


def test_who_says_nothing_at_first_is_sent_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_session, "_START_SECONDS", 0.05)
    with connected(api) as client:
        assert client.end()[2] == 4408


def test_a_large_message_is_not_even_read(client: Client) -> None:
    client.socket.send(" " * 2**19)
    with pytest.raises(ConnectionClosed) as closed:
        client.socket.recv(30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_the_server_s_end_is_told(tmp_path: Path) -> None:
    with serving_api(settings_in(tmp_path)) as api, connected(api) as client:
        client.say("start", **WISH)
        client.until("started")
        api.service.close()
        _, last, code = client.end()
        assert (last["reason"], code) == ("server", 1001)


def test_metrics_tell_of_live_music(api: Api) -> None:
    watcher = api.service.keys.add("watcher", ["metrics"])[1]

    def text() -> str:
        return api.client.get("/metrics", headers={"x-api-key": watcher}).text

    with connected(api) as client:
        client.say("start", **WISH)
        client.until("started")
        client.say("heard", seconds=0)
        assert "musicgen_live_sessions 1.0" in text()
    until(lambda: "musicgen_live_sessions 0.0" in text())
    [line] = [
        each for each in text().splitlines() if each.startswith("musicgen_live_seconds_total")
    ]
    assert float(line.split()[1]) >= 0.25
    assert 'musicgen_requests_total{route="/v1/live",status="101"} 1.0' in text()


def test_a_server_without_live_music_says_so(one_api: Api, client: Client) -> None:
    one_api.studio.plays_live = False
    client.say("start", **WISH)
    error, _, code = client.end()
    assert "no live music" in error["message"]
    assert code == 4404


def test_the_example_is_where_the_socket_is(api: Api) -> None:
    answer = api.get("/v1/live")
    assert answer.status_code == 200
    assert "new WebSocket" in answer.text
    assert answer.text.count("\n") <= 60
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
