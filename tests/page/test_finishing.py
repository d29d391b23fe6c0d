"""Takes as the player gets them: with a finish, compared, as files; and what it may not ask for."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile

from musicgen_space.audio.files import read_settings
from musicgen_space.audio.mastering.loudness import loudness
from musicgen_space.audio.resample import to_int16
from musicgen_space.errors import InvalidRequest
from musicgen_space.message import english
from musicgen_space.page.player.finishing import Finishing, finish_of
from musicgen_space.page.player.player import build_player, names, view, view_of_takes
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.page.visitors.made_files import MadeFiles
from musicgen_space.page.visitors.page_work import PageWork
from musicgen_space.request import MusicRequest
from musicgen_space.take import Finish, Take
from tests.page.test_session import visitor
from tests.page.told import told

RATE = 32000
HUGE = "9" * 10_000  # int() refuses so many digits


def take(
    level: float = 0.1, seconds: float = 2, prompt: str = "jazz", seed: int = 42, silent: float = 0
) -> Take:
    time = np.arange(int(seconds * RATE)) / RATE
    tone = level * np.sin(2 * np.pi * 440 * time) * (time < seconds - silent)
    request = MusicRequest(prompt, seed=seed)
    return Take(tone[None].astype(np.float32), RATE, request, "local", "musicgen-nano", 1.0)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def put(shelf: Shelf, *takes: Take) -> str:
    key = shelf.start()
    shelf.finish(key, takes)
    return key


def asked(function: Any, wish: Any) -> Any:
    """What the player's script gets from a function of the server."""
    return asyncio.run(function(wish, visitor()))


def test_a_finish_is_heard_and_drawn_and_the_raw_take_stays(shelf: Shelf) -> None:
    raw = take(silent=0.9)
    before = raw.samples.copy()
    address = f"{put(shelf, raw)}/0"
    finishing = Finishing(shelf)
    heard = finishing.heard([address], Finish(normalise=True, trim=True))
    assert heard is not None
    assert heard[0]["wanted"] == pytest.approx(1.1, abs=0.1)
    assert max(heard[0]["peaks"]) > 2 * max(view_of_takes([raw], "x")["takes"][0]["peaks"])
    assert told(heard[0]["notes"]) == "0.9 s of its tail cut off · now -14.0 LUFS"
    assert finishing.take(address, Finish()) is raw
    assert (raw.samples == before).all()


def test_a_finished_take_is_worked_out_once(shelf: Shelf) -> None:
    address = f"{put(shelf, take())}/0"
    finishing = Finishing(shelf)
    first = finishing.take(address, Finish(fade_in=0.5))
    assert finishing.take(address, Finish(fade_in=0.5)) is first
    assert finishing.take(address, Finish(fade_in=0.6)) is not first


def test_finished_takes_are_kept_within_a_bound(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "musicgen_space.page.player.finishing._BYTES_KEPT", 600_000
    )  # two of 256 kB
    address = f"{put(shelf, take())}/0"
    finishing = Finishing(shelf)
    first = finishing.take(address, Finish(fade_in=1))
    last = [finishing.take(address, Finish(fade_in=seconds)) for seconds in (2, 3)]
    assert [finishing.take(address, Finish(fade_in=seconds)) for seconds in (2, 3)] == last
    assert finishing.take(address, Finish(fade_in=1)) is not first


def test_takes_that_are_compared_come_with_gains_that_make_them_equally_loud(shelf: Shelf) -> None:
    takes = [take(0.4), take(0.1), take(0.2)]
    key = put(shelf, *takes)
    heard = Finishing(shelf).heard([f"{key}/{index}" for index in range(3)], Finish())
    assert heard is not None
    levels = [
        loudness(each.samples * said["gain"], RATE) for each, said in zip(takes, heard, strict=True)
    ]
    assert levels == pytest.approx([levels[1]] * 3, abs=0.05)
    assert heard[1]["gain"] == 1
    assert [said["notes"] for said in heard] == [[], [], []]


