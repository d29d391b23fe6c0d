"""What comes back is not trusted: its bytes, its media type, its JSON, its address."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen_space.audio.clips import decode
from musicgen_space.backends.segmind.download import download
from musicgen_space.backends.segmind.http import (
    NoResponse,
    PinnedAdapter,
    Response,
    exchange,
    open_session,
)
from musicgen_space.backends.segmind.responses import (
    check_status,
    job_links,
    job_status,
    parse_balance,
    parse_receipt,
    parse_result,
    parse_seed,
    server_message,
)
from musicgen_space.errors import (
    MusicGenSpaceError,
    ResultCutShort,
    ResultTooLarge,
    UntrustedUrl,
    UnusableResult,
)
from musicgen_space.key import ApiKey
from musicgen_space.process.addresses import Origin
from tests.segmind.fixtures import HURRIED, LocalSegmind, one_server, segmind, take_of
from tests.servers.segmind import Segmind, chord, running, sound_file

__all__ = ["one_server", "segmind"]

BOTH = pytest.mark.parametrize("api", ["v1", "v2"])


@BOTH
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_the_bytes_say_what_the_sound_is(segmind: LocalSegmind, api: str, kind: str) -> None:
    take = take_of(segmind.backend(api), f"#format={kind} #type=image/jpeg", duration=2.0)
    assert (take.sample_rate, take.samples.shape) == (32_000, (1, 64_000))
    likeness = np.corrcoef(take.samples[0], chord(2.0, 42))[0, 1]
    assert likeness > 0.99


@pytest.mark.parametrize("name", ["output", "url", "audio", "image"])
def test_json_may_hold_the_sound_or_its_address(segmind: LocalSegmind, name: str) -> None:
    take = take_of(segmind.backend(), f"#json={name}")
    assert take.duration == 1.0
    assert take.receipt is not None
    assert take.receipt.cost


def test_a_data_url_and_a_list_are_understood() -> None:
    sound = sound_file(1.0, 0)
    text = "data:audio/wav;base64," + base64.b64encode(sound).decode()
    assert parse_result(_ok({"audio": text}), None) == sound
    assert parse_result(_ok({"output": ["https://x/1", "https://x/2"]}), None) == "https://x/1"


@pytest.mark.parametrize(
    "document",
    [{}, [], 1, "text", None, {"output": []}, {"output": {}}, {"audio": "%"}, {"image": "aGk="}],
)
def test_json_without_a_sound_is_an_error(document: object) -> None:
    with pytest.raises(UnusableResult):
        parse_result(_ok(document), None)


def test_an_error_served_as_success_is_quoted() -> None:
    with pytest.raises(UnusableResult, match="out of memory"):
        parse_result(_ok({"error": "out of memory"}), None)


def test_bytes_that_are_no_sound_are_shown_with_their_type() -> None:
    with pytest.raises(UnusableResult, match=r"type is image/jpeg.* ff d8 ff e0"):
        parse_result(
            Response(200, {"content-type": "image/jpeg"}, b"\xff\xd8\xff\xe0\0\x10JFIF"), None
        )


def test_a_job_s_output_may_be_a_list(segmind: LocalSegmind) -> None:
    assert take_of(segmind.backend("v2"), "#list").duration == 1.0


@BOTH
def test_an_answer_that_drips_is_cut_off(segmind: LocalSegmind, api: str) -> None:
    started = time.monotonic()
    with pytest.raises(ResultCutShort):
        take_of(segmind.backend(api, timeouts=dataclasses.replace(HURRIED, body=0.2)), "#drip")
    assert time.monotonic() - started < 3


@BOTH
def test_chunks_are_read_to_their_end(segmind: LocalSegmind, api: str) -> None:
    assert take_of(segmind.backend(api), "#chunked").duration == 1.0
    with pytest.raises(ResultCutShort):
        take_of(segmind.backend(api), "#chunked #truncated")


@pytest.mark.parametrize("how", ["", "#chunked"])
@pytest.mark.parametrize("prompt", ["#oversized", "#gzip"])
def test_too_many_bytes_are_not_kept_however_they_come(
    segmind: LocalSegmind, prompt: str, how: str
) -> None:
    with pytest.raises(ResultTooLarge, match="64 MiB"):
        take_of(segmind.backend(), f"{prompt} {how}")


def test_a_file_is_fetched_without_the_key(segmind: LocalSegmind) -> None:
    take_of(segmind.backend("v2"), "lo-fi")
    [headers] = segmind.state.downloads
    assert not {"x-api-key", "authorization", "cookie"} & headers.keys()


def test_three_redirects_are_followed_and_a_fourth_is_not(segmind: LocalSegmind) -> None:
    take_of(segmind.backend("v2"), "#output=*/moved/3/FILE")
    with pytest.raises(UntrustedUrl, match="more than 3 times"):
        take_of(segmind.backend("v2"), "#output=*/moved/4/FILE")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::ffff:10.0.0.1]",
        "[fd00::1]",
        "[fe80::1]",
        "[ff02::1]",
    ],
)
def test_an_inner_address_is_not_fetched_from(
    segmind: LocalSegmind, host: str, scheme: str
) -> None:
    with pytest.raises(UntrustedUrl, match="private network") as caught:
        take_of(segmind.backend("v2"), f"#output={scheme}://{host}/x")
    assert caught.value.may_be_billed


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::1]", "[::ffff:127.0.0.1]"],
)
def test_this_machine_is_not_fetched_from_however_it_is_spelled(host: str) -> None:
    with pytest.raises(UntrustedUrl, match="private network"):
        _download(f"https://{host}/x", loopback_allowed=False)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "//example.org"),
        *("https://", "https://user:secret@example.org/x", "https://a\\@b/x", "https://a b/x"),
        *("https://[::1/x", "https://example.org:99999/x", "javascript:alert(1)", "x", ""),
    ],
)
def test_other_addresses_are_not_fetched_from(url: str) -> None:
    with pytest.raises(UntrustedUrl) as caught:
        _download(url, loopback_allowed=False)
    assert "secret" not in str(caught.value)


def test_a_redirect_is_checked_like_the_first_address(segmind: LocalSegmind) -> None:
    with pytest.raises(UntrustedUrl, match="private network"):
        _download(f"{segmind.url}/to?url=http://10.0.0.1/x", loopback_allowed=True)


def test_the_connection_goes_to_the_address_that_was_checked(segmind: LocalSegmind) -> None:
    """The name may point elsewhere by then; it is not looked up again."""
    port = segmind.url.rpartition(":")[2]
    with open_session(
        None, proxies=False, adapter=PinnedAdapter("music.invalid", "127.0.0.1")
    ) as session:
        url = f"http://music.invalid:{port}/nothing"
        answer = exchange(session, "GET", url, wait=2, timeouts=HURRIED)
    assert isinstance(answer, Response)
    assert answer.status == 404


def test_another_address_is_tried_where_the_first_does_not_answer(
    segmind: LocalSegmind, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(segmind.url.rpartition(":")[2])
    nowhere = ("::1", "0::1", "::0:1", "0:0::1", "0:0:0::1")  # five spellings
    addresses = [*nowhere, "127.0.0.1"]
    lookup = socket.getaddrinfo

    def found(host: str, *rest: Any, **kwargs: Any) -> Any:
        if host != "music.invalid":
            return lookup(host, *rest, **kwargs)
        return [(None, None, None, "", (address, port)) for address in addresses]

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(UnusableResult, match="HTTP 404"):
        _download(f"http://music.invalid:{port}/nothing", loopback_allowed=True)
    addresses.append("10.0.0.1")
    with pytest.raises(UntrustedUrl, match="private network"):
        _download(f"http://music.invalid:{port}/nothing", loopback_allowed=True)


@pytest.mark.parametrize(("certified", "trusted"), [("music.invalid", True), ("127.0.0.1", False)])
def test_a_certificate_must_be_the_name_s_not_the_address_s(
    tmp_path: Path, certified: str, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of whoever REQUESTS_CA_BUNDLE names are trusted."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    pem = tmp_path / "server.pem"
    kind = "DNS" if trusted else "IP"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(pem)]
    command += ["-out", str(tmp_path / "cert.pem"), "-subj", f"/CN={certified}"]
    command += ["-addext", f"subjectAltName={kind}:{certified}"]
    subprocess.run(command, check=True, capture_output=True)
    certificate = (tmp_path / "cert.pem").read_bytes()
    pem.write_bytes(pem.read_bytes() + certificate)
    with running(Segmind(), ssl_certfile=pem, ssl_keyfile=pem) as url:
        port = url.rpartition(":")[2]
        adapter = PinnedAdapter("music.invalid", "127.0.0.1")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
        with open_session(None, proxies=True, adapter=adapter) as session:
            answer = exchange(
                session, "GET", f"https://music.invalid:{port}/x", wait=2, timeouts=HURRIED
            )
    if trusted:
        assert isinstance(answer, Response)
        assert answer.status == 404
    else:
        assert isinstance(answer, NoResponse)
        assert not answer.sent
        assert "certificate" in answer.why


def test_a_job_is_not_followed_to_another_server(segmind: LocalSegmind) -> None:
    with pytest.raises(UntrustedUrl, match="key stays here"):
        take_of(segmind.backend("v2"), "#status-url=http://localhost:1/x")


FIELDS = st.sampled_from(
    [
        "status",
        "status_url",
        "response_url",
        "request_id",
        "output",
        "audio",
        "image",
        "url",
        "error",
        "error_description",
        "metrics",
        "cost",
        "credits",
    ]
)
URLS = st.builds(
    lambda start, rest: start + rest,
    st.sampled_from(["", "http://", "https://", "http://127.0.0.1:9", "http://127.0.0.1:9/", "//"]),
    st.text(max_size=30),
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda start, rest: start + rest,
        st.sampled_from([b"RIFF\0\0\0\0WAVE", b"ID3", b"fLaC", b"OggS", b"\xff\xfb\x90\0"]),
        st.binary(max_size=400),
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
        max_leaves=8,
    ).map(lambda document: json.dumps(document).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "x-cost", "x-seed-value", "x-rate-limit-reset-at-utc"]),
    st.text(max_size=20),
)


@settings(deadline=None, max_examples=60)
@given(url=URLS)
def test_no_address_makes_the_program_fail(url: str) -> None:
    """Nothing listens where these point to, and names end in nothing."""
    timeouts = dataclasses.replace(HURRIED, first_retry=0.0, longest_retry=0.0)
    with contextlib.suppress(ValueError):
        if not Origin.of(url).loopback:
            return  # asks no name server
    with pytest.raises((UntrustedUrl, UnusableResult)):
        download(url, loopback_allowed=True, timeouts=timeouts, pause=lambda _: None)


@given(body=BODIES, headers=HEADERS, status=st.integers(100, 599))
def test_no_answer_makes_the_program_fail(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    """Whatever is answered: a value, or an error of ours."""
    key = ApiKey("SG_0123456789abcdef")
    answer = Response(status, headers, body)
    readers: list[Callable[[], object]] = [
        lambda: check_status(answer, key),
        lambda: _decoded(parse_result(answer, key)),
        lambda: job_links(answer, key),
        lambda: parse_balance(answer, key),
    ]
    for read in readers:
        text = _complaint(read)
        assert text.isprintable()
        assert len(text) < 2000
    assert server_message(answer, key).isprintable()
    assert job_status(answer) is not None
    assert parse_receipt(answer, key) is not None
    assert 0 <= parse_seed(answer, 5) <= 9999


@given(
    kind=st.sampled_from(["wav", "mp3", "flac", "ogg"]),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=20),
    end=st.integers(0, 4000),
)
def test_a_damaged_file_is_sound_or_an_error(
    kind: str, changes: list[tuple[int, int]], end: int
) -> None:
    data = bytearray(SOUNDS[kind])
    for place, value in changes:
        data[place % len(data)] = value
    with contextlib.suppress(MusicGenSpaceError):
        _decoded(bytes(data[:end] if end % 2 else data))


SOUNDS = {kind: sound_file(0.2, 0, kind) for kind in ("wav", "mp3", "flac", "ogg")}


def _complaint(read: Callable[[], object]) -> str:
    """What ``read`` raises as an error of ours, as text; other errors pass through."""
    try:
        read()
    except MusicGenSpaceError as error:
        return str(error)
    return ""


def _decoded(result: bytes | str) -> None:
    if isinstance(result, bytes):
        samples, _ = decode(result)
        assert samples.ndim == 2
        assert samples.size
        assert np.abs(samples).max() <= 1


def _ok(document: object) -> Response:
    return Response(200, {"content-type": "application/json"}, json.dumps(document).encode())


def _download(url: str, *, loopback_allowed: bool) -> Response:
    return download(url, loopback_allowed=loopback_allowed, timeouts=HURRIED, pause=time.sleep)
