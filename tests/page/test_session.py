"""What the page's handlers let through, above all where somebody's credits are spent."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Self

import gradio as gr
import numpy as np
import pytest
import soundfile

from musicgen_space.backends.base import Backend, HostedBackend, ModelChoice, Update
from musicgen_space.errors import AllowanceSpent, LibraryUnavailable, MusicGenSpaceError
from musicgen_space.library import Library
from musicgen_space.page.clip.own_sound import NOTHING_PICKED
from musicgen_space.page.form.fields import FIELDS as FIELD_NAMES
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.page.session import Studio
from musicgen_space.page.visitors.audience import Audience
from musicgen_space.request import LIMITS, MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import Receipt, Take
from tests.page.told import told

RATE = 32000
ME = {"visitor": "0123456789abcdef" * 3}
NO_SOUND = (NOTHING_PICKED, "continue_from")
FIELDS = (*(limit.default for limit in LIMITS.values()), "", "")


class Hosted(HostedBackend):
    """A hosted service that notes who paid for what."""

    name, label, about = "hosted", "Hosted", "costs a credit"
    knobs = frozenset({"prompt", "duration", "seed"})
    limits = MappingProxyType({**LIMITS, "duration": replace(LIMITS["duration"], maximum=30.0)})
    typical_price = 1.0

    def __init__(self, payer: str = "owner", paid: list[tuple[str, str]] | None = None) -> None:
        self.payer, self.paid = payer, [] if paid is None else paid
        self.credits = 5.0

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("model", "")]

    @property
    def has_key(self) -> bool:
        return True

    def with_key(self, key: str) -> Self:
        return type(self)(key.strip(), self.paid)

    def balance(self) -> float:
        return self.credits

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        self.paid.append((self.payer, request.prompt))
        samples = np.zeros((1, 3200), np.float32)
        yield Take(samples, 32000, request, "hosted", "model", 1.0, receipt=Receipt(1.0, 0.5))


class Home(Backend):
    """A machine that obeys every wish, notes it, and has one model that follows tunes."""

    name, label, about = "home", "Home", "free"
    knobs = frozenset(MusicRequest.__dataclass_fields__)

    def __init__(self) -> None:
        self.wishes: list[MusicRequest] = []

    def models(self) -> list[ModelChoice]:
        return [ModelChoice("deaf", ""), ModelChoice("melodious", "", True)]

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        self.wishes.append(request)
        samples = np.zeros((1, int(request.total_seconds * RATE)), np.float32)
        for index in range(request.variations):
            yield Take(samples, RATE, request.variation(index), "home", "deaf", 1.0)


@pytest.fixture
def home() -> Home:
    return Home()


@pytest.fixture
def hosted() -> Hosted:
    return Hosted()


@pytest.fixture
def studio(hosted: Hosted, home: Home) -> Studio:
    """A public page whose owner lets each visitor have two takes an hour."""
    settings = Settings(host="0.0.0.0", segmind_takes_per_visitor=2)
    return Studio({"hosted": hosted, "home": home}, settings, Shelf())


def visitor(session: str = "tab", host: str = "8.8.8.8") -> Any:
    return SimpleNamespace(session_hash=session, headers={}, client=SimpleNamespace(host=host))


def wish(key: str = "", prompt: str = "jazz") -> tuple[Any, ...]:
    return ("hosted", key, "model", prompt, *FIELDS, *NO_SOUND)


def wish_at_home(model: str = "deaf", own: tuple[Any, ...] = NO_SOUND, **fields: Any) -> Any:
    """A wish for this machine, with some fields of a request and perhaps an own sound."""
    given = dict(zip(FIELD_NAMES, FIELDS, strict=True)) | fields
    return ("home", "", model, "jazz", *given.values(), *own)


@pytest.fixture
def riff(tmp_path: Path) -> str:
    """Twenty seconds of a tone, as a file that somebody uploads."""
    time = np.arange(20 * RATE) / RATE
    soundfile.write(tmp_path / "riff.wav", 0.5 * np.sin(2 * np.pi * 220 * time), RATE)
    return str(tmp_path / "riff.wav")


def press_generate(studio: Studio, who: Any, *what: Any) -> dict[str, Any]:
    return list(studio.make_again(who, None, *what))[-1][0]  # type: ignore[no-any-return]


def check(studio: Studio, *what: Any) -> None:
    """As far as the check of a wish, and no further."""
    made = studio.make(visitor(), None, *what)
    next(made)
    made.close()


def test_a_take_on_ones_own_key_is_paid_by_it(studio: Studio, hosted: Hosted) -> None:
    assert press_generate(studio, visitor(), *wish("mine"))["phase"] == "done"
    assert hosted.paid == [("mine", "jazz")]


@pytest.mark.parametrize("key", ["", " ", "\t"])
def test_the_owners_key_has_a_limit_for_each_visitor(
    studio: Studio, hosted: Hosted, key: str
) -> None:
    for session in ("first tab", "reloaded"):
        press_generate(studio, visitor(session), *wish(key))
    with pytest.raises(gr.Error, match="You have had 2 takes"):
        press_generate(studio, visitor("again"), *wish(key))
    press_generate(studio, visitor("another", host="9.9.9.9"), *wish(key))
    assert [payer for payer, _ in hosted.paid] == ["owner"] * 3


def test_what_is_refused_spends_nothing_and_leaves_what_is_made_alone(
    studio: Studio, hosted: Hosted
) -> None:
    making = studio.make(visitor(), None, *wish_at_home())
    next(making)
    with pytest.raises(gr.Error, match="prompt must not be empty"):
        next(studio.make(visitor(), None, *wish("mine", " ")))
    assert [*making][-1][0]["phase"] == "done"
    assert hosted.paid == []


def test_generate_is_stop_until_the_take_is_there(studio: Studio) -> None:
    seen = [*studio.make(visitor(), None, *wish_at_home(seed=7))]
    visible = [(generate.get("visible"), stop.get("visible")) for _, _, generate, stop, *_ in seen]
    assert visible == [(False, True), (True, False)]
    assert [[*note["next"]] for *_, note in seen[:1]] == [[]]
    assert seen[-1][1] == 7


def test_a_second_take_in_a_tab_takes_the_place_of_the_first(studio: Studio, home: Home) -> None:
    """As from the list of takes, while one is made."""
    first = studio.make(visitor(), None, *wish_at_home())
    next(first)
    second = [*studio.make(visitor(), None, *wish_at_home())]
    # Anything else would show Generate, or the first, beside the second.
    assert [*first] == [(gr.skip(),) * 7]
    assert second[-1][0]["phase"] == "done"


def test_the_money_line_is_asked_for_after_hosted_takes_only(studio: Studio) -> None:
    spent = [[*studio.make(visitor(), None, *what)][-1][-2] for what in (wish_at_home(), wish())]
    assert [isinstance(each, float) for each in spent] == [False, True]


def test_a_visitor_can_not_pass_for_many(studio: Studio, hosted: Hosted) -> None:
    home = "2001:4860:4860::{}"  # one home's many addresses
    for number in (1, 2):
        press_generate(studio, visitor(str(number), home.format(number)), *wish())
    with pytest.raises(gr.Error):
        press_generate(studio, visitor("3", home.format(3)), *wish())
    assert len(hosted.paid) == 2


@pytest.mark.parametrize("host", ["8.8.8.{}", "::ffff:8.8.8.{}"])
def test_visitors_are_told_apart_in_either_spelling_of_their_address(
    studio: Studio, hosted: Hosted, host: str
) -> None:
    for number in (1, 2, 3):
        press_generate(studio, visitor("one", host.format(number)), *wish())
    assert len(hosted.paid) == 3


def test_a_take_that_no_page_listens_to_is_stopped(home: Home) -> None:
    """As where somebody calls the page's own handlers, and closes the connection."""
    stopped: list[bool] = []

    def patient(_: MusicRequest, stop: threading.Event, __: str) -> Iterator[Update]:
        stopped.append(stop.wait(20))
        yield from ()

    home.generate = patient  # type: ignore[assignment]
    studio = Studio({"home": home}, Settings(), Shelf(), audience=Audience(patience=0.01))
    press_generate(studio, visitor(), *wish_at_home())
    assert stopped == [True]


