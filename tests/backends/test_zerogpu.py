"""Takes on ZeroGPU: through its own client and forked processes, over a device API on loopback."""

from __future__ import annotations

import contextvars
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio.context import LocalContext
from starlette.datastructures import Headers

from musicgen_space import errors
from musicgen_space.backends import open_backends
from musicgen_space.backends.base import Backend, Chunk, Loading, Progress, Update
from musicgen_space.backends.zerogpu import placing
from musicgen_space.backends.zerogpu.backend import ZeroGpuBackend
from musicgen_space.clip import Clip
from musicgen_space.engine import generate
from musicgen_space.engine.generate import MusicGen
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take
from tests.conftest import a_second_of
from tests.servers.zerogpu import TOKEN, Device, device_api, gpu_without_card

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="ZeroGPU's client is for Linux"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:ZeroGPU. Cannot get Gradio app Queue:UserWarning"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
]
LONG = MusicRequest("jazz", duration=300, seed=1)
SHORT = MusicRequest("jazz", duration=1, seed=1)


@pytest.fixture
def device() -> Iterator[Device]:
    with device_api() as device:
        yield device


@pytest.fixture
def backend(tiny: MusicGen, device: Device) -> Iterator[ZeroGpuBackend]:
    backend = ZeroGpuBackend({"tiny": tiny}, gpu_without_card(lambda: device.url))
    yield backend
    backend.close()
    for idle in multiprocessing.active_children():
        idle.kill()
        idle.join()


def made(backend: Backend, request: MusicRequest, token: str | None = TOKEN) -> list[Update]:
    """What a visitor gets who is signed in, or with ``token`` None one of whom nothing is known."""

    def visit() -> list[Update]:
        headers = {} if token is None else {"x-ip-token": token, "x-gradio-user": "app"}
        LocalContext.request.set(gr.Request(headers=Headers(headers)))
        return list(backend.generate(request, threading.Event()))

    return contextvars.copy_context().run(visit)


