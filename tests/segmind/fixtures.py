"""Fixtures for tests of the hosted backend: the local server and a hurried client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from musicgen_space.backends.base import Update
from musicgen_space.backends.segmind import SegmindBackend
from musicgen_space.backends.segmind.http import Timeouts
from musicgen_space.key import ApiKey
from musicgen_space.request import MusicRequest
from musicgen_space.take import Take
from tests.servers.segmind import KEY, Account, Segmind, running

# The real timeouts with the waiting taken out.
HURRIED = Timeouts(
    connect=2,
    job=5,
    lookup=2,
    body=2,
    poll_every=0.01,
    poll_for=5,
    total=20,
    first_retry=0.01,
    longest_retry=0.02,
)


@dataclass(frozen=True)
class LocalSegmind:
    """The local server: where it is and what it remembers."""

    url: str
    state: Segmind

    def backend(
        self, api: str = "v1", key: str = KEY, timeouts: Timeouts = HURRIED
    ) -> SegmindBackend:
        """A client of this server."""
        return SegmindBackend(ApiKey(key), base_url=self.url, api=api, timeouts=timeouts)

    def account(self, key: str = KEY) -> Account:
        """The money of a key."""
        return self.state.accounts[key]


@pytest.fixture(scope="session")
def one_server() -> Iterator[LocalSegmind]:
    """The server that all tests of a run share."""
    state = Segmind()
    with running(state) as url:
        yield LocalSegmind(url, state)


@pytest.fixture
def segmind(one_server: LocalSegmind) -> LocalSegmind:
    """A server that remembers nothing of earlier tests."""
    one_server.state.forget()
    return one_server


def updates_of(
    backend: SegmindBackend, prompt: str, stop: threading.Event | None = None, **fields: Any
) -> list[Update]:
    """All updates of one generation; a second of music unless told otherwise."""
    request = MusicRequest(prompt, **{"duration": 1.0, **fields})
    return list(backend.generate(request, stop or threading.Event()))


def take_of(backend: SegmindBackend, prompt: str, **fields: Any) -> Take:
    """The take of one generation."""
    last = updates_of(backend, prompt, **fields)[-1]
    assert isinstance(last, Take)
    return last