def test_mcp_which_hides_addresses_is_one_visitor(studio: Studio, hosted: Hosted) -> None:
    for number in (1, 2):
        who = visitor(host=f"8.8.4.{number}")
        who.headers["x-gradio-user"] = "mcp"
        studio.spending.check(hosted, "", who, "")
    with pytest.raises(AllowanceSpent):
        studio.spending.check(hosted, None, who, "")
    studio.spending.check(hosted, "mine", who, "")


@pytest.mark.parametrize(("key", "shown"), [("mine", 0.5), ("", None), (None, None)])
def test_a_takes_receipt_does_not_tell_visitors_the_owners_balance(
    studio: Studio, hosted: Hosted, key: str | None, shown: float | None
) -> None:
    [take] = hosted.generate(MusicRequest("jazz"), threading.Event())
    assert isinstance(take, Take)
    seen = studio.spending.without_balance(take, key).receipt
    assert seen is not None
    assert (seen.cost, seen.credits_left) == (1.0, shown)


def test_a_balance_below_the_price_warns_once(studio: Studio, hosted: Hosted) -> None:
    press_generate(studio, visitor(), *wish("mine"))  # its receipt: 0.5 credits left
    with pytest.raises(gr.Error, match="below the price"):
        press_generate(studio, visitor(), *wish("mine"))
    press_generate(studio, visitor(), *wish("mine"))
    assert len(hosted.paid) == 2