def test_a_take_that_is_hardly_heard_does_not_silence_the_others(shelf: Shelf) -> None:
    key = put(shelf, take(0.5), take(0.0005))
    heard = Finishing(shelf).heard([f"{key}/0", f"{key}/1"], Finish())
    assert heard is not None
    assert [said["gain"] for said in heard] == [0.1, 1]


def test_a_take_that_peaks_keep_quiet_says_so(shelf: Shelf) -> None:
    clicks = take(0.005)
    clicks.samples[:, :: RATE // 2] = 0.8
    heard = Finishing(shelf).heard([f"{put(shelf, clicks)}/0"], Finish(normalise=True))
    assert heard is not None
    allowed = " LUFS, as far as its peaks allow: limited by 6.0 dB"
    assert told(heard[0]["notes"]).endswith(allowed)


def test_a_take_whose_peaks_were_limited_says_by_how_much(shelf: Shelf) -> None:
    strokes = take(0.5)
    strokes.samples[:] *= np.exp(-(np.arange(2 * RATE) % (RATE // 4)) / RATE / 0.05)
    finishing, address = Finishing(shelf), f"{put(shelf, strokes)}/0"
    wish = Finish(normalise=True)
    heard, finished = finishing.heard([address], wish), finishing.take(address, wish)
    assert heard is not None
    assert finished is not None
    limited = f"peaks limited by {finished.limited:.1f} dB"
    assert told(heard[0]["notes"]) == f"now -14.0 LUFS, {limited}"
    assert 0.1 < finished.limited < 6


def test_a_single_take_is_not_measured(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)  # to import it is an error now
    heard = Finishing(shelf).heard([f"{put(shelf, take())}/0"], Finish(fade_out=1, trim=True))
    assert heard is not None
    assert (heard[0]["gain"], told(heard[0]["notes"])) == (1, "no tail to cut off · fade-out 1 s")


@pytest.mark.parametrize(
    "settings", ["loud", [1], {"reverb": True}, {"fade_in": 99}, {"trim": "yes"}, {"fade_in": None}]
)
def test_a_finish_that_does_not_exist_is_refused(settings: Any) -> None:
    with pytest.raises(InvalidRequest):
        finish_of(settings)


def test_no_finish_is_one_too() -> None:
    assert finish_of(None) == finish_of({}) == Finish()


# ---- What the player calls ----


def test_files_have_the_finish_that_is_asked_for_and_tell_it(shelf: Shelf) -> None:
    raw = take(0.1)
    wish = {"take": f"{put(shelf, raw)}/0", "ending": "wav"}
    player = build_player(shelf, view("idle"), PageWork())
    plain = soundfile.read(asked(player.file, wish)["path"], dtype="int16")[0]
    assert (plain == to_int16(raw.samples)[0]).all()
    finish = {"normalise": True, "trim": False, "fade_in": 0, "fade_out": 0.5}
    with open(asked(player.file, {**wish, "finish": finish})["path"], "rb") as file:
        data = file.read()
    loud, _ = soundfile.read(io.BytesIO(data))
    assert abs(loud).max() > 0.2
    settings = read_settings(data)
    assert settings is not None
    assert settings["finish"] == finish
    assert asked(player.file, {**wish, "finish": None}) == asked(player.file, wish)


def test_files_are_kept_within_a_bound(tmp_path: Path) -> None:
    component = gr.HTML()
    component.GRADIO_CACHE = str(tmp_path)
    files = MadeFiles(most_bytes=100)
    first = files.save(bytes(50), "a.wav", component)
    second = files.save(b"2" * 50, "b.wav", component)
    assert files.save(bytes(50), "a.wav", component) == first  # asked for again
    third = files.save(b"3" * 50, "c.wav", component)
    assert {str(file) for file in tmp_path.rglob("*.wav")} == {first, third}
    assert not Path(second).parent.exists()
    large = files.save(bytes(200), "large.wav", component)
    assert [str(file) for file in tmp_path.rglob("*.wav")] == [large]


@pytest.mark.parametrize(
    "wish",
    [
        None,
        "example/0/wav",
        {},
        {"take": "unknown/0", "ending": "wav"},
        {"take": f"KEY/{HUGE}", "ending": "wav"},
        {"take": "KEY/-1", "ending": "wav"},
        {"take": "KEY/٠", "ending": "wav"},
        {"take": ["KEY/0"], "ending": "wav"},
        {"take": "KEY/0", "ending": "exe"},
        {"take": "KEY/0", "ending": ["wav"]},
        {"take": "KEY/0", "ending": "wav", "finish": {"fade_in": 1e9}},
        {"take": "KEY/0", "ending": "wav", "finish": 7},
    ],
)
def test_nothing_else_is_a_file(shelf: Shelf, wish: Any) -> None:
    key = put(shelf, take())
    if isinstance(wish, dict) and isinstance(wish.get("take"), str):
        wish = {**wish, "take": wish["take"].replace("KEY", key)}
    player = build_player(shelf, view("idle"), PageWork())
    assert asked(player.file, wish) is None


@pytest.mark.parametrize("index", ["1", "-1", "x", "", "²", HUGE])
def test_nothing_else_is_a_chunk(shelf: Shelf, index: str) -> None:
    key = shelf.start()
    shelf.append(key, np.zeros((1, 10)))
    player = build_player(shelf, view("idle"), PageWork())
    assert player.chunks(f"{key}/0")
    assert player.chunks(f"{key}/{index}") is None
    assert player.chunks(7) is None


def test_a_finish_out_of_its_limits_is_explained(shelf: Shelf) -> None:
    player = build_player(shelf, view("idle"), PageWork())
    wish = {"takes": [f"{put(shelf, take())}/0"], "finish": {"fade_in": 60}}
    assert "from 0 to 10 seconds" in asked(player.heard, wish)["trouble"]
    for bad in (None, {}, {"takes": 7}, {"takes": ["unknown/0"]}, {"takes": [None]}):
        assert asked(player.heard, bad) is None


# ---- What it is shown ----


def test_takes_of_different_prompts_each_tell_their_own(shelf: Shelf) -> None:
    takes = [take(prompt="jazz", seconds=1), take(prompt="techno", seconds=3)]
    shown = view_of_takes(takes, "key", kept=["", "kept-2"], status="From your library")
    first, second = shown["takes"]
    assert (first["id"], second["id"]) == ("key/0", "key/1")
    assert (first["kept"], second["kept"]) == ("", "kept-2")
    assert (first["title"], second["title"]) == ("jazz", "techno")
    assert (first["wanted"], second["wanted"]) == (1, 3)
    assert (shown["title"], shown["variations"], shown["status"]) == (
        "jazz",
        2,
        "From your library",
    )


def test_a_name_is_what_tells_takes_apart() -> None:
    assert english(names([take(seed=1), take(seed=2)])) == "seed 1 · seed 2"
    assert english(names([take(prompt="jazz"), take(prompt="techno")])) == "jazz · techno"
    assert english(names([take(seed=5)])) == "seed 5"


def test_a_take_is_heard_as_a_loop_which_has_no_fades() -> None:
    shelf = Shelf()
    address = f"{put(shelf, take())}/0"
    finishing, wish = Finishing(shelf), Finish(fade_in=1, normalise=True)
    looped = finishing.take(address, wish, loop=True)
    assert looped is not None
    assert looped.loop is not None
    assert looped.finish == Finish(normalise=True)
    [heard] = finishing.heard([address], wish, loop=True) or [{}]
    assert heard["wanted"] == pytest.approx(looped.duration, abs=0.1)
    assert "a loop " in told(heard["notes"])
    short = f"{put(shelf, take(seconds=0.5))}/0"
    with pytest.raises(InvalidRequest, match="loop"):
        finishing.heard([short], Finish(), loop=True)
