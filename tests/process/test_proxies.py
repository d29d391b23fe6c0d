from __future__ import annotations

import httpx
import pytest

from musicgen_space.cli import main
from musicgen_space.errors import InvalidSetting
from musicgen_space.process.proxies import proxy_for, proxy_variables

PROXY = "http://proxy.invalid:3128"


def test_without_proxies_nothing_is_set() -> None:
    assert proxy_variables({}, "127.0.0.1") == {}
    assert proxy_variables({"http": " ", "no": "example.org"}, "127.0.0.1") == {}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("http://proxy.invalid:3128", "http://proxy.invalid:3128"),
        ("HTTPS://me:secret@proxy.invalid/", "https://me:secret@proxy.invalid/"),
        (" proxy.invalid:3128 ", "http://proxy.invalid:3128"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("socks://127.0.0.1:1080/", "socks5h://127.0.0.1:1080/"),  # as desktops write it
        ("socks5://127.0.0.1:1080", "socks5h://127.0.0.1:1080"),
        ("SOCKS5H://127.0.0.1:1080", "socks5h://127.0.0.1:1080"),
    ],
)
def test_a_proxy_is_spelt_as_every_library_knows_it(given: str, taken: str) -> None:
    variables = proxy_variables({"http": given, "all": given}, "127.0.0.1")
    assert (variables["http_proxy"], variables["all_proxy"]) == (taken, taken)
    assert "https_proxy" not in variables


@pytest.mark.parametrize(
    "proxy",
    [
        *("socks4://me:secret@127.0.0.1:1080", "ftp://me:secret@127.0.0.1", "://127.0.0.1"),
        *("http://me:secret@", "http://me:se/cret@127.0.0.1", "http://me:secret@h:port"),
        *("me:secret@127.0.0.1:port", "http://a b", "http://127.0.0.1:0", "socks5://"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(InvalidSetting, match="HTTPS_PROXY must be") as caught:
        proxy_variables({"https": proxy}, "127.0.0.1")
    assert "cret" not in str(caught.value)


def test_the_command_line_refuses_a_proxy_that_can_not_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:1080")
    with pytest.raises(SystemExit) as caught:
        main(["models"])
    assert caught.value.code == 2
    assert "ALL_PROXY must be" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "192.168.1.5", "studio.local"])
def test_no_proxy_leads_to_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, proxy_variables({"http": PROXY, "no": "example.org"}, host))
    own = f"[{host}]" if ":" in host else host
    for name in ("localhost", "127.0.0.1", "[::1]", own, "example.org", "www.example.org"):
        assert proxy_for(f"http://{name}:7860/") is None
        assert is_direct(f"http://{name}:7860/")
    assert proxy_for("http://hub.invalid/") == PROXY
    assert not is_direct("http://hub.invalid/")


@pytest.mark.parametrize("given", ["*", "example.org, *"])
def test_all_may_be_reached_without_a_proxy(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, proxy_variables({"http": PROXY, "no": given}, "127.0.0.1"))
    assert proxy_for("http://hub.invalid/") is None
    assert is_direct("http://hub.invalid/")


@pytest.mark.parametrize("odd", ["[::1]", "[::1]:7860", "fd00::/8", "::1/128", "ö.org", "a:b", "["])
def test_an_exception_that_a_library_can_not_read_does_no_harm(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, proxy_variables({"http": PROXY, "no": f"{odd},example.org"}, "127.0.0.1"))
    assert is_direct("http://example.org/")
    assert not is_direct("http://hub.invalid/")


def test_where_a_proxy_is_told_its_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"all_proxy": "socks5h://me:secret@127.0.0.1:1080"})
    assert proxy_for("https://hub.invalid/") == "socks5h://127.0.0.1:1080"


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Make these the environment's only proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name, variables.get(name, ""))


def is_direct(url: str) -> bool:
    """Whether Gradio's HTTP library would ask the server of ``url`` itself."""
    with httpx.Client() as client:
        return client._transport_for_url(httpx.URL(url)) is client._transport