def test_visitors_do_not_see_the_owners_balance(studio: Studio) -> None:
    assert "5.00" not in told(studio.money(visitor(), "hosted", ""))
    assert "5.00 credits" in told(studio.money(visitor(), "hosted", "mine"))


def test_what_somebody_typed_is_no_html_in_an_error(studio: Studio) -> None:
    with pytest.raises(gr.Error) as caught:
        check(studio, "<img src=x>", *wish()[1:])
    assert "<img" not in str(caught.value)


def test_what_is_wished_for_in_words_and_numbers_is_what_is_made(
    studio: Studio, home: Home
) -> None:
    fields = {"negative_prompt": "drums", "blend_prompt": "strings", "duration": 20, "top_k": 7}
    done = press_generate(studio, visitor(), *wish_at_home(**fields))
    assert done["wanted"] == 20
    [made] = home.wishes
    assert {name: getattr(made, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (("home", "", "deaf"), "duration must be a number from 1 to 300 seconds, got 301"),
        (
            ("hosted", "mine", "model"),
            "duration must be a number from 1 to 30 seconds on Hosted, got 301",
        ),
    ],
)
def test_a_length_goes_as_far_as_the_backend(
    studio: Studio, wish: tuple[str, ...], message: str
) -> None:
    fields = dict(zip(FIELD_NAMES, FIELDS, strict=True)) | {"duration": 301}
    with pytest.raises(gr.Error, match=message):
        check(studio, *wish, "jazz", *fields.values(), *NO_SOUND)


def test_variations_come_as_takes_to_choose_from(studio: Studio) -> None:
    what = wish_at_home(variations=3, seed=7)
    done, seed, *_ = [*studio.make(visitor(), None, *what)][-1]
    assert [told(take["facts"]).split(" · ")[1] for take in done["takes"]] == [
        "seed 7",
        "seed 8",
        "seed 9",
    ]
    assert seed == 7


def test_ones_own_sound_is_continued(studio: Studio, home: Home, riff: str) -> None:
    shown = studio.bring(visitor(), riff, "continue_from")
    assert (shown["name"], shown["from"], shown["to"]) == ("riff.wav", 10, 20)
    own = ({**shown, "from": 4.0, "to": 9.0}, "continue_from")
    done = press_generate(studio, visitor(), *wish_at_home(own=own))
    clip = home.wishes[0].continue_from
    assert clip is not None
    assert (clip.name, clip.start, clip.duration) == ("riff.wav", 4.0, 5.0)
    assert (done["begins"], done["wanted"]) == (5.0, 15.0)


