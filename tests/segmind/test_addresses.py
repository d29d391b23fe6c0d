"""Which addresses count as the public internet, and as this machine."""

from __future__ import annotations

import pytest

from musicgen_space.process.addresses import Origin, is_loopback, is_public


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:2800:220:1::1", "::ffff:1.1.1.1", "64:ff9b::101:101"],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",  # carriers' NAT
        "127.0.0.1",
        "169.254.169.254",  # where clouds keep their secrets
        "172.31.255.255",
        "192.0.2.1",  # documentation
        "192.168.0.1",
        "198.18.0.1",  # benchmarks
        "224.0.0.251",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
        "64:ff9b:1::1",
        "100::1",
        "2001:db8::1",
        "2001::1",  # Teredo
        "2002:a00:1::1",  # 6to4 of 10.0.0.1
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
)
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.org", "127.0.0.1.example.org", "0.0.0.0", ""])
def test_hosts_that_only_look_like_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "other",
    ["https://API.segmind.com/v1", "https://api.segmind.com:443", "https://api.segmind.com."],
)
def test_one_origin_in_several_spellings(other: str) -> None:
    assert Origin.of(other) == Origin.of("https://api.segmind.com")


@pytest.mark.parametrize(
    "other",
    ["http://api.segmind.com", "https://api.segmind.com:8443", "https://api.segmind.com.evil.org"],
)
def test_other_origins(other: str) -> None:
    assert Origin.of(other) != Origin.of("https://api.segmind.com")
