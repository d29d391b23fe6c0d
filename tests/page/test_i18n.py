"""The page's texts in other languages: complete, alike, and found again by the browser's rules."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from musicgen_space.audio.loudness import LOUDNESS, TRUE_PEAK
from musicgen_space.backends.audiocraft.backend import AudioCraftBackend
from musicgen_space.backends.base import Loading, Progress, Waiting
from musicgen_space.backends.local.backend import LocalBackend
from musicgen_space.backends.segmind.backend import SegmindBackend
from musicgen_space.clip import Clip
from musicgen_space.page.clip.picker import _ABOUT
from musicgen_space.page.examples.gallery import view_of_example
from musicgen_space.page.form.chips import VOCABULARY
from musicgen_space.page.i18n.translate import LANGUAGES, TOLD, say, tables, translations
from musicgen_space.page.player.finishing import Finishing
from musicgen_space.page.player.player import facts, names, view_of_takes
from musicgen_space.page.player.progress import words
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.page.takes import library_panel, own_takes
from musicgen_space.page.widget import source
from musicgen_space.request import MusicRequest
from musicgen_space.take import Finish, Receipt, Take
from tests.page.page_texts import PAGE, texts

GAP = re.compile(r"\{n?\}")
NUMBER = r"[-−]?\d[\d.:]*(?:e[-+]?\d+)?"
RATE = 32000


def known(text: str) -> bool:
    """Whether the browser can tell each part of ``text`` again, by the rules of languages.js."""
    return all(map(_known_part, text.split(" · ")))


def _known_part(part: str) -> bool:
    shapes = (
        "".join({"{n}": NUMBER, "{}": ".+"}.get(piece, re.escape(piece)) for piece in pieces)
        for pieces in (re.split(r"(\{n?\})", text) for text in TOLD)
    )
    return any(re.fullmatch(shape, part, re.DOTALL) for shape in shapes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_has_all_texts_of_the_page_and_no_others(language: str) -> None:
    table = tables()[language]
    assert table.keys() - texts() == set()
    assert texts() - table.keys() == set()
    assert [text for text, translation in table.items() if not translation.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_gaps_of_its_text_in_their_order(language: str) -> None:
    table = tables()[language]
    assert {t: GAP.findall(t) for t in table} == {t: GAP.findall(table[t]) for t in table}
    assert not [text for text in table.values() if text.count("{") != len(GAP.findall(text))]


@pytest.mark.parametrize("language", LANGUAGES)
def test_tags_in_a_text_are_in_its_translation(language: str) -> None:
    tag = re.compile(r"<[^>]*>")
    for text, translation in tables()[language].items():
        assert tag.findall(text) == tag.findall(translation)


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_for_the_prompt_stay_english(language: str) -> None:
    """Models know English: a chip's word goes into the prompt as it is."""
    assert not {word for group in VOCABULARY.values() for word in group} & tables()[language].keys()


def test_scripts_name_their_texts_in_full() -> None:
    """Else nobody would find out that one has no translation."""
    for file in PAGE.rglob("*.js"):
        if file.name != "translate.js":
            calls = re.findall(r"\btranslated\(\s*(.)", file.read_text("utf-8"))
            assert {*calls} <= {'"'}, file.name


def test_gradio_gets_all_tables() -> None:
    assert translations().translations_dict == tables()
    assert "__i18n__" in say("Generate")
    assert "translated" in source("i18n/translate.js")


@pytest.mark.parametrize(
    "status",
    [
        words(Waiting(1)),
        words(Waiting(3), takes=4),
        words(Loading("Loading musicgen-nano")),
        words(Loading("Downloading facebook/musicgen-small: 0.2 of 2.4 GB", 0.1)),
        words(Loading("Waiting in Segmind's queue · 12 s")),
        words(Progress(0.0, 10, 0.2)),
        words(Progress(7.2, 10, 4.0), takes=4),
        words(Progress(47.3, 300, 47.3)),
        words(Progress(250, 300, 250)),
        view_of_example()["status"],
    ],
)
def test_every_status_can_be_told_again(status: str) -> None:
    assert known(status)


def test_facts_of_takes_can_be_told_again() -> None:
    sound = np.zeros((1, 2 * RATE), np.float32)
    clip = Clip(np.zeros((1, RATE), np.float32), RATE, "riff: no. 1.wav")
    request = MusicRequest("jazz", continue_from=clip, melody=clip)
    take = Take(sound, RATE, request, "local", "seed 1", 2.0)
    receipt = Receipt(request_id="abc", cost=0.04, generation_seconds=21.5)
    long = dataclasses.replace(take, samples=np.zeros((1, 90 * RATE), np.float32), stopped=True)
    for each in (take, dataclasses.replace(take, receipt=receipt), long):
        assert known(facts(each))
    other = dataclasses.replace(take, request=MusicRequest("jazz", seed=7))
    assert all(map(known, names([take, other])))
    assert known(view_of_takes([take], "key")["announcement"])
    assert known(view_of_takes([take, other], "key")["announcement"])


def test_what_a_finish_did_can_be_told_again() -> None:
    shelf = Shelf()
    key = shelf.start()
    time = np.arange(4 * RATE) / RATE
    sound = (0.2 * np.sin(880 * time) * (time < 3))[None].astype(np.float32)
    shelf.finish(key, [Take(sound, RATE, MusicRequest("jazz"), "local", "nano", 1.0)])
    finish = Finish(normalise=True, trim=True, fade_in=0.5, fade_out=2)
    [heard] = Finishing(shelf).heard([f"{key}/0"], finish) or []
    assert len(heard["notes"]) == 4
    assert all(map(known, heard["notes"]))


def test_what_a_place_says_of_itself_can_be_told_again() -> None:
    for place in (LocalBackend, SegmindBackend, AudioCraftBackend):
        assert f"{place.label}: {place.about}." in TOLD


def test_what_is_said_of_ones_own_sound_and_takes_can_be_told_again() -> None:
    said = [_ABOUT, own_takes._GONE, own_takes._NOBODY, own_takes._NO_ROOM]
    said += [library_panel._ABOUT_OWN, library_panel._ABOUT_SHARED]
    said += [library_panel._NOT_KEPT, library_panel._NOT_KEPT_SHARED]
    assert {*said} <= {*TOLD}
    assert known(Clip(np.zeros((1, 8)), RATE, lowered=11.1).note)
    source = (PAGE / "takes/own_takes.py").read_text(encoding="utf-8")
    assert {*re.findall(r'"trouble": "([^"]+)"', source)} <= {*TOLD}


def test_the_loudness_that_the_page_names_is_the_one_of_a_finish() -> None:
    [text] = [text for text in texts() if text.startswith("Towards")]
    named = re.findall(r"−(\d+) (?:LUFS|dBTP)", text)
    assert [int(number) for number in named] == [-LOUDNESS, -TRUE_PEAK]
