"""Where only a proxy reaches the internet: what is sent, what is fetched, and what is not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from musicgen_space.backends.segmind import SegmindBackend
from musicgen_space.backends.segmind.download import download
from musicgen_space.errors import OutcomeUnknown, Unreachable, UntrustedUrl, UnusableResult
from musicgen_space.key import ApiKey
from musicgen_space.process.environment import prepare_environment
from musicgen_space.settings import Settings
from tests.segmind.fixtures import HURRIED, take_of
from tests.servers.proxies import REFUSED, Proxy, Socks, serving_proxy
from tests.servers.segmind import KEY, Segmind, running, sound_file

SOUND = sound_file(0.2, 0)
FOUND = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(SOUND) + SOUND


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with serving_proxy(Proxy()) as proxy:
        use(monkeypatch, f"http://127.0.0.1:{proxy.server_address[1]}")
        yield proxy


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Make the proxy at ``url`` the environment's."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def fetch(url: str, loopback_allowed: bool = False) -> bytes:
    answer = download(url, loopback_allowed=loopback_allowed, timeouts=HURRIED, pause=time.sleep)
    return answer.body


def test_a_sound_is_fetched_through_the_proxy_which_finds_its_server(proxy: Proxy) -> None:
    proxy.answer = FOUND
    assert fetch("http://files.invalid/take.wav", loopback_allowed=True) == SOUND
    assert proxy.asked == [b"GET http://files.invalid/take.wav"]
    proxy.answer = REFUSED
    with pytest.raises(UnusableResult, match="the proxy refused"):
        fetch("https://files.invalid/take.wav")
    assert proxy.asked[-1] == b"CONNECT files.invalid:443"


@pytest.mark.parametrize(
    "url",
    [
        *("https://10.0.0.1/x", "https://169.254.169.254/x", "https://[fd00::1]/x"),
        *("https://127.1/x", "https://2130706433/x", "https://0x7f000001/x", "https://localhost/x"),
        "http://files.invalid/x",
    ],
)
def test_a_proxy_is_not_asked_for_what_is_not_trusted(proxy: Proxy, url: str) -> None:
    with pytest.raises(UntrustedUrl):
        fetch(url)
    assert not proxy.asked


def test_a_broken_address_is_not_taken_for_a_name(proxy: Proxy) -> None:
    with pytest.raises((UntrustedUrl, UnusableResult)):
        fetch("https://[fe80::1%25no-such-card]/x")
    assert not proxy.asked


def backend(url: str = "https://api.invalid") -> SegmindBackend:
    return SegmindBackend(ApiKey(KEY), base_url=url, api="v1", timeouts=HURRIED)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://proxy.invalid:3128"])
def test_nothing_was_sent_where_the_proxy_can_not_be_reached(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, url)
    with pytest.raises(Unreachable, match="the proxy cannot be reached"):
        take_of(backend(), "lo-fi")


@pytest.mark.parametrize("url", ["socks9://127.0.0.1:9", "http://"])
def test_nothing_was_sent_where_the_proxy_is_misspelt(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, url)
    with pytest.raises(Unreachable, match="cannot be read"):
        take_of(backend(), "lo-fi")


def test_nothing_was_sent_where_the_proxy_refuses(proxy: Proxy) -> None:
    proxy.answer = REFUSED
    with pytest.raises(Unreachable, match="the proxy refused"):
        take_of(backend(), "lo-fi")


def test_a_job_that_the_proxy_lost_may_have_been_billed_and_is_sent_once(proxy: Proxy) -> None:
    proxy.answer = b""
    with pytest.raises(OutcomeUnknown, match="connection was lost"):
        take_of(backend("http://api.invalid"), "lo-fi")
    assert len([asked for asked in proxy.asked if asked.startswith(b"POST")]) == 1


@pytest.fixture
def socks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Socks]:
    """A SOCKS proxy as a desktop names it in the environment."""
    with serving_proxy(Socks()) as socks:
        use(monkeypatch, f"socks://127.0.0.1:{socks.server_address[1]}/")
        with prepare_environment(Settings()):
            yield socks


def test_a_take_is_made_through_a_socks_proxy_which_finds_the_server(socks: Socks) -> None:
    with running(Segmind()) as api:
        socks.port = int(api.rpartition(":")[2])
        assert take_of(backend("http://api.invalid"), "lo-fi").duration > 0
    assert set(socks.asked) == {"api.invalid:80"}


def test_nothing_was_sent_where_a_socks_proxy_refuses(socks: Socks) -> None:
    with pytest.raises(Unreachable, match="the proxy refused"):
        take_of(backend(), "lo-fi")
    assert set(socks.asked) == {"api.invalid:443"}


def test_nothing_was_sent_where_a_socks_proxy_can_not_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, "socks5h://127.0.0.1:9")
    with pytest.raises(Unreachable, match="the proxy cannot be reached"):
        take_of(backend(), "lo-fi")
