"""``MusicGen.live``: music in Python that goes on and is steered while it plays."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_space import BackendError, InvalidRequest, Loading, MusicGen, Stopped, Waiting
from tests.server.fixtures import RATE, Hum, until


@pytest.fixture
def studio() -> Hum:
    return Hum()


@pytest.fixture
def model(studio: Hum) -> Iterator[MusicGen]:
    with MusicGen(studio, "musicgen-nano") as model:
        yield model


def test_chunks_come_as_long_as_they_are_asked_for(model: MusicGen, studio: Hum) -> None:
    told: list[Waiting | Loading] = []
    with model.live("jazz", balance=0.25, seed=7, report=told.append) as session:
        assert session.sample_rate == RATE
        chunks = [*itertools.islice(session, 50)]
        assert studio.told < 14  # little is made ahead
        assert session.heard is not None
        assert (session.heard.start, session.heard.prompt) == (49 / 4, "jazz")
        assert session.heard.speed == 3.0
        assert session.heard.samples.size == 0
    assert [*session] == []
    assert {chunk.shape for chunk in chunks} == {(1, RATE // 4)}
    assert chunks[0].dtype == np.float32
    assert chunks[-1][0, 0] == 0.25
    assert [type(each) for each in told] == [Waiting, Loading]
    assert studio.room.requests == []


def test_any_thread_steers_and_what_makes_no_sense_is_refused_by_name(model: MusicGen) -> None:
    with model.live("jazz") as session:
        for _ in range(4):
            next(session)
        steering = threading.Thread(target=session.steer, kwargs={"prompt": "house", "balance": 1})
        steering.start()
        steering.join()
        for _ in range(6):
            chunk = next(session)
        assert session.heard is not None
        assert session.heard.prompt == "house"
        assert chunk[0, 0] == 1
        assert session.prompts[1][1] == "house"
        with pytest.raises(InvalidRequest, match="seed can't be changed while it plays"):
            session.steer(seed=1)
        with pytest.raises(InvalidRequest, match="balance must be a number from 0 to 1"):
            session.steer(balance=2)


@pytest.mark.parametrize("field", ["duration", "melody", "tempo"])
def test_what_live_music_has_not_is_refused(model: MusicGen, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field} can't be given for live music"):
        model.live("jazz", **{field: 3})  # type: ignore[arg-type]


def test_the_last_seconds_and_the_whole_are_kept(model: MusicGen, tmp_path: Path) -> None:
    session = model.live("jazz", seed=-1)
    with pytest.raises(Stopped):
        session.keep()
    for _ in itertools.islice(session, 12):
        session.steer(prompt="house" if session.heard and session.heard.start > 1 else "jazz")
    session.close()
    take = session.keep(2.5)
    assert (take.duration, take.model, take.backend) == (2.5, "musicgen-nano", "local")
    assert take.request.prompt == "jazz → house"
    assert take.request.seed >= 0
    assert session.save(tmp_path / "set.flac") == tmp_path / "set.flac"
    assert soundfile.info(tmp_path / "set.flac").duration == 3
    assert 'FILE "set.flac" WAVE' in (tmp_path / "set.cue").read_text()
    with pytest.raises(InvalidRequest, match=r"path must end in one of \.flac"):
        session.save(tmp_path / "set.wav")


def test_closing_or_dropping_it_ends_the_music(model: MusicGen, studio: Hum) -> None:
    session = model.live("jazz")
    heard: list[np.ndarray] = []
    listening = threading.Thread(target=lambda: heard.extend(session))
    listening.start()
    until(lambda: studio.told > 1)
    session.close()
    listening.join(30)
    assert not listening.is_alive()
    until(lambda: studio.room.requests == [])
    dropped = model.live("jazz")
    next(dropped)
    del dropped
    gc.collect()
    assert studio.room.requests == []


def test_what_goes_wrong_is_raised_where_chunks_are_asked_for(model: MusicGen) -> None:
    session = model.live("jazz #fail")
    with pytest.raises(BackendError, match="out of tune"):
        next(session)
    model.close()
    with pytest.raises(BackendError, match="closed"):
        model.live("jazz")


def test_a_model_plays_live_and_is_free_afterwards(tiny_folder: Path) -> None:
    with MusicGen.from_pretrained(tiny_folder) as model:
        with model.live("jazz", change="evolve") as session:
            assert next(session).shape[0] == 1
            assert session.heard is not None
            assert session.heard.prompt == "jazz"
        assert model.generate("jazz", duration=1).duration == 1
