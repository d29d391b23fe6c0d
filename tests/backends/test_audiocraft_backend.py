"""The backend's process and protocol, with a miniature of AudioCraft's interface behind them.

The process, the pipes and the worker are real. ``tests/audiocraft/real_backend.py`` runs the
same backend with AudioCraft itself.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from musicgen_space.backends import open_backends
from musicgen_space.backends.audiocraft import AudioCraftBackend
from musicgen_space.backends.base import Loading, Progress, Update, Waiting
from musicgen_space.errors import (
    BackendError,
    InvalidCheckpoint,
    ModelUnavailable,
    OutOfMemory,
    QueueFull,
)
from musicgen_space.message import Message
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Take

MINIATURE = Path(__file__).parents[1] / "audiocraft" / "miniature"
SETTINGS = Settings(audiocraft_python=sys.executable, max_waiting=1, device="cpu")


@pytest.fixture(scope="module")
def backend() -> Iterator[AudioCraftBackend]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(MINIATURE))
        patched.setenv("SEGMIND_API_KEY", "SG_0123456789abcdef")
        backend = AudioCraftBackend(SETTINGS, sys.executable)
        yield backend
        backend.close()


def made(backend: AudioCraftBackend, prompt: str = "jazz", **wish: object) -> list[Update]:
    request = MusicRequest(prompt, **{"duration": 2, **wish})
    return list(backend.generate(request, threading.Event()))


def take_of(updates: list[Update]) -> Take:
    take = updates[-1]
    assert isinstance(take, Take)
    return take


class Listener(threading.Thread):
    """Somebody who waits for a take in a thread of their own, and may press Stop."""

    def __init__(self, backend: AudioCraftBackend, prompt: str, **wish: object) -> None:
        super().__init__()
        self.stop = threading.Event()
        self.updates: list[Update] = []
        self._making = backend.generate(MusicRequest(prompt, **wish), self.stop)
        self.start()

    def run(self) -> None:
        for update in self._making:
            self.updates.append(update)

    def wait_for(self, kind: type) -> None:
        until = time.monotonic() + 60
        while not any(isinstance(update, kind) for update in self.updates):
            assert time.monotonic() < until
            time.sleep(0.01)

    def ended(self) -> list[Update]:
        self.join(60)
        assert not self.is_alive()
        return self.updates


def test_a_take_knows_where_it_came_from(backend: AudioCraftBackend) -> None:
    take = take_of(made(backend, seed=5, duration=3))
    assert take.samples.shape == (1, 96000)
    assert take.samples.dtype == np.float32
    assert (take.sample_rate, take.stopped, take.request.seed) == (32000, False, 5)
    assert (take.backend, take.model) == ("audiocraft", "facebook/musicgen-small")
    assert take.seconds_taken > 0


def test_progress_speaks_in_seconds_of_music(backend: AudioCraftBackend) -> None:
    progress = [update for update in made(backend) if isinstance(update, Progress)]
    assert progress[-1].seconds_made == progress[-1].seconds_wanted == 2.0
    assert all(a.seconds_made < b.seconds_made for a, b in itertools.pairwise(progress))


def test_the_seed_drawn_for_minus_one_makes_the_take_again(backend: AudioCraftBackend) -> None:
    drawn = take_of(made(backend, seed=-1))
    again = take_of(made(backend, seed=drawn.request.seed))
    assert np.array_equal(drawn.samples, again.samples)


def test_a_model_is_loaded_once_and_kept(backend: AudioCraftBackend) -> None:
    first = made(backend, model="facebook/musicgen-medium")
    assert Loading(Message("Loading {model}", model="facebook/musicgen-medium")) in first
    again = made(backend, model="facebook/musicgen-medium")
    assert not any(isinstance(update, Loading) for update in again)


def test_stop_keeps_what_was_made(backend: AudioCraftBackend) -> None:
    listener = Listener(backend, "slowly", duration=30)
    listener.wait_for(Progress)
    listener.stop.set()
    take = take_of(listener.ended())
    assert take.stopped
    assert 0 < take.duration < 10
    # The miniature's codes count up from frame to frame: none is missing, none is out of place.
    frames = take.samples[0, ::640] * 1000
    assert np.allclose(np.diff(frames), 1, atol=0.01)


def test_a_take_that_does_not_stop_is_ended_and_the_next_one_works(
    backend: AudioCraftBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musicgen_space.backends.audiocraft.backend._STOP_PATIENCE", 0.3)
    for wish in ({"prompt": "stuck"}, {"prompt": "jazz", "model": "facebook/slow-to-load"}):
        listener = Listener(backend, **wish)
        time.sleep(0.2)
        listener.stop.set()
        assert not any(isinstance(update, Take) for update in listener.ended())
    assert take_of(made(backend))


def test_who_leaves_stops_the_work_and_the_model_stays(backend: AudioCraftBackend) -> None:
    updates = backend.generate(MusicRequest("slowly", duration=30), threading.Event())
    assert any(isinstance(update, Progress) for update in updates)
    updates.close()
    assert not any(isinstance(update, Loading) for update in made(backend))


def test_one_take_at_a_time_and_the_others_see_their_place(backend: AudioCraftBackend) -> None:
    first = Listener(backend, "slowly", duration=30)
    first.wait_for(Progress)
    second = Listener(backend, "jazz")
    second.wait_for(Waiting)
    with pytest.raises(QueueFull, match="queue is full: 1 waiting"):
        made(backend)
    first.stop.set()
    assert second.ended()[0] == Waiting(1)
    assert take_of(second.updates)
    first.ended()


def test_stop_while_waiting_gives_the_place_away(backend: AudioCraftBackend) -> None:
    first = Listener(backend, "slowly", duration=30)
    first.wait_for(Progress)
    second = Listener(backend, "jazz")
    second.wait_for(Waiting)
    second.stop.set()
    assert second.ended() == [Waiting(1)]
    first.stop.set()
    first.ended()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("crash", "ended by signal 11; its log says why"),
        ("killed", "most likely because the memory is full"),
        ("quit", "ended with exit code 3"),
    ],
)
def test_a_process_that_dies_is_told_and_the_next_take_starts_another(
    backend: AudioCraftBackend, prompt: str, words: str
) -> None:
    with pytest.raises(BackendError, match=words):
        made(backend, prompt)
    updates = made(backend)
    assert isinstance(updates[0], Loading)
    assert take_of(updates)


def test_a_process_that_dies_within_an_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker.py").write_text('print(\'{"answer": "prog\', end="")')
    monkeypatch.setattr("musicgen_space.backends.audiocraft.child._WORKER", tmp_path / "worker.py")
    backend = AudioCraftBackend(SETTINGS, sys.executable)
    with pytest.raises(BackendError, match="ended with exit code 0"):
        made(backend)
    backend.close()


@pytest.mark.parametrize("prompt", ["memory", "memory of the computer"])
def test_memory_that_runs_out_is_told(backend: AudioCraftBackend, prompt: str) -> None:
    with pytest.raises(OutOfMemory, match="Choose a smaller model or a shorter length"):
        made(backend, prompt)
    assert take_of(made(backend))


def test_a_failure_nobody_foresaw_is_told(backend: AudioCraftBackend) -> None:
    with pytest.raises(BackendError, match="its log says why"):
        made(backend, "bug")


def test_a_model_that_is_nowhere_is_told(backend: AudioCraftBackend, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="facebook/unheard-of needs: We couldn't connect"):
        made(backend, model="facebook/unheard-of")
    with pytest.raises(ModelUnavailable, match="There is no folder"):
        made(backend, model="/no/such/folder")
    with pytest.raises(InvalidCheckpoint, match=r"has no state_dict\.bin"):
        made(backend, model=str(tmp_path))
    (tmp_path / "state_dict.bin").touch()
    with pytest.raises(InvalidCheckpoint, match=r"can't read .*Ran out of input"):
        made(backend, model=str(tmp_path))


def test_a_folder_named_like_a_model_of_audiocraft_is_the_folder(
    backend: AudioCraftBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "melody").mkdir()
    (tmp_path / "melody" / "state_dict.bin").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    updates = made(backend, model="melody")
    assert Loading(Message("Loading {model}", model=str(tmp_path / "melody"))) in updates
    assert take_of(updates).model == "melody"


def test_keys_are_not_passed_on(backend: AudioCraftBackend) -> None:
    assert take_of(made(backend, "keys"))


def test_nothing_runs_on_after_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(MINIATURE))
    before = set(threading.enumerate())
    backend = AudioCraftBackend(SETTINGS, sys.executable)
    listener = Listener(backend, "slowly", duration=30)
    listener.wait_for(Progress)
    backend.close()
    assert not any(isinstance(update, Take) for update in listener.ended())
    assert set(threading.enumerate()) <= before
    assert made(backend) == []


def test_a_python_without_audiocraft_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    backend = AudioCraftBackend(SETTINGS, sys.executable)
    with pytest.raises(BackendError, match="can't import AudioCraft: No module named"):
        made(backend)
    backend.close()


def test_a_python_that_does_not_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    backend = AudioCraftBackend(SETTINGS, str(tmp_path / "python"))
    with pytest.raises(BackendError, match="can't be started"):
        made(backend)
    backend.close()


def test_it_is_offered_where_there_is_an_audiocraft() -> None:
    assert "audiocraft" not in open_backends(Settings())
    backends = open_backends(SETTINGS)
    assert "audiocraft" in backends
    for backend in backends.values():
        backend.close()


def test_the_model_list_has_the_published_ones_and_the_owners(tmp_path: Path) -> None:
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    (tmp_path / "theirs" / "state_dict.bin").touch()
    own = (str(tmp_path / "theirs"), str(tmp_path / "ours"), "someone/musicgen")
    backend = AudioCraftBackend(Settings(models=own), sys.executable)
    about = {choice.name: choice.about for choice in backend.models()}
    assert about["facebook/musicgen-stereo-melody"] == "stereo, 1.4 B weights, wants a GPU"
    names = [*about]
    assert names[0] == "facebook/musicgen-small"
    assert "facebook/musicgen-stereo-melody-large" in names
    assert names[-2:] == [str(tmp_path / "theirs"), "someone/musicgen"]
