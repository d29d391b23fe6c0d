"""Live sessions of visitors' pages: heard by whoever began them, and ended when nobody listens."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from musicgen_space.backends.base import Backend, Loading, ModelChoice, Update, Waiting
from musicgen_space.clip import Clip
from musicgen_space.errors import LiveFull
from musicgen_space.library import Library
from musicgen_space.live import Heard, LiveControls
from musicgen_space.message import Message
from musicgen_space.page.clip.own_sound import new_sounds, picked
from musicgen_space.page.live.sessions import LiveSessions
from musicgen_space.page.takes.own_takes import OwnTakes
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings
from tests.page.told import told

RATE = 32000
ME = {"visitor": "0123456789abcdef" * 3}
OTHER = {"visitor": "f" * 48}
WISH = {"backend": "home", "model": "deaf", "prompt": "lo-fi piano", "seed": 7}


class Home(Backend):
    """Plays pieces of a tenth of a second, as loud as its temperature says, one visitor a time."""

    name, label, about = "home", Message("This machine"), "free"
    knobs = frozenset(MusicRequest.__dataclass_fields__)
    plays_live = True

    def __init__(self) -> None:
        self.controls: list[LiveControls] = []
        self.playing: list[str] = []
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("deaf", "")]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        yield from ()

    def live(
        self, controls: LiveControls, visitor: str = ""
    ) -> Iterator[Waiting | Loading | Heard]:
        if visitor in self.playing:
            raise LiveFull(1, own=True)
        self.playing.append(visitor)
        self.controls.append(controls)
        yield Loading(Message("Loading {model}", model="deaf"))
        told = 0
        self.go.wait(30)
        try:
            while not controls.stopped:
                if self.error is not None:
                    raise self.error
                if told / 10 > controls.fetched + 1:
                    time.sleep(0.002)
                    continue
                request = controls.wish.request
                sound = np.full((2, RATE // 10), request.temperature / 4, np.float32)
                yield Heard(sound, RATE, told / 10, request.prompt, speed=0.8)
                told += 1
        finally:
            self.playing.remove(visitor)


class Elsewhere(Home):
    name, label, plays_live = "elsewhere", "Elsewhere", False


def asking(tab: str = "tab", host: str = "8.8.8.8") -> Any:
    return SimpleNamespace(
        session_hash=tab, headers={}, cookies={}, client=SimpleNamespace(host=host)
    )


@dataclasses.dataclass
class Page:
    """The page of one visitor, in the loop of a test."""

    sessions: LiveSessions
    folder: Path
    me: dict[str, str] = dataclasses.field(default_factory=lambda: ME)
    asking: Any = dataclasses.field(default_factory=asking)
    id: str = ""

    async def play(self, **changes: Any) -> dict[str, Any]:
        sent = {**WISH, **self.me, "before": self.id, **changes}
        answer = await self.sessions.play(sent, self.asking, self.folder)
        self.id = answer.get("id", self.id)
        return answer

    def sent(self, **more: Any) -> dict[str, Any]:
        return {**self.me, "id": self.id, **more}

    async def more(self, first: int, **news: Any) -> dict[str, Any]:
        return await self.sessions.more(self.sent(**{"from": first}, **news), self.asking)

    async def heard(
        self, enough: Callable[[dict[str, Any]], bool], first: int = 0
    ) -> list[dict[str, Any]]:
        """Fetch until a piece is as wanted; → all of them."""
        pieces: list[dict[str, Any]] = []
        while not any(map(enough, pieces)):
            answer = await self.more(first)
            assert not answer["over"]
            pieces += answer["pieces"]
            first = answer["next"]
        return pieces

    async def end(self) -> dict[str, Any]:
        """Fetch until it is over; → the last answer."""
        answer, first = await self.more(0), 0
        while not answer["over"]:
            first = answer["next"]
            answer = await self.more(first)
        return answer


@pytest.fixture
def home() -> Home:
    return Home()


@pytest.fixture
def takes(library: Library) -> OwnTakes:
    """Those of a page that others can open."""
    return OwnTakes(library, Settings(host="0.0.0.0"), {})


@pytest.fixture
def with_page(home: Home, takes: OwnTakes, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Runs a test with a page; afterwards nothing is left of what was recorded."""
    folder = tmp_path / "served"

    def run(test: Callable[[Page], Awaitable[None]], patience: float = 60.0) -> None:
        async def whole() -> None:
            backends = {"home": home, "elsewhere": Elsewhere()}
            sessions = LiveSessions(backends, new_sounds(), takes, patience)
            try:
                await asyncio.wait_for(test(Page(sessions, folder)), 30)
            finally:
                sessions.close()

        asyncio.run(whole())

    yield run
    assert not folder.exists() or [*folder.iterdir()] == []


def samples(piece: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(piece["sound"]), "<i2").reshape(-1, 2).T


