"""Takes from Segmind's API over real HTTP: what is sent, what comes back, what is said."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from musicgen_space import errors
from musicgen_space.backends.base import Loading
from musicgen_space.backends.segmind import MODEL, SegmindBackend
from musicgen_space.backends.segmind.http import Response
from musicgen_space.backends.segmind.responses import check_status, parse_balance, reset_time
from musicgen_space.key import ApiKey
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take
from tests.segmind.fixtures import LocalSegmind, one_server, segmind, take_of, updates_of
from tests.servers.segmind import EXPIRED_KEY, KEY, NEW_KEY, POOR_KEY, PRICE, chord

__all__ = ["one_server", "segmind"]

BOTH = pytest.mark.parametrize("api", ["v1", "v2"])


@BOTH
def test_a_take_holds_the_music_and_what_it_cost(segmind: LocalSegmind, api: str) -> None:
    take = take_of(segmind.backend(api), "lo-fi", duration=2.0, seed=7)
    assert (take.backend, take.model, take.sample_rate) == ("segmind", MODEL, 32_000)
    assert take.samples.dtype == np.float32
    np.testing.assert_allclose(take.samples, chord(2.0, 7)[None], atol=1e-4)
    receipt = take.receipt
    assert receipt is not None
    assert receipt.request_id
    assert (receipt.cost, receipt.generation_seconds) == (PRICE, 21.5)
    assert receipt.credits_left == pytest.approx(10 - PRICE)
    assert take.seconds_taken > 0


@BOTH
def test_the_documented_fields_are_sent_as_json_under_the_key(
    segmind: LocalSegmind, api: str
) -> None:
    take_of(segmind.backend(api), "lo-fi", duration=2.5, seed=0)
    assert segmind.state.bodies == [{"prompt": "lo-fi", "duration": 2.5, "seed": 0}]
    assert segmind.state.headers[0]["content-type"] == "application/json"
    assert segmind.state.headers[0]["x-api-key"] == KEY
    assert "authorization" not in segmind.state.headers[0]


def test_a_random_seed_is_drawn_before_sending(segmind: LocalSegmind) -> None:
    take = take_of(segmind.backend(), "lo-fi", seed=-1)
    assert 0 <= take.request.seed <= 9999
    assert segmind.state.bodies[0]["seed"] == take.request.seed


def test_the_seed_that_the_server_reports_is_the_take_s(segmind: LocalSegmind) -> None:
    assert take_of(segmind.backend(), "#seed=7", seed=3).request.seed == 7


@pytest.mark.parametrize("seed", ["123456789", "x", "nan", "-1", "1.5"])
def test_a_seed_that_no_request_can_hold_is_passed_over(segmind: LocalSegmind, seed: str) -> None:
    assert take_of(segmind.backend(), f"#seed={seed}", seed=3).request.seed == 3


def test_every_header_of_an_answer_may_be_absent(segmind: LocalSegmind) -> None:
    receipt = take_of(segmind.backend(), "#bare").receipt
    assert receipt is not None
    assert receipt.cost is None
    assert receipt.request_id is None


def test_the_page_learns_what_segmind_is_doing(segmind: LocalSegmind) -> None:
    updates = updates_of(segmind.backend("v2"), "lo-fi")
    words = [str(update.what) for update in updates if isinstance(update, Loading)]
    assert "Waiting in Segmind's queue · 0 s" in words
    assert "Segmind is making the music · 0 s" in words


def test_another_model_is_refused_before_sending(segmind: LocalSegmind) -> None:
    with pytest.raises(errors.InvalidRequest, match=MODEL):
        take_of(segmind.backend(), "lo-fi", model="facebook/musicgen-large")
    assert segmind.account().posts == 0


def test_without_a_key_nothing_is_sent_and_the_message_says_so(segmind: LocalSegmind) -> None:
    backend = SegmindBackend(base_url=segmind.url)
    assert not backend.has_key
    with pytest.raises(errors.UnusableKey, match="no Segmind key"):
        list(backend.generate(MusicRequest("lo-fi"), threading.Event()))
    with pytest.raises(errors.UnusableKey):
        backend.balance()


def test_a_visitor_s_key_pays_for_their_own_take(segmind: LocalSegmind) -> None:
    take_of(SegmindBackend(base_url=segmind.url).with_key(f" {KEY}\n"), "lo-fi")
    assert segmind.account().billed == 1


def test_the_balance_goes_down_with_each_take(segmind: LocalSegmind) -> None:
    backend = segmind.backend()
    assert backend.balance() == 10
    take_of(backend, "lo-fi")
    assert backend.balance() == pytest.approx(10 - PRICE)


def test_an_account_without_a_balance_record_has_nothing(segmind: LocalSegmind) -> None:
    assert segmind.backend(key=NEW_KEY).balance() == 0


@pytest.mark.parametrize("body", [b"", b"[]", b'{"credits": null}', b'{"credits": NaN}', b"<html>"])
def test_a_balance_that_is_no_number_is_an_error(body: bytes) -> None:
    with pytest.raises(errors.UnexpectedStatus, match="credits"):
        parse_balance(Response(200, {}, body), None)


TABLE = [
    ("#status=400", errors.MalformedRequest, "Malformed request body"),
    ("#status=403", errors.AccessDenied, "will not help"),
    ("#status=404", errors.NotFound, "no such model"),
    ("#status=405", errors.WrongVerb, "SEGMIND_BASE_URL"),
    ("#406=content-type", errors.ContentTypeRefused, "media type"),
    ("#status=406", errors.RequestDeclined, "parameter"),
    ("#406=spend-limit", errors.RequestDeclined, "Team spend limit reached"),
    ("#status=410", errors.ModelRetired, "another backend"),
    ("#status=422", errors.GenerationFailed, "Inference failed"),
    ("#status=429", errors.RateLimited, r"at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, in 3\d s"),
    ("#status=500", errors.ServerFailed, "Nothing was billed"),
    ("#status=503", errors.ServerFailed, "Nothing was billed"),
    ("#status=502", errors.GatewayFailed, "may have been billed"),
    ("#status=504", errors.GatewayFailed, "may have been billed"),
    ("#status=524", errors.GatewayFailed, "may have been billed"),
    ("#status=418", errors.UnexpectedStatus, "418"),
    ("#redirect", errors.UnexpectedStatus, "307"),
]


@BOTH
@pytest.mark.parametrize(("prompt", "error", "words"), TABLE)
def test_each_status_has_an_error_and_a_message_of_its_own(
    segmind: LocalSegmind, api: str, prompt: str, error: type[errors.SegmindError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        take_of(segmind.backend(api), prompt)
    assert type(caught.value) is error
    assert caught.value.may_be_billed == (error is errors.GatewayFailed)


@pytest.mark.parametrize(
    ("key", "words"),
    [("SG_ffffffffffffffff", "Invalid or missing"), (EXPIRED_KEY, "has expired")],
)
def test_a_refused_key_says_where_to_make_one(segmind: LocalSegmind, key: str, words: str) -> None:
    with pytest.raises(errors.KeyRefused, match=f"console/api-keys.*{words}"):
        take_of(segmind.backend(key=key), "lo-fi")
    with pytest.raises(errors.KeyRefused):
        segmind.backend(key=key).balance()


def test_too_few_credits_are_told_with_balance_and_price(segmind: LocalSegmind) -> None:
    with pytest.raises(errors.InsufficientCredits, match=r"balance 0.01, price 0.037"):
        take_of(segmind.backend(key=POOR_KEY), "lo-fi")


def test_a_failed_job_tells_its_reason_and_its_id(segmind: LocalSegmind) -> None:
    with pytest.raises(errors.GenerationFailed, match="CUDA out of memory") as caught:
        take_of(segmind.backend("v2"), "#failed")
    assert caught.value.request_id in segmind.state.jobs


def test_an_expired_job_is_told_apart_from_an_unknown_model(segmind: LocalSegmind) -> None:
    with pytest.raises(errors.NotFound, match="expire after an hour") as caught:
        take_of(segmind.backend("v2"), "#expired")
    assert caught.value.may_be_billed


def test_a_server_s_message_is_short_and_printable(segmind: LocalSegmind) -> None:
    with pytest.raises(errors.MalformedRequest) as caught:
        take_of(segmind.backend(), "#echo")
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 400
    assert "[key]" in text


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T12:00:00Z",
        "2026-11-23T14:00:00+02:00",
        "2026-11-23 12:00:00",
        "Mon, 23 Nov 2026 12:00:00 GMT",
        "1795435200",
        "1795435200000",
    ],
)
def test_a_reset_time_is_read_in_every_usual_spelling(text: str) -> None:
    answer = Response(429, {"x-rate-limit-reset-at-utc": text}, b"")
    assert reset_time(answer) == datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "1e999", "9" * 300, "0000-00-00"])
def test_an_unreadable_reset_time_still_makes_a_message(text: str) -> None:
    with pytest.raises(errors.RateLimited, match="in a minute") as caught:
        check_status(Response(429, {"x-rate-limit-reset-at-utc": text}, b""), None)
    assert caught.value.resets_at is None


@BOTH
def test_stop_leaves_at_once_and_says_that_it_may_be_billed(
    segmind: LocalSegmind, api: str
) -> None:
    stop = threading.Event()
    updates = segmind.backend(api).generate(MusicRequest("#slow=4"), stop)
    while segmind.account().billed == 0:
        assert isinstance(next(updates), Loading)
        time.sleep(0.01)
    stop.set()
    pressed = time.monotonic()
    with pytest.raises(errors.StoppedButBilled, match="may still be billed"):
        next(updates)
    assert time.monotonic() - pressed < 2
    assert segmind.account().posts == 1


def test_stop_while_a_job_is_polled_leaves_at_once(segmind: LocalSegmind) -> None:
    stop = threading.Event()
    updates = segmind.backend("v2").generate(MusicRequest("#stuck"), stop)
    next(updates)
    while not segmind.state.jobs:
        time.sleep(0.01)
    stop.set()
    pressed = time.monotonic()
    with pytest.raises(errors.StoppedButBilled):
        list(updates)
    assert time.monotonic() - pressed < 2


def test_stop_before_the_start_sends_nothing(segmind: LocalSegmind) -> None:
    stop = threading.Event()
    stop.set()
    assert updates_of(segmind.backend(), "lo-fi", stop) == []
    time.sleep(0.1)
    assert segmind.account().posts == 0


def test_stop_before_anything_is_sent_costs_nothing(segmind: LocalSegmind) -> None:
    unreachable = SegmindBackend(ApiKey(KEY), base_url="http://127.0.0.1:9")  # the real timeouts
    stop = threading.Event()
    updates = unreachable.generate(MusicRequest("lo-fi"), stop)
    next(updates)
    time.sleep(0.1)  # the connection was refused; it waits to try again
    stop.set()
    assert not [update for update in updates if isinstance(update, Take)]


def test_closing_the_iterator_leaves_at_once_and_ends_the_polling(segmind: LocalSegmind) -> None:
    updates = segmind.backend("v2").generate(MusicRequest("#stuck"), threading.Event())
    next(updates)
    while not segmind.state.jobs:
        time.sleep(0.01)
    closed = time.monotonic()
    updates.close()  # type: ignore[attr-defined]
    assert time.monotonic() - closed < 2
    time.sleep(0.1)
    [job] = segmind.state.jobs.values()
    polls = job.polls
    time.sleep(0.1)
    assert job.polls == polls


def test_the_settings_make_the_backend() -> None:
    environ = {"SEGMIND_API_KEY": KEY, "SEGMIND_API": "v2"}
    backend = SegmindBackend.from_settings(Settings.from_environment(environ))
    assert backend.has_key
    assert [model.name for model in backend.models()] == [MODEL]
    assert backend.knobs == {"prompt", "duration", "seed"}