def test_a_tune_is_followed_by_models_that_can(studio: Studio, home: Home, riff: str) -> None:
    own = (studio.bring(visitor(), riff, "melody"), "melody")
    with pytest.raises(gr.Error, match="needs a melody model, such as facebook/musicgen-melody"):
        check(studio, *wish_at_home("deaf", own))
    press_generate(studio, visitor(), *wish_at_home("melodious", own))
    assert home.wishes[0].melody is not None
    assert home.wishes[0].continue_from is None


def test_another_use_picks_another_stretch(studio: Studio, riff: str) -> None:
    shown = studio.bring(visitor(), riff, "continue_from")
    assert studio.use(shown, "melody")["from"] == 0
    assert studio.use({**shown, "clip": "unknown"}, "melody") == NOTHING_PICKED
    assert studio.use(NOTHING_PICKED, "melody") == NOTHING_PICKED


def test_only_the_latest_sessions_are_known_and_one_that_is_used_is(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musicgen_space.page.session.MOST_SESSIONS", 3)
    studio = Studio({"home": home}, Settings(), Shelf())
    studio.stop(visitor("mine"))
    studio.stop(visitor("quiet"))
    for number in range(5):
        studio.stop(visitor(f"invented {number}"))
        studio.put_away(visitor("mine"))
    assert {*studio._visits} == {"invented 3", "invented 4", "mine"}


def test_too_long_a_stretch_to_continue_is_refused(studio: Studio, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 310 * RATE)
    soundfile.write(tmp_path / "long.wav", noise, RATE)
    shown = studio.bring(visitor(), str(tmp_path / "long.wav"), "continue_from")
    own = ({**shown, "from": 0, "to": 305}, "continue_from")
    with pytest.raises(gr.Error, match=r"0\.5 to 300 seconds"):
        check(studio, *wish_at_home(own=own))


def test_a_backend_without_the_knob_makes_its_take_without_the_sound(
    studio: Studio, hosted: Hosted, riff: str
) -> None:
    own = (studio.bring(visitor(), riff, "melody"), "melody")
    assert press_generate(studio, visitor(), *wish("mine")[:-2], *own)["phase"] == "done"
    assert hosted.paid == [("mine", "jazz")]


def test_a_sound_is_forgotten_when_it_is_removed_replaced_or_its_tab_is_closed(
    studio: Studio, riff: str
) -> None:
    def brought() -> tuple[Any, str]:
        return (studio.bring(visitor(), riff, "continue_from"), "continue_from")

    for forget in (
        lambda: studio.put_away(visitor()),
        lambda: studio.bring(visitor(), riff, "continue_from"),
        lambda: studio.leave(visitor()),
    ):
        own = brought()
        check(studio, *wish_at_home(own=own))
        forget()
        with pytest.raises(gr.Error, match="choose it again"):
            check(studio, *wish_at_home(own=own))


def test_a_file_that_is_no_sound_is_told_and_the_sound_before_stays(
    studio: Studio, riff: str, tmp_path: Path
) -> None:
    own = (studio.bring(visitor(), riff, "continue_from"), "continue_from")
    (tmp_path / "bad.wav").write_bytes(b"no sound at all")
    with pytest.raises(gr.Error, match="text and no sound"):
        studio.bring(visitor(), str(tmp_path / "bad.wav"), "continue_from")
    check(studio, *wish_at_home(own=own))


@pytest.fixture
def keeping(home: Home, hosted: Hosted, library: Library) -> Studio:
    """A public page that keeps takes."""
    backends = {"hosted": hosted, "home": home}
    return Studio(backends, Settings(host="0.0.0.0"), Shelf(), library)


def made_for(studio: Studio, whose: Any, *what: Any) -> dict[str, Any]:
    return [*studio.make(visitor(), whose, *what)][-1][0]  # type: ignore[no-any-return]


def test_what_is_made_is_kept_for_whose_page_it_was(keeping: Studio, library: Library) -> None:
    done = made_for(keeping, ME, *wish_at_home(variations=2))
    entries = library.search(ME["visitor"])
    assert {take["kept"] for take in done["takes"]} == {entry.id for entry in entries}
    assert (done["phase"], done["status"], len(entries)) == ("done", "", 2)
    nobodys = made_for(keeping, {"visitor": "owner"}, *wish_at_home(seed=7))
    assert [take["kept"] for take in nobodys["takes"]] == [""]
    assert library.search("owner") == []


def test_a_take_that_can_not_be_kept_is_on_the_page_all_the_same(
    keeping: Studio, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise LibraryUnavailable("The disk is full.")

    monkeypatch.setattr(library, "keep", full)
    done = made_for(keeping, ME, *wish_at_home())
    assert (done["phase"], len(done["takes"])) == ("done", 1)
    assert told(done["status"]) == "Not kept in your takes, so download it. The disk is full."


def test_what_was_finished_before_a_failure_is_kept(
    keeping: Studio, home: Home, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = home.generate

    def failing(request: MusicRequest, stop: threading.Event, _: str) -> Iterator[Update]:
        yield next(whole(request, stop))
        raise MusicGenSpaceError("No more.")

    monkeypatch.setattr(home, "generate", failing)
    assert made_for(keeping, ME, *wish_at_home(variations=2))["phase"] == "failed"
    assert library.count(ME["visitor"]) == 1


def test_kept_takes_are_opened_and_compared(keeping: Studio, library: Library) -> None:
    made_for(keeping, ME, *wish_at_home(variations=2))
    ids = [entry.id for entry in library.search(ME["visitor"])]
    shown = keeping.open_takes(visitor(), {**ME, "ids": ids})
    assert [take["kept"] for take in shown["takes"]] == ids
    assert (shown["phase"], shown["variations"], shown["title"]) == ("done", 2, "jazz")
    with pytest.raises(gr.Error, match="not there any more"):
        keeping.open_takes(visitor(), {"visitor": "f" * 48, "ids": ids})


def test_a_kept_take_is_continued_and_kept_whole(
    keeping: Studio, home: Home, library: Library
) -> None:
    made_for(keeping, ME, *wish_at_home(duration=20))
    asked = {**ME, "ids": [library.search(ME["visitor"])[0].id]}
    assert keeping.settings_of_take(visitor(), asked)["prompt"] == "jazz"
    shown = keeping.bring_take(visitor(), asked, "continue_from")
    assert (shown["name"], shown["from"], shown["to"]) == ("“jazz”", 0, 20)
    made_for(keeping, ME, *wish_at_home(own=(shown, "continue_from")))
    clip = home.wishes[-1].continue_from
    assert clip is not None
    assert (clip.start, clip.duration) == (0, 20)


def test_a_part_of_a_sound_is_made_anew_in_several_ways(
    keeping: Studio, home: Home, library: Library, riff: str
) -> None:
    own = ({**keeping.bring(visitor(), riff, "replace"), "from": 4.0, "to": 9.0}, "replace")
    done = made_for(keeping, ME, *wish_at_home(own=own))
    assert [take["wanted"] for take in done["takes"]] == [20] * 4
    [request] = home.wishes
    assert request.continue_from is not None
    assert request.duration == pytest.approx(5 + 2 + 0.4, abs=0.1)
    kept = library.search(ME["visitor"])
    assert len(kept) == 4
    take = library.take(ME["visitor"], kept[0].id)
    assert take is not None
    before, _ = soundfile.read(riff, dtype="float32")
    new = np.abs(take.samples[0] - before) > 0.01
    assert new.any()
    assert new.nonzero()[0][[0, -1]] == pytest.approx([4.05 * RATE, 9 * RATE], abs=2 * RATE)
    assert take.samples[0, : 4 * RATE] == pytest.approx(before[: 4 * RATE], abs=1e-4)
    fact = re.search(r"4\.0 to ([\d.]+) s of riff\.wav made anew", told(done["takes"][0]["facts"]))
    assert fact is not None
    assert float(fact[1]) == pytest.approx(9, abs=2)
    assert done["takes"][0]["link"].endswith("&replaced=own")


def test_a_part_that_was_made_anew_is_not_made_again_unasked(
    studio: Studio, home: Home, riff: str
) -> None:
    shown = studio.bring(visitor(), riff, "replace")
    for end in (9.0, 9.0, 10.0):
        wanted = wish_at_home(own=({**shown, "from": 4.0, "to": end}, "replace"))
        assert list(studio.make(visitor(), None, *wanted))
    assert len(home.wishes) == 2


@pytest.mark.parametrize("use", ["continue_from", "melody"])
def test_a_take_with_ones_own_sound_is_opened_as_it_was_when_it_was_made(
    keeping: Studio, library: Library, riff: str, use: str
) -> None:
    own = ({**keeping.bring(visitor(), riff, use), "from": 4.0, "to": 9.0}, use)
    made = made_for(keeping, ME, *wish_at_home("melodious", own=own, duration=2))
    [entry] = library.search(ME["visitor"])
    opened = keeping.open_takes(visitor(), {**ME, "ids": [entry.id]})
    facts = {"melody": "melody of riff.wav · made in 1.0 s, 2.0× real time"}
    facts["continue_from"] = "goes on from riff.wav · made in 1.0 s, 2.0× real time"
    assert told(opened["takes"][0]["facts"]).endswith(facts[use])
    assert opened["takes"][0]["link"].endswith(f"&{use}=own")
    assert opened["begins"] == (5 if use == "continue_from" else 0)
    for field in ("title", "facts", "begins", "link", "wanted", "peaks"):
        assert opened["takes"][0][field] == made["takes"][0][field]


def test_the_winner_of_a_blind_comparison_becomes_a_favourite(
    keeping: Studio, library: Library
) -> None:
    done = made_for(keeping, ME, *wish_at_home(variations=2))
    winner = done["takes"][1]["kept"]
    keeping.choose_winner(visitor(), ME, gr.EventData(None, {"kept": winner}))
    assert [entry.id for entry in library.search(ME["visitor"], favourites=True)] == [winner]


@pytest.mark.parametrize("said", [None, {}, {"kept": 7}, {"kept": "unknown"}, {"kept": ["x"]}])
def test_a_winner_that_is_not_kept_changes_nothing(
    keeping: Studio, library: Library, said: Any
) -> None:
    made_for(keeping, ME, *wish_at_home())
    keeping.choose_winner(visitor(), ME, gr.EventData(None, said))
    assert library.search(ME["visitor"], favourites=True) == []


def test_a_wish_that_waits_has_no_key(studio: Studio) -> None:
    who = visitor()
    waiting = [*wish_at_home(seed=9)]
    waiting[1] = "a key that was typed for another place"
    note = studio.make_next(who, None, False, *waiting)
    assert [each["prompt"] for each in note["next"]] == [waiting[3]]
    kept = studio._visit(who).next.take()
    assert kept is not None
    assert "a key that was typed" not in str(kept.fields)
    assert studio.drop(who, {"id": 1})["next"] == []


@pytest.mark.parametrize(("keep_seed", "seeds"), [(False, 3), (True, 1)])
def test_the_same_wish_made_next_has_another_seed_unless_it_is_kept(
    studio: Studio, home: Home, keep_seed: bool, seeds: int
) -> None:
    who = visitor()
    # Two wait, as if they had been asked for while the first was made.
    for _ in range(2):
        studio.make_next(who, None, keep_seed, *wish_at_home(seed=9))
    press_generate(studio, who, *wish_at_home(seed=8))
    assert home.wishes[0].seed == 8
    assert home.wishes[1].seed == 9
    studio.make_next(who, None, keep_seed, *wish_at_home(seed=9))
    press_generate(studio, who, *wish_at_home(seed=8))
    assert len({wish.seed for wish in home.wishes if wish.seed != 8}) == seeds


def test_one_of_four_variations_is_not_made_again_unasked(keeping: Studio, home: Home) -> None:
    done = made_for(keeping, ME, *wish_at_home(seed=8, variations=4))
    [updates] = keeping.make(visitor(), ME, *wish_at_home(seed=10))
    assert updates[-1]["made"]["kept"] == [done["takes"][2]["kept"]]
    assert len(home.wishes) == 1
