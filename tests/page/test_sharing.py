"""Settings that leave the page and come back: recall, links, files, examples."""

from __future__ import annotations

import math
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_space.audio.files import FORMATS, encode, read_settings
from musicgen_space.backends.base import Backend
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest
from musicgen_space.page.examples.gallery import EXAMPLES, example, view_of_example
from musicgen_space.page.form.fields import FIELDS, LONGER
from musicgen_space.page.form.links import query_of, settings_in
from musicgen_space.page.form.recall import Recall, recalled
from musicgen_space.page.prompt.chips import VOCABULARY
from musicgen_space.request import LIMITS, TEXTS, MusicRequest
from musicgen_space.take import Take
from tests.page.test_session import Home, Hosted

RATE = 32000
KNOWN = (*TEXTS, *LIMITS, "model", "backend", "continue_from", "melody", "receipt")


@cache
def places() -> dict[str, Backend]:
    return {"hosted": Hosted(), "home": Home()}


@cache
def recall() -> Recall:
    fields = {name: gr.Textbox() for name in (*FIELDS, LONGER)}
    return Recall(places(), gr.Radio(), gr.Dropdown(), gr.Textbox(), fields, gr.State())


def query_back(settings: dict[str, Any]) -> dict[str, Any]:
    return settings_in(dict(parse_qsl(query_of(settings), strict_parsing=True)))


def clip() -> Clip:
    return Clip(np.ones((1, RATE), np.float32), RATE, "my secret hum.wav")


numbers = {
    name: (
        st.integers(int(limit.minimum), int(limit.maximum))
        if limit.whole
        else st.floats(limit.minimum, limit.maximum)
    )
    for name, limit in LIMITS.items()
}
texts = {"prompt": st.text(min_size=1), "negative_prompt": st.text(), "blend_prompt": st.text()}
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
anything = leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.text(), leaves, max_size=2)
names = st.sampled_from(["home", "hosted", "deaf", "melodious", "model", "elsewhere"])


@given(st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=9), anything | names))
def test_whatever_is_in_them_settings_come_back_within_the_limits(settings: dict[str, Any]) -> None:
    found = recalled(settings, places())
    for name, value in found.fields.items():
        assert name in (*TEXTS, *LIMITS)
        assert getattr(MusicRequest(**{"prompt": "jazz", name: value}), name) == value
    offered = {name: [each.name for each in place.models()] for name, place in places().items()}
    assert found.backend is None or found.backend in offered
    assert found.model is None or found.model in offered[str(found.backend)]
    given_back = recall()
    assert len(given_back.updates(settings)) == len(given_back.outputs)


@given(st.fixed_dictionaries({**texts, **numbers}))
def test_a_link_gives_back_every_setting(fields: dict[str, Any]) -> None:
    try:
        request = MusicRequest(**fields)
    except InvalidRequest:
        return
    settings = {**request.settings(), "model": "deaf", "backend": "home"}
    found = recalled(query_back(settings), places())
    assert (found.backend, found.model, found.notes) == ("home", "deaf", [])
    assert MusicRequest(**found.fields, model="deaf") == MusicRequest(**fields, model="deaf")


@pytest.mark.parametrize("length", [20, 47.5, 300])
def test_the_slider_goes_as_far_as_a_length_that_comes_back(length: float) -> None:
    updates = recall().updates({"duration": length})
    slider, longer = updates[3 + FIELDS.index("duration")], updates[3 + len(FIELDS)]
    assert slider["value"] == length
    assert (slider["maximum"], longer) == ((300, True) if length > 30 else (30, False))


@pytest.mark.parametrize(("query", "length"), [("extend_to=60", 60), ("extend_to=30", 20)])
def test_a_link_from_when_there_were_two_lengths_gives_the_one_it_meant(
    query: str, length: float
) -> None:
    found = recalled(settings_in(dict(parse_qsl(f"prompt=jazz&duration=20&{query}"))), places())
    assert (found.fields["duration"], found.notes) == (length, [])


@pytest.mark.parametrize("text", ["301", "ten", "nan"])
def test_a_length_in_an_old_link_that_is_none_is_told(text: str) -> None:
    found = recalled(settings_in({"extend_to": text}), places())
    assert "duration" not in found.fields
    assert len(found.notes) == 1


