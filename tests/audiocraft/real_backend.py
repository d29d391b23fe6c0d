"""The backend with AudioCraft itself: ``make parity-audiocraft`` runs this, ``make test`` does not.

It needs the environment of ``install.py`` and the folder of ``reference.py``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from musicgen_space.backends.audiocraft import AudioCraftBackend
from musicgen_space.backends.base import Loading, Progress
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from tests.backends.test_audiocraft_backend import made, take_of

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / ".cache" / "audiocraft"
PYTHON = ROOT / ".venv-audiocraft" / "bin" / "python"
FACTS = json.loads((REFERENCE / "text" / "reference.json").read_text())
CASES = [name for name, case in FACTS["cases"].items() if case["sampling"] and not case["input"]]


@pytest.fixture(scope="module")
def backend() -> Iterator[AudioCraftBackend]:
    # One thread, as in reference.py: sums in another order round differently.
    settings = Settings(audiocraft_python=str(PYTHON), device="cpu", threads=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(REFERENCE)  # where AudioCraft finds "t5-base"
        backend = AudioCraftBackend(settings, str(PYTHON))
        yield backend
        backend.close()


@pytest.mark.parametrize("model", ["text", "stereo", "melody"])
@pytest.mark.parametrize("case", CASES)
def test_a_take_is_what_audiocraft_makes_of_the_same_wish(
    backend: AudioCraftBackend, model: str, case: str
) -> None:
    knobs = {
        name: value
        for name, value in FACTS["cases"][case].items()
        if name in MusicRequest.__dataclass_fields__
    }
    take = take_of(made(backend, FACTS["prompt"], model=f"./{model}", **knobs))
    recorded = load_file(REFERENCE / model / "reference.safetensors")[f"{case}.samples"]
    assert np.array_equal(take.samples, recorded)


def test_a_stopped_take_is_the_beginning_of_the_whole_one(backend: AudioCraftBackend) -> None:
    wish = MusicRequest("jazz", model="./stereo", duration=10)
    whole = take_of(list(backend.generate(wish, threading.Event()))).samples
    stop = threading.Event()
    updates = []
    for update in backend.generate(wish, stop):
        updates.append(update)
        if isinstance(update, Progress) and update.seconds_made > 1:
            stop.set()
    take = take_of(updates)
    assert take.stopped
    assert 1 <= take.duration < 10
    # EnCodec hears a few frames ahead: the last ones sound different without them.
    sure = take.samples.shape[1] - 10 * 640
    assert np.allclose(take.samples[:, :sure], whole[:, :sure], atol=1e-5)
    assert not any(isinstance(update, Loading) for update in made(backend, model="./stereo"))


def test_the_debug_model_makes_a_take(backend: AudioCraftBackend) -> None:
    take = take_of(made(backend, model="debug", duration=1))
    assert take.samples.shape == (1, 32000)


def test_a_model_that_is_nowhere_is_told(backend: AudioCraftBackend) -> None:
    with pytest.raises(ModelUnavailable, match="can't get all that facebook/musicgen-small needs"):
        made(backend, model="facebook/musicgen-small")


def test_a_damaged_folder_is_told(backend: AudioCraftBackend, tmp_path: Path) -> None:
    (tmp_path / "state_dict.bin").write_bytes(b"no weights")
    with pytest.raises(InvalidCheckpoint, match="AudioCraft can't read"):
        made(backend, model=str(tmp_path))


def test_who_leaves_stops_the_work(backend: AudioCraftBackend) -> None:
    wish = MusicRequest("jazz", model="./text", duration=30)
    updates = backend.generate(wish, threading.Event())
    assert any(isinstance(update, Progress) for update in updates)
    updates.close()
    assert take_of(made(backend, model="./text")).duration == 2
