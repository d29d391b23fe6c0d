"""The key goes into one header and nowhere else."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicgen_space.audio.files import encode
from musicgen_space.backends.segmind import SegmindBackend
from musicgen_space.backends.segmind.http import Response, exchange, open_session
from musicgen_space.errors import BackendError, InvalidSetting, UnusableKey
from musicgen_space.key import ApiKey
from musicgen_space.settings import Settings
from tests.segmind.fixtures import HURRIED, LocalSegmind, one_server, segmind, take_of
from tests.servers.segmind import KEY

__all__ = ["one_server", "segmind"]

QUIET = ["#cut", "#truncated", "#failed", "#expired", "#redirect", "#status=401", "#status=502"]
ECHOING = [
    "#echo",
    "#html",
    f"#output=https://10.0.0.1/{KEY}",
    f"#output=https://{KEY}@example.invalid/",
    f"#status-url=https://{KEY}.invalid/",
    f"#status-url=https://127.0.0.1:x{KEY}/",
    f"#type={KEY} #body=aGVsbG8=",
    f"#seed={KEY}",
]


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("prompt", QUIET + ECHOING)
def test_no_log_and_no_error_shows_the_key(segmind: LocalSegmind, api: str, prompt: str) -> None:
    with _all_logs() as logs:
        error = _error_of(segmind.backend(api), prompt)
    told = f"{error} {error!r} {''.join(traceback.format_exception(error))}" if error else ""
    assert KEY not in told
    assert KEY not in logs.getvalue()


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("prompt", QUIET)
def test_even_a_traceback_with_local_variables_does_not_show_the_key(
    segmind: LocalSegmind, api: str, prompt: str
) -> None:
    error = _error_of(segmind.backend(api), prompt)
    if error is not None:
        frames = error.__traceback__
        trace = traceback.TracebackException(type(error), error, frames, capture_locals=True)
        text = "".join(trace.format())
        assert "segmind/backend.py" in text
        assert KEY not in text


def _error_of(backend: SegmindBackend, prompt: str) -> BackendError | None:
    try:
        take_of(backend, prompt)
    except BackendError as error:
        return error
    return None


def test_a_take_and_its_file_do_not_hold_the_key(segmind: LocalSegmind) -> None:
    take = take_of(segmind.backend(), "lo-fi")
    assert KEY not in repr(take) + repr(dataclasses.asdict(take.request)) + repr(take.receipt)
    assert KEY.encode() not in encode(take, "wav") + encode(take, "mp3")


def test_nothing_that_holds_the_key_shows_it(segmind: LocalSegmind) -> None:
    settings = Settings.from_environment({"SEGMIND_API_KEY": KEY})
    key = ApiKey(KEY)
    shown = [repr(settings), repr(dataclasses.asdict(settings)), repr(key), str(key), f"{key}"]
    shown += [repr(segmind.backend()), repr(vars(segmind.backend())), repr(copy.deepcopy(key))]
    assert not any(KEY in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize(
    "text", ["SG_1\nX-Evil: 1", "SG_\x00", "SG_\x85x", "clé→", "x" * 1000, "😀"]
)
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(UnusableKey) as caught:
        ApiKey(text)
    assert text not in str(caught.value)
    with pytest.raises(InvalidSetting) as invalid:
        Settings.from_environment({"SEGMIND_API_KEY": text})
    assert text not in str(invalid.value)
    assert text not in repr(invalid.value.__cause__)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_key_is_no_key(text: str) -> None:
    with pytest.raises(UnusableKey, match="no Segmind key"):
        ApiKey(text)
    assert Settings.from_environment({"SEGMIND_API_KEY": text}).segmind_key is None


@pytest.mark.parametrize("text", ["SG_x", "sk-something else", "café", "0"])
def test_a_key_of_another_shape_is_left_to_the_server(segmind: LocalSegmind, text: str) -> None:
    with pytest.raises(BackendError, match="Invalid or missing API key"):
        take_of(segmind.backend(key=text), "lo-fi")


def test_a_netrc_file_adds_nothing(
    segmind: LocalSegmind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with open_session(ApiKey(KEY), proxies=True) as session:
        url = f"{segmind.url}/v1/meta-musicgen-medium"
        answer = exchange(session, "POST", url, wait=2, timeouts=HURRIED, json={"prompt": "lo-fi"})
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert "authorization" not in segmind.state.headers[0]


def test_the_owner_s_key_is_for_strangers_only_when_shared() -> None:
    environ = {"SEGMIND_API_KEY": KEY}
    assert Settings.from_environment(environ).segmind_key_for_visitors == ApiKey(KEY)
    public = {**environ, "SPACE_ID": "someone/space"}
    assert Settings.from_environment(public).segmind_key_for_visitors is None
    shared = {**public, "SEGMIND_SHARE_KEY": "1", "SEGMIND_TAKES_PER_VISITOR": "5"}
    settings = Settings.from_environment(shared)
    assert settings.segmind_key_for_visitors == ApiKey(KEY)
    assert settings.segmind_takes_per_visitor == 5


@pytest.mark.parametrize(
    "url",
    ["api.segmind.com", "http://api.segmind.com", "ftp://x", "https://u:p@x", "https://x?a=b"],
)
def test_a_base_url_that_is_not_safe_for_a_key_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="SEGMIND_BASE_URL"):
        Settings.from_environment({"SEGMIND_BASE_URL": url})


def test_a_base_url_may_be_http_on_this_machine() -> None:
    settings = Settings.from_environment({"SEGMIND_BASE_URL": "http://127.0.0.1:9000/"})
    assert settings.segmind_base_url == "http://127.0.0.1:9000"


@contextlib.contextmanager
def _all_logs() -> Iterator[io.StringIO]:
    """Everything that any library logs, however small."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