def until(came: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not came():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_take_is_made_in_another_process_as_it_is_made_here(
    backend: ZeroGpuBackend, tiny: MusicGen, device: Device
) -> None:
    updates = made(backend, SHORT)
    take = updates[-1]
    assert isinstance(updates[0], Loading)
    assert isinstance(take, Take)
    chunks = [update.samples for update in updates if isinstance(update, Chunk)]
    assert np.array_equal(np.concatenate(chunks, axis=1), take.samples)
    assert np.array_equal(take.samples, a_second_of(tiny)[0])
    assert (take.backend, take.model, take.stopped, take.request) == (
        "zerogpu",
        "tiny",
        False,
        SHORT,
    )
    assert [each["allowToken"] for each in device.released] == ["lent"]


def test_clips_and_variations_reach_the_other_process(
    backend: ZeroGpuBackend, tiny: MusicGen
) -> None:
    clip = Clip(np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype(np.float32), 32000)
    request = MusicRequest("jazz", duration=1, seed=3, continue_from=clip, variations=2)
    takes = [update for update in made(backend, request) if isinstance(update, Take)]
    here = [piece.samples for piece in generate.generate(tiny, request)]
    assert np.array_equal([take.samples for take in takes], np.concatenate(here, axis=-1))
    assert [take.request.seed for take in takes] == [3, 4]


def test_progress_comes_with_each_step_so_that_stop_is_seen_there(backend: ZeroGpuBackend) -> None:
    progress = [each for each in made(backend, SHORT) if isinstance(each, Progress)]
    assert len(progress) >= 50  # frames a second
    assert progress[-1].seconds_made == 1.0


def test_stop_gives_the_gpu_back_and_keeps_what_was_made(
    backend: ZeroGpuBackend, device: Device
) -> None:
    stop = threading.Event()
    updates = []
    for update in backend.generate(LONG, stop):
        updates.append(update)
        if isinstance(update, Chunk):
            stop.set()
    take = updates[-1]
    assert isinstance(take, Take)
    assert take.stopped
    assert 1 <= take.duration < 300
    until(lambda: device.released)
    assert "fail" not in device.released[0] or device.released[0]["fail"] == "false"


def test_a_listener_who_leaves_gives_the_gpu_back(backend: ZeroGpuBackend, device: Device) -> None:
    updates = backend.generate(LONG, threading.Event())
    assert any(isinstance(update, Progress) for update in updates)
    updates.close()
    until(lambda: device.released)


def test_stop_need_not_wait_for_a_gpu(backend: ZeroGpuBackend, device: Device) -> None:
    device.answer = "queued"
    device.going.clear()
    stop = threading.Event()
    updates = backend.generate(LONG, stop)
    assert isinstance(next(updates), Loading)
    threading.Timer(0.05, stop.set).start()
    assert list(updates) == []
    device.going.set()
    until(lambda: device.released)


def test_whoever_waits_is_served_when_a_gpu_is_free(
    backend: ZeroGpuBackend, device: Device
) -> None:
    device.answer = "queued"
    assert isinstance(made(backend, SHORT)[-1], Take)


@pytest.mark.parametrize(
    ("answer", "token", "kind", "words"),
    [
        ("quota", TOKEN, errors.GpuQuotaSpent, r"needs \d+ s .*20 s are left; in 3:01 h.*Sign in"),
        ("quota", None, errors.GpuQuotaSpent, "was not told whose.*sign in.*musicgen-nano"),
        ("runs", TOKEN, errors.GpuQuotaSpent, "as many takes.*Sign in"),
        ("pending", TOKEN, errors.GpuQuotaSpent, "wait for them, or choose musicgen-nano"),
        ("too long", TOKEN, errors.GpuTimeTooLong, r"needs \d+ s.*at once.*shorter length"),
        ("no turn", TOKEN, errors.GpuBusy, "in a minute, or choose musicgen-nano"),
        ("no turn", None, errors.GpuBusy, "in a minute, or choose musicgen-nano"),
        ("no gpu", TOKEN, errors.GpuBusy, "in a minute, or choose musicgen-nano"),
        ("expired", TOKEN, errors.GpuFailed, "reload the page"),
        ("broken", TOKEN, errors.GpuFailed, "Try again, or choose musicgen-nano"),
        ("cut short", TOKEN, errors.GpuFailed, "Try again, or choose musicgen-nano"),
        ("taken back", TOKEN, errors.GpuTakenBack, "took longer.*shorter length or musicgen-nano"),
    ],
)
def test_a_refusal_says_what_to_do(
    answer: str,
    token: str | None,
    kind: type[errors.GpuRefused],
    words: str,
    backend: ZeroGpuBackend,
    device: Device,
) -> None:
    device.answer = answer
    with pytest.raises(kind, match=words):
        made(backend, SHORT, token)
    device.answer = "lent"
    assert isinstance(made(backend, SHORT, token)[-1], Take)


def test_after_a_take_that_overran_the_next_asks_for_more_time(
    backend: ZeroGpuBackend, device: Device
) -> None:
    device.answer = "taken back"
    for _ in range(2):
        with pytest.raises(errors.GpuTakenBack):
            made(backend, SHORT)
    first, second = (int(each["durationSeconds"]) for each in device.asked)
    assert second > first


def test_a_device_api_that_is_not_there_is_told(backend: ZeroGpuBackend, device: Device) -> None:
    device.url = "http://127.0.0.1:9"
    with pytest.raises(errors.GpuFailed, match="Try again"):
        made(backend, SHORT)


def test_an_error_of_ours_is_itself_on_its_way_from_the_other_process(
    backend: ZeroGpuBackend, device: Device
) -> None:
    tune = Clip(np.full((1, 32000), 0.1, np.float32), 32000, "tune")
    with pytest.raises(errors.InvalidRequest, match="melody needs a melody checkpoint"):
        made(backend, MusicRequest("jazz", melody=tune, seed=1))
    assert [each["fail"] for each in device.released] == ["false"]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RuntimeError("CUDA error: out of memory"), errors.OutOfMemory),
        (RuntimeError("CUDA error: device-side assert triggered"), errors.BackendError),
    ],
)
def test_a_failure_there_is_told_here_and_its_process_not_used_again(
    failure: BaseException,
    kind: type[errors.BackendError],
    backend: ZeroGpuBackend,
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> Iterator[Any]:
        raise failure
        yield

    monkeypatch.setattr(generate, "generate", broken)
    with pytest.raises(kind):
        made(backend, SHORT)
    assert [each["fail"] for each in device.released] == ["true"]


def test_a_panic_there_is_told_here(
    backend: ZeroGpuBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panics(*_: object, **__: object) -> Iterator[Any]:
        raise BaseException("as libraries in Rust raise it")
        yield

    monkeypatch.setattr(generate, "generate", panics)
    with pytest.raises(errors.BackendError, match="its log says why"):
        made(backend, SHORT)


def test_the_visitor_pays_whose_request_is_in_the_context(
    backend: ZeroGpuBackend, device: Device
) -> None:
    made(backend, SHORT)
    made(backend, SHORT, token=None)
    assert device.tokens == [TOKEN, None]


def test_longer_takes_ask_for_more_time(backend: ZeroGpuBackend, device: Device) -> None:
    device.answer = "quota"
    for duration in (1, 100, 300):
        with pytest.raises(errors.GpuQuotaSpent):
            made(backend, MusicRequest("jazz", duration=duration))
    asked = [int(each["durationSeconds"]) for each in device.asked]
    assert asked == sorted({*asked})


def test_the_models_on_offer_are_those_that_are_placed(backend: ZeroGpuBackend) -> None:
    assert [choice.name for choice in backend.models()] == ["tiny"]
    with pytest.raises(errors.InvalidRequest, match="must be one of"):
        made(backend, MusicRequest("jazz", model="facebook/musicgen-large"))


def test_what_the_owner_names_is_for_the_gpu_but_not_the_embedded_model() -> None:
    settings = Settings(model="auto", models=("facebook/musicgen-large", "musicgen-nano", "./mine"))
    small, *others = placing.wanted(settings)
    assert small == "facebook/musicgen-small"
    assert others == ["facebook/musicgen-large", "./mine"]


def test_on_zerogpu_it_comes_first_and_the_embedded_model_is_made_on_the_cpu(
    tiny: MusicGen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "place", lambda _: {"tiny": tiny})
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # as torch says there
    backends = open_backends(Settings(zero_gpu=True, model="auto", models=("./mine",)))
    try:
        assert [*backends] == ["zerogpu", "local", "segmind"]
        assert [choice.name for choice in backends["local"].models()] == ["musicgen-nano"]
        assert isinstance(made(backends["local"], SHORT)[-1], Take)
    finally:
        for each in backends.values():
            each.close()


def test_where_no_model_can_be_placed_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "place", lambda _: {})
    backends = open_backends(Settings(zero_gpu=True, model="auto"))
    for each in backends.values():
        each.close()
    assert [*backends] == ["local", "segmind"]


def test_a_machine_that_only_claims_to_have_zerogpu_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)
    with pytest.raises(errors.InvalidSetting, match="SPACES_ZERO_GPU must be unset"):
        open_backends(Settings(zero_gpu=True, model="auto"))


def test_elsewhere_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from musicgen_space.settings import Settings;"
        "from musicgen_space.backends import open_backends;"
        "backends = open_backends(Settings.from_environment());"
        "assert [*backends] == ['local', 'segmind'], backends;"
        "assert not {'spaces', 'musicgen_space.backends.zerogpu'} & set(sys.modules)"
    )
    without = {name: value for name, value in os.environ.items() if name != "SPACES_ZERO_GPU"}
    done = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(("value", "on"), [("true", True), ("1", True), ("", False), ("0", False)])
def test_the_hub_says_whether_a_space_has_zerogpu(value: str, on: bool) -> None:
    assert Settings.from_environment({"SPACES_ZERO_GPU": value}).zero_gpu is on
