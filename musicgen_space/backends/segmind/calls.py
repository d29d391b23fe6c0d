"""Calls to the API with the key: who may repeat what.

A POST costs money and is sent again only when it is certain that no job came of it.
A GET is free and is sent again with growing pauses. The key goes to the API's own origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from urllib.parse import urljoin

from musicgen_space.backends.segmind.http import (
    NoResponse,
    Response,
    Timeouts,
    exchange,
    open_session,
)
from musicgen_space.backends.segmind.responses import check_status, reset_time
from musicgen_space.backends.segmind.worker import Worker
from musicgen_space.errors import OutcomeUnknown, Unreachable, UntrustedUrl
from musicgen_space.key import ApiKey
from musicgen_space.process.addresses import Origin

__all__ = ["Calls"]

_POST_RETRIES = 2
_LONGEST_RESET = 60.0  # seconds to wait for a rate limit to reset


class Calls:
    """The calls of one take, over connections of their own; use it with ``with``.

    ``pause`` sleeps for so many seconds, or raises to give up.
    """

    def __init__(
        self, base_url: str, key: ApiKey, timeouts: Timeouts, pause: Callable[[float], None]
    ) -> None:
        self._base_url, self._key, self._timeouts, self._pause = base_url, key, timeouts, pause
        self._origin = Origin.of(base_url)
        # A proxy is for the internet; the key of a server on this machine stays here.
        self._session = open_session(key, proxies=not self._origin.loopback)

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()

    def post(
        self, path: str, body: Mapping[str, Any], worker: Worker, not_taken: Set[int] = frozenset()
    ) -> Response:
        """Send a job, once, and give its answer of status 200.

        ``not_taken`` are the statuses that say that no job was taken, so that it may be
        sent again. Raises ``OutcomeUnknown`` when there is no telling, ``Unreachable`` when
        nothing was sent, and the status table's errors.
        """
        for delay in (*self._timeouts.retries(_POST_RETRIES), None):
            worker.mark_sent()
            outcome = exchange(
                self._session,
                "POST",
                self._base_url + path,
                wait=self._timeouts.job,
                timeouts=self._timeouts,
                json=body,
            )
            if isinstance(outcome, NoResponse) and outcome.sent:
                raise OutcomeUnknown(
                    f"The job was sent, then {outcome.why}. It may have been billed, so it is "
                    "not sent again by itself: look at the balance first."
                )
            if isinstance(outcome, Response) and outcome.status not in not_taken:
                check_status(outcome, self._key)
                return outcome
            worker.mark_unsent()
            if delay is not None:
                self._pause(delay)
        return self._raise_last(outcome)

    def get(self, url: str, retries: int) -> Response:
        """Ask for ``url``, relative or absolute, until there is a lasting answer.

        The status is the caller's to judge. Raises ``Unreachable``, ``RateLimited``,
        ``ServerFailed`` after ``retries``, and ``UntrustedUrl`` for another server's URL.
        """
        target = self._own_url(url)
        for delay in (*self._timeouts.retries(retries), None):
            outcome = exchange(
                self._session, "GET", target, wait=self._timeouts.lookup, timeouts=self._timeouts
            )
            if isinstance(outcome, Response) and not outcome.is_transient:
                return outcome
            if delay is not None:
                self._pause(max(delay, _until_reset(outcome)))
        return self._raise_last(outcome)

    def _own_url(self, url: str) -> str:
        """``url`` if it is the API's own; the key is not for other servers."""
        try:
            target = urljoin(f"{self._base_url}/", url)
            trusted = Origin.of(target) == self._origin
        except ValueError:
            trusted = False
        if not trusted:
            raise UntrustedUrl("The job is to be followed at another server; the key stays here.")
        return target

    def _raise_last(self, outcome: Response | NoResponse) -> Response:
        """Raise what the last of several tries stands for."""
        if isinstance(outcome, NoResponse):
            raise Unreachable(f"Segmind cannot be reached: {outcome.why}.")
        if outcome.status > 500 and outcome.status != 503:
            raise Unreachable(f"Segmind cannot be reached: its gateway says {outcome.status}.")
        check_status(outcome, self._key)
        raise Unreachable("Segmind cannot be reached: the connection was lost again and again.")


def _until_reset(outcome: Response | NoResponse) -> float:
    """Seconds until a rate limit resets, as far as it is worth waiting for."""
    if isinstance(outcome, NoResponse) or outcome.status != 429:
        return 0.0
    moment = reset_time(outcome)
    seconds = (moment - datetime.now(UTC)).total_seconds() if moment else 0.0
    return min(max(seconds, 0.0), _LONGEST_RESET)