def test_a_page_hears_every_piece_once_and_in_order(with_page: Any) -> None:
    async def test(page: Page) -> None:
        await page.play()
        pieces = await page.heard(lambda piece: piece["start"] >= 2)
        starts = [piece["start"] for piece in pieces]
        assert starts == pytest.approx([number / 10 for number in range(len(starts))])
        assert samples(pieces[0]).shape == (2, RATE // 10)
        assert samples(pieces[0])[0, 0] == round(32767 / 4)
        assert {piece["prompt"] for piece in pieces} == {"lo-fi piano"}

    with_page(test)


def test_what_got_lost_on_its_way_comes_again(with_page: Any) -> None:
    async def test(page: Page) -> None:
        await page.play()
        await page.heard(lambda piece: True)
        answer, again = await page.more(3), await page.more(3)
        while not answer["pieces"] or not again["pieces"]:
            answer, again = again, await page.more(3)
        assert answer["pieces"][0]["start"] == again["pieces"][0]["start"] == 0.3

    with_page(test)


def test_no_more_is_made_than_the_page_fetches(with_page: Any, home: Home) -> None:
    async def test(page: Page) -> None:
        await page.play()
        await page.heard(lambda piece: piece["start"] >= 0.5)
        answer = await page.more(6)
        while not answer["pieces"]:
            answer = await page.more(6)
        [controls] = home.controls
        assert controls.fetched == pytest.approx(answer["pieces"][-1]["start"] + 0.1)
        assert (answer["rate"], answer["channels"], answer["speed"]) == (RATE, 2, 0.8)

    with_page(test)


def test_a_page_says_how_far_it_has_heard_and_nonsense_is_not_believed(
    with_page: Any, home: Home
) -> None:
    async def test(page: Page) -> None:
        await page.play()
        await page.heard(lambda piece: piece["start"] >= 0.3)
        [controls] = home.controls
        for nonsense in (None, "2", -1, float("nan"), float("inf")):
            await page.more(0, heard=nonsense)
        assert controls.began is None
        await page.more(0, heard=0.25)
        assert time.monotonic() - controls.began >= 0.25

    with_page(test)


def test_it_is_steered_while_it_plays_and_nonsense_is_refused(with_page: Any) -> None:
    async def test(page: Page) -> None:
        await page.play()
        steer = page.sessions.steer
        changed = {"prompt": "loud drums", "temperature": 1.5, "balance": 0.5, "seed": 9}
        assert steer(page.sent(**changed), page.asking) == {}
        pieces = await page.heard(lambda piece: piece["prompt"] == "loud drums")
        assert samples(pieces[-1])[0, 0] == round(1.5 * 32767 / 4)
        refused = steer(page.sent(temperature=9), page.asking)
        assert "temperature must be a number from 0.1 to 2, got 9" in told(refused["trouble"])
        assert "describe the music" in told(steer(page.sent(prompt=" "), page.asking)["trouble"])

    with_page(test)


def test_only_who_began_it_hears_steers_or_keeps_it(with_page: Any) -> None:
    async def test(page: Page) -> None:
        await page.play()
        for stranger in ({**OTHER, "id": page.id}, {**ME, "id": "guess"}, {"id": page.id}, None):
            for ask in ("steer", "stop", "keep", "record"):
                answer = getattr(page.sessions, ask)(stranger, page.asking)
                assert "not there any more" in told(answer["trouble"]), ask
            answer = await page.sessions.more(stranger, page.asking)
            assert answer["over"]
            assert "not there any more" in told(answer["trouble"])
        page.sessions.belongs(asking("another tab"), {**OTHER, "id": page.id})
        page.sessions.leave(asking("another tab"))
        assert (await page.more(0))["over"] is False

    with_page(test)


def test_stop_and_leaving_the_tab_end_it(with_page: Any, home: Home) -> None:
    async def test(page: Page) -> None:
        await page.play()
        page.sessions.stop(page.sent(), page.asking)
        assert (await page.end())["trouble"] == ""
        assert home.playing == []
        await page.play()
        page.sessions.belongs(page.asking, page.sent())
        page.sessions.leave(page.asking)
        await page.end()
        assert home.playing == []

    with_page(test)


def test_it_ends_when_nobody_asks_for_it_any_more(with_page: Any, home: Home) -> None:
    async def test(page: Page) -> None:
        await page.play()
        while not home.controls or home.playing:
            await asyncio.sleep(0.01)
        assert (await page.more(0))["pieces"]  # what was made by then

    with_page(test, patience=0.5)


def test_playing_again_takes_the_place_of_what_plays(with_page: Any, home: Home) -> None:
    """A visitor of a page for everybody may play once."""

    async def test(page: Page) -> None:
        await page.play()
        await page.heard(lambda piece: piece["start"] >= 0.1)
        first = page.id
        assert (await page.play(prompt="jazz"))["id"] != first
        pieces = await page.heard(lambda piece: True)
        assert pieces[0]["prompt"] == "jazz"
        other = Page(page.sessions, page.folder)  # of the same visitor
        await other.play()
        assert "playing live music already" in told((await other.end())["trouble"])
        assert len(home.playing) == 1

    with_page(test)


def test_what_speaks_against_playing_is_told(with_page: Any, home: Home) -> None:
    async def test(page: Page) -> None:
        for changes, words in {
            ("backend", "elsewhere"): "not made on Elsewhere",
            ("backend", "nowhere"): "backend must be one of",
            ("model", "huge"): "model must be one of",
            ("prompt", ""): "describe the music",
            ("temperature", "hot"): "temperature must be a number",
            ("balance", 2): "balance must be a number from 0 to 1",
            ("change", "never"): "change must be one of",
        }.items():
            answer = await page.play(**dict([changes]))
            assert words in told(answer["trouble"])
        assert "backend must" in told(
            (await page.sessions.play(None, page.asking, page.folder))["trouble"]
        )
        home.error = RuntimeError("a bug")
        await page.play()
        assert told((await page.end())["trouble"]).startswith("Something went wrong here")

    with_page(test)


def test_the_last_seconds_become_a_take_with_the_prompts_that_were_heard(
    with_page: Any, takes: OwnTakes, home: Home
) -> None:
    async def test(page: Page) -> None:
        keep, steer = page.sessions.keep, page.sessions.steer
        home.go.clear()
        await page.play()
        early = keep(page.sent(seconds=30), page.asking)
        assert told(early["trouble"]) == "There was nothing to hear yet."
        home.go.set()
        await page.heard(lambda piece: piece["start"] >= 1)
        steer(page.sent(prompt="loud drums"), page.asking)
        pieces = await page.heard(lambda piece: piece["prompt"] == "loud drums", 11)
        await page.heard(lambda piece: piece["start"] > pieces[-1]["start"] + 1, 11 + len(pieces))
        page.sessions.stop(page.sent(), page.asking)
        await page.end()
        answer = keep(page.sent(seconds=30), page.asking)  # when it is over, too
        [row] = takes.list_takes(ME)["rows"]
        assert [row["id"]] == answer["ids"]
        assert row["prompt"] == "lo-fi piano → loud drums"
        assert takes.list_takes(OTHER)["rows"] == []
        refused = keep(page.sent(seconds=10**6), page.asking)
        assert "seconds must be a number from 1 to 300" in told(refused["trouble"])

    with_page(test)


def test_all_of_it_is_a_file_with_a_cue_sheet(with_page: Any, home: Home) -> None:
    async def test(page: Page) -> None:
        home.go.clear()
        await page.play()
        early = page.sessions.record(page.sent(), page.asking)
        assert told(early["trouble"]) == "There was nothing to hear yet."
        home.go.set()
        await page.heard(lambda piece: piece["start"] >= 1)
        made = page.sessions.record(page.sent(), page.asking)
        flac, cue = Path(made["flac"]["path"]), Path(made["cue"]["path"])
        assert soundfile.info(flac).duration >= 1
        assert f'FILE "{made["flac"]["name"]}" WAVE' in cue.read_text(encoding="utf-8")
        assert len(flac.parent.name) >= 32  # nobody guesses where it is
        await page.heard(lambda piece: piece["start"] >= 2, 11)
        page.sessions.record(page.sent(), page.asking)
        assert len([*flac.parent.glob("*.flac")]) == 1  # the earlier one made way

    with_page(test)


def test_few_sessions_are_remembered_and_none_that_plays_is_forgotten(
    with_page: Any, home: Home
) -> None:
    async def test(page: Page) -> None:
        guest = Page(page.sessions, page.folder, OTHER, asking("guest", "1.1.1.1"))
        await guest.play()
        ids = []
        for _ in range(20):
            await page.play()
            await page.heard(lambda piece: True)
            ids.append(page.id)
        page.id = ids[0]
        assert "not there any more" in told((await page.more(0))["trouble"])
        assert (await guest.more(0))["over"] is False
        assert len([*page.folder.glob("*/*")]) <= 16

    with_page(test)


def test_it_begins_with_a_clip_that_is_to_be_continued(
    home: Home, takes: OwnTakes, tmp_path: Path
) -> None:
    clip = Clip(np.zeros((1, 4 * RATE), np.float32), RATE, "riff")
    sounds = new_sounds()
    shown = picked(sounds.add(clip), clip, "continue_from")

    async def test() -> None:
        sessions = LiveSessions({"home": home}, sounds, takes)
        sound = {**shown, "clip": sounds.add(clip)}
        for use in ("continue_from", "melody", "replace"):
            page = Page(sessions, tmp_path / "served")
            await page.play(sound=sound, use=use)
            await page.heard(lambda piece: True)
            page.sessions.stop(page.sent(), page.asking)
            await page.end()
        sessions.close()

    asyncio.run(test())
    begun = [controls.wish.request.continue_from for controls in home.controls]
    assert [each and each.duration for each in begun] == [4.0, None, None]
