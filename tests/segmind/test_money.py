"""A job is never sent twice unless it is certain that the first came to nothing.

The local server counts what it bills; that is what these tests look at.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from musicgen_space import errors
from musicgen_space.backends.segmind import SegmindBackend
from musicgen_space.backends.segmind.http import Timeouts
from musicgen_space.key import ApiKey
from musicgen_space.request import MusicRequest
from tests.segmind.fixtures import HURRIED, LocalSegmind, one_server, segmind, take_of
from tests.servers.segmind import KEY, Segmind, running

__all__ = ["one_server", "segmind"]

BOTH = pytest.mark.parametrize("api", ["v1", "v2"])


@BOTH
@pytest.mark.parametrize(
    ("prompt", "billed"),
    [("#cut", 0), ("#cut-billed", 1), ("#billed-status=502", 1), ("#billed-status=504", 1)],
)
def test_a_job_whose_fate_is_unknown_is_sent_once(
    segmind: LocalSegmind, api: str, prompt: str, billed: int
) -> None:
    with pytest.raises(errors.OutcomeUnknown, match="may have been billed") as caught:
        take_of(segmind.backend(api), prompt)
    assert caught.value.may_be_billed
    assert (segmind.account().posts, segmind.account().billed) == (1, billed)


@BOTH
def test_a_job_that_times_out_is_sent_once(segmind: LocalSegmind, api: str) -> None:
    timeouts = dataclasses.replace(HURRIED, job=0.2)
    with pytest.raises(errors.OutcomeUnknown, match="did not come in time"):
        take_of(segmind.backend(api, timeouts=timeouts), "#slow=1")
    assert (segmind.account().posts, segmind.account().billed) == (1, 1)


def test_a_take_that_never_ends_is_given_up_in_the_end(segmind: LocalSegmind) -> None:
    with pytest.raises(errors.OutcomeUnknown):
        take_of(segmind.backend(timeouts=dataclasses.replace(HURRIED, total=0.2)), "#slow=1")
    with pytest.raises(errors.OutcomeUnknown, match="not done after"):
        take_of(
            segmind.backend("v2", timeouts=dataclasses.replace(HURRIED, poll_for=0.2)), "#stuck"
        )
    assert segmind.account().posts == 2


@pytest.mark.parametrize("status", [500, 503, 502, 504, 429])
def test_v1_sends_a_job_once_whatever_the_answer(segmind: LocalSegmind, status: int) -> None:
    with pytest.raises(errors.SegmindError):
        take_of(segmind.backend(), f"#status-once={status}")
    assert segmind.account().posts == 1


@pytest.mark.parametrize("status", [500, 503])
def test_v2_sends_a_job_again_that_the_server_did_not_take(
    segmind: LocalSegmind, status: int
) -> None:
    take_of(segmind.backend("v2"), f"#status-once={status}")
    assert (segmind.account().posts, segmind.account().billed) == (2, 1)


def test_v2_gives_up_after_three_refusals(segmind: LocalSegmind) -> None:
    with pytest.raises(errors.ServerFailed):
        take_of(segmind.backend("v2"), "#status=503")
    assert (segmind.account().posts, segmind.account().billed) == (3, 0)


@BOTH
def test_a_redirect_does_not_send_the_job_again(segmind: LocalSegmind, api: str) -> None:
    with pytest.raises(errors.UnexpectedStatus):
        take_of(segmind.backend(api), "#redirect")
    assert segmind.account().posts == 1


def test_polls_that_fail_in_passing_do_not_lose_a_paid_job(segmind: LocalSegmind) -> None:
    take_of(segmind.backend("v2"), "#flaky")
    [job] = segmind.state.jobs.values()
    assert job.polls >= 4
    assert segmind.account().billed == 1


@pytest.mark.parametrize(
    "prompt", ["#truncated", "#oversized", "#empty", "#html", "#body=aGVsbG8="]
)
@BOTH
def test_an_unusable_result_is_paid_for_once_and_said_to_be(
    segmind: LocalSegmind, api: str, prompt: str
) -> None:
    with pytest.raises(errors.UnusableResult) as caught:
        take_of(segmind.backend(api), prompt)
    assert caught.value.may_be_billed
    assert segmind.account().billed == 1


def test_a_connection_that_fails_before_sending_is_tried_again() -> None:
    """Nobody listens at first; the server comes up while the client waits to retry."""
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    timeouts = dataclasses.replace(HURRIED, first_retry=0.5, longest_retry=0.5)
    backend = SegmindBackend(ApiKey(KEY), base_url=f"http://127.0.0.1:{port}", timeouts=timeouts)
    state = Segmind()
    updates = backend.generate(MusicRequest("lo-fi", duration=1.0), threading.Event())
    next(updates)
    time.sleep(0.1)
    with running(state, port):
        list(updates)
    assert (state.accounts[KEY].posts, state.accounts[KEY].billed) == (1, 1)


def test_a_server_that_is_not_there_is_said_to_have_got_nothing() -> None:
    backend = SegmindBackend(ApiKey(KEY), base_url="http://127.0.0.1:9", timeouts=HURRIED)
    with pytest.raises(errors.Unreachable, match="refused") as caught:
        take_of(backend, "lo-fi")
    assert not caught.value.may_be_billed
    with pytest.raises(errors.Unreachable):
        backend.balance()


def test_a_killed_program_does_not_send_its_job_again_when_it_restarts(
    segmind: LocalSegmind,
) -> None:
    first = _program(segmind, "list(backend.generate(MusicRequest('#slow=30'), Event()))")
    deadline = time.monotonic() + 20
    while segmind.account().billed == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    assert first.wait(5) == -signal.SIGKILL
    second = _program(segmind, "backend.models(), backend.balance()")
    assert second.wait(20) == 0
    assert (segmind.account().posts, segmind.account().billed) == (1, 1)


def _program(segmind: LocalSegmind, action: str) -> subprocess.Popen[bytes]:
    """Another Python process that has a backend and does ``action`` with it."""
    lines = [
        "from threading import Event",
        "from musicgen_space.backends.segmind import SegmindBackend",
        "from musicgen_space.request import MusicRequest",
        "from musicgen_space.settings import Settings",
        "backend = SegmindBackend.from_settings(Settings.from_environment())",
        action,
    ]
    environ = {"SEGMIND_API_KEY": KEY, "SEGMIND_BASE_URL": segmind.url}
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environ},
    )


def test_pauses_between_tries_grow_and_differ() -> None:
    timeouts = Timeouts(first_retry=1, longest_retry=8)
    runs = [list(timeouts.retries(6)) for _ in range(20)]
    for run in runs:
        longest = [1, 2, 4, 8, 8, 8]
        assert all(top / 2 <= pause <= top for pause, top in zip(run, longest, strict=True))
    assert len({run[0] for run in runs}) > 1
