"""The page's texts in other languages: all of them are there, and alike."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from musicgen_space.audio.mastering.loudness import LOUDNESS, TRUE_PEAK
from musicgen_space.errors import InvalidRequest, QueueFull, StoppedButBilled
from musicgen_space.message import Message, as_json, english
from musicgen_space.page.i18n.translate import LANGUAGES, say, tables, translations
from musicgen_space.page.prompt.chips import VOCABULARY
from musicgen_space.page.widget import source
from tests.page.page_texts import PAGE, first_of, texts
from tests.page.told import PLACE, told


def places(text: str) -> Counter[str]:
    """The places of a text with their formats; a language may have them in an order of its own."""
    return Counter(place[0] for place in PLACE.finditer(text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_has_all_texts_of_the_page_and_no_others(language: str) -> None:
    table = tables()[language]
    assert table.keys() - texts() == set()
    assert texts() - table.keys() == set()
    assert [text for text, translation in table.items() if not translation.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_places_of_its_text(language: str) -> None:
    for text, translation in tables()[language].items():
        assert places(translation) == places(text)
        assert not re.search(r"[{}]", PLACE.sub("", translation))


def test_every_message_is_named_in_full() -> None:
    """Else nobody would find out that one has no translation."""
    assert None not in first_of("Message")
    for file in PAGE.rglob("*.js"):
        if file.name != "translate.js":
            calls = re.findall(r"\btranslated\(\s*(.)", file.read_text("utf-8"))
            assert {*calls} <= {'"'}, file.name


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_for_the_prompt_stay_english(language: str) -> None:
    """Models know English: a chip's word goes into the prompt as it is."""
    assert not {word for group in VOCABULARY.values() for word in group} & tables()[language].keys()


def test_gradio_gets_all_tables() -> None:
    assert translations().translations_dict == tables()
    assert "__i18n__" in say("Generate")
    assert "translated" in source("i18n/translate.js")


def test_a_message_says_the_same_in_python_and_in_the_browser() -> None:
    what = Message("Loading {model}", model="{braces} & <b>")
    parts = [what, "seed 1", Message("{what} in {seconds:.1f} s", what=what, seconds=7)]
    line = "Loading {braces} & <b> · seed 1 · Loading {braces} & <b> in 7.0 s"
    assert english(parts) == told(json.loads(json.dumps(as_json(parts)))) == line


def test_an_error_says_the_same_in_logs_and_in_the_browser() -> None:
    error = StoppedButBilled()
    error.request_id = "job-1"
    assert "may still be billed. (The job's id at Segmind: job-1.)" in str(error)
    for each in (error, QueueFull(3), QueueFull(1, own=True), InvalidRequest("seed", 1, "is bad")):
        assert told(as_json(each.told)) == str(each)


def test_the_loudness_that_the_page_names_is_the_one_of_a_finish() -> None:
    [text] = [text for text in texts() if text.startswith("Towards")]
    named = re.findall(r"−(\d+) (?:LUFS|dBTP)", text)
    assert [int(number) for number in named] == [-LOUDNESS, -TRUE_PEAK]
