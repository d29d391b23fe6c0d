"""One HTTP exchange at a time: the only file that calls ``requests``.

Whatever goes wrong on the wire becomes a value here, never a foreign exception: a
``requests`` exception carries the request, and the request carries the key. Nothing is
repeated and no redirect is followed; who may repeat what is the callers' decision.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from musicgen_space import __version__
from musicgen_space.key import ApiKey

__all__ = [
    "CUT",
    "MAX_BYTES",
    "TOO_LARGE",
    "BodyError",
    "NoResponse",
    "PinnedAdapter",
    "Response",
    "Timeouts",
    "exchange",
    "has_proxy",
    "open_session",
]

MAX_BYTES = 64 * 2**20  # 30 s of 48 kHz stereo float WAV have 12 MB
_MAX_ERROR_BYTES = 64 * 2**10
_PIECE = 64 * 2**10

BodyError = str  # why a body is not whole: CUT or TOO_LARGE; "" when it is
CUT: BodyError = "cut short"
TOO_LARGE: BodyError = "too large"

_UNCONNECTED = (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts and retry delays in seconds."""

    connect: float = 5
    job: float = 300  # until the answer to a POST begins; v1 blocks while music is made
    lookup: float = 30  # until the answer to a GET begins
    body: float = 120  # until all of an answer is there
    poll_every: float = 1
    poll_for: float = 600
    total: float = 1200  # for a take, whatever happens
    first_retry: float = 0.5
    longest_retry: float = 8

    def retries(self, count: int) -> Iterator[float]:
        """Pauses before each of ``count`` retries: doubling, with jitter against crowds."""
        for exponent in range(count):
            longest = min(self.first_retry * 2**exponent, self.longest_retry)
            yield random.uniform(longest / 2, longest)


@dataclass(frozen=True, slots=True)
class Response:
    """A server's response; header names in lower case, ``body_error`` "" for a whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    body_error: BodyError = ""

    @property
    def ok(self) -> bool:
        """Whether the server reports success."""
        return 200 <= self.status < 300

    @property
    def is_transient(self) -> bool:
        """Whether a GET is worth retrying."""
        return self.body_error == CUT or self.status == 429 or self.status >= 500


@dataclass(frozen=True, slots=True)
class NoResponse:
    """No response. ``sent`` False is certain: the server never saw the request."""

    sent: bool
    why: str


class _KeyHeader(AuthBase):
    """Adds the key at the last moment; being there, it also keeps ``.netrc`` out."""

    def __init__(self, key: ApiKey | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["x-api-key"] = self._key.reveal()
        return request


class PinnedAdapter(HTTPAdapter):
    """Connects to one address, whatever the name says by then; certificates are the name's."""

    def __init__(self, host: str, address: str) -> None:
        self._host, self._address = host, address
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> urllib3.HTTPConnectionPool:
        """The pool for the checked address instead of the one that the URL names."""
        target, tls = self.build_connection_pool_key_attributes(
            request, True if verify is None else verify, cert
        )
        options: dict[str, Any] = dict(tls)
        if target["scheme"] == "https":
            options["server_hostname"] = self._host
        pool: urllib3.HTTPConnectionPool = self.poolmanager.connection_from_host(
            **{**target, "host": self._address}, pool_kwargs=options
        )
        return pool


def open_session(
    key: ApiKey | None, *, proxies: bool, adapter: HTTPAdapter | None = None
) -> requests.Session:
    """A session that sends ``key`` and nothing else of the user's.

    ``proxies`` says whether the environment's proxies and certificates (REQUESTS_CA_BUNDLE,
    CURL_CA_BUNDLE) are used. An adapter decides where connections go, for when that must not
    be left to the name server.
    """
    session = requests.Session()
    session.trust_env = proxies
    session.auth = _KeyHeader(key)
    # Plain bytes: a compressed answer could be much larger than it looks.
    session.headers.update(
        {"User-Agent": f"MusicGenSpace/{__version__}", "Accept-Encoding": "identity"}
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter or HTTPAdapter(max_retries=0))
    return session


def has_proxy(url: str) -> bool:
    """Whether the environment has a proxy for ``url``."""
    proxies = requests.utils.get_environ_proxies(url)
    return requests.utils.select_proxy(url, proxies) is not None


def exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    wait: float,
    timeouts: Timeouts,
    headers: Mapping[str, str] | None = None,
    json: Mapping[str, Any] | None = None,
) -> Response | NoResponse:
    """Send one request, once, and read its whole answer.

    ``wait`` is how many seconds the answer may take to begin.
    """
    try:
        with session.request(
            method,
            url,
            json=json,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=(timeouts.connect, wait),
        ) as response:
            body, body_error = _read(response, timeouts.body)
            names = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status_code, names, body, body_error)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return _no_response(error)


def _read(response: requests.Response, seconds: float) -> tuple[bytes, BodyError]:
    """The body, bounded in size and time. What a broken error page lacks does not matter."""
    limit = MAX_BYTES if response.ok else _MAX_ERROR_BYTES
    deadline = time.monotonic() + seconds
    body = bytearray()
    try:
        # read1, because read would wait for a full piece, however slowly the bytes drip.
        while piece := response.raw.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > limit:
                return bytes(body[:limit]), TOO_LARGE
            if time.monotonic() > deadline:
                return bytes(body), CUT
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        return bytes(body), CUT
    return bytes(body), ""


def _no_response(error: Exception) -> NoResponse:
    """Why there is no answer, in words of our own: the error's text may quote anything."""
    if isinstance(error, requests.Timeout) and not isinstance(error, requests.ConnectTimeout):
        return NoResponse(sent=True, why="the answer did not come in time")
    if isinstance(error, requests.ConnectTimeout):
        return NoResponse(sent=False, why="the server cannot be reached in time")
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, urllib3.exceptions.ProxyError):
        # With other causes it may have been sent: urllib3 also blames the proxy for a
        # connection that was lost afterwards.
        cause = reason.original_error
        if isinstance(cause, _UNCONNECTED):
            return NoResponse(sent=False, why="the proxy cannot be reached")
        if "Tunnel connection failed" in str(cause):
            return NoResponse(sent=False, why="the proxy refused to connect")
    kind = type(getattr(reason, "__context__", None))
    if kind.__module__ == "socks":  # which urllib3 imports where there is a SOCKS proxy
        unreached = kind.__name__ == "ProxyConnectionError"
        why = "cannot be reached" if unreached else "refused to connect"
        return NoResponse(sent=False, why=f"the proxy {why}")
    if isinstance(reason, urllib3.exceptions.NameResolutionError):
        return NoResponse(sent=False, why="its name cannot be found: check the network")
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return NoResponse(sent=False, why="the connection was refused")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return NoResponse(sent=False, why="its certificate is not to be trusted")
    misspelt = isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema)
    if misspelt or "SOCKS version" in str(error):
        return NoResponse(sent=False, why="its address, or a proxy's, cannot be read")
    return NoResponse(sent=True, why="the connection was lost")