def test_a_link_is_short_and_says_what_the_take_is() -> None:
    request = MusicRequest("sad solo piano, slow", seed=7, temperature=0.9, model="musicgen-nano")
    settings = {**request.settings(), "backend": "local", "receipt": {"request_id": "secret"}}
    assert query_of(settings) == (
        "prompt=sad+solo+piano,+slow&seed=7&model=musicgen-nano&backend=local&temperature=0.9"
    )


def test_a_link_holds_nothing_of_a_visitors_own_sound() -> None:
    settings = MusicRequest("jazz", melody=clip()).settings()
    assert query_of(settings) == "prompt=jazz&seed=42&melody=own"
    [note] = recalled(query_back(settings), places()).notes
    assert note.startswith("It follows the melody of somebody's own sound: choose that again")


def test_a_query_without_settings_is_none() -> None:
    assert settings_in({"__theme": "dark", "view": "api", "key": "SG_0"}) == {}


@pytest.mark.parametrize("text", ["", "nan", "1e999", "-inf", "ten", "9" * 5000, "7.5"])
def test_a_number_in_a_link_that_is_none_is_told_and_left_out(text: str) -> None:
    found = recalled(settings_in({"seed": text, "top_p": "0.5"}), places())
    assert "seed" not in found.fields
    assert found.fields["top_p"] == 0.5
    assert len(found.notes) == 1


def test_what_settings_do_not_say_is_as_it_was_made_with() -> None:
    found = recalled({"seed": 7}, places())
    assert found.fields["temperature"] == LIMITS["temperature"].default
    assert found.fields["blend_prompt"] == ""
    assert "prompt" not in found.fields


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, (None, None, 0)),
        ({"model": "melodious"}, ("home", "melodious", 0)),
        ({"backend": "home"}, ("home", None, 0)),
        ({"backend": "home", "model": "model"}, ("home", None, 1)),
        ({"backend": "elsewhere", "model": "deaf"}, (None, None, 1)),
        ({"backend": ["home"], "model": math.nan}, (None, None, 1)),
    ],
)
def test_only_what_is_offered_here_is_chosen(named: dict[str, Any], expected: Any) -> None:
    found = recalled(named, places())
    assert (found.backend, found.model, len(found.notes)) == expected


def test_a_models_place_remembers_that_it_was_chosen() -> None:
    *_, chosen = recall().updates({"backend": "home", "model": "melodious"})
    assert chosen == {"hosted": "model", "home": "melodious"}


@pytest.mark.parametrize("ending", [*FORMATS])
def test_a_file_gives_back_every_setting(ending: str) -> None:
    request = MusicRequest("jazz <b>", seed=5, duration=60, negative_prompt="drums", variations=2)
    take = Take(np.zeros((1, RATE), np.float32), RATE, request, "home", "deaf", 1.0)
    found = recalled(read_settings(encode(take, ending)) or {}, places())
    assert MusicRequest(**found.fields) == request
    assert not found.notes


def test_settings_nested_without_end_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = '{"prompt": ' + "[" * 200_000
    monkeypatch.setattr("musicgen_space.audio.files.tag_texts", lambda source: [deep])
    assert read_settings(b"RIFF") is None


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_take_with_everything_to_make_it_again(name: str) -> None:
    take = example(f"example-{name}")
    assert take is not None
    assert take.duration == pytest.approx(10, abs=0.1)
    assert np.sqrt((take.samples**2).mean()) > 0.03
    shown = view_of_example(f"example-{name}")
    assert shown["title"] == take.request.prompt
    assert "model=musicgen-nano&backend=local" in shown["takes"][0]["link"]


@pytest.mark.parametrize("key", ["", "lo-fi", "example-", "example-../secret", "example-none"])
def test_there_are_no_other_examples(key: str) -> None:
    assert example(key) is None


def test_every_word_is_in_one_group_in_small_letters() -> None:
    words = [word for group in VOCABULARY.values() for word in group]
    assert len({*words}) == len(words)
    assert all(word == word.lower().strip() and "," not in word for word in words)
