from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from musicgen_space.engine.conditioners.alphabet import EMBEDDED, T5, remark
from musicgen_space.engine.conditioners.t5 import TextEncoder
from musicgen_space.models import embedded_folder

# Latin, Greek and Cyrillic letters; Hebrew, Arabic; Thai; signs; kana, Chinese, Korean; wide
# forms; emoji.
SCRIPTS = (
    *(range(0x21, 0x7F), range(0xA1, 0x250), range(0x386, 0x530), range(0x5D0, 0x5EB)),
    *(range(0x620, 0x64B), range(0xE01, 0xE31), range(0x1E00, 0x1F00), range(0x2010, 0x2027)),
    *(range(0x20A0, 0x20BE), range(0x2100, 0x2150), range(0x2190, 0x2300), range(0x2600, 0x2700)),
    *(range(0x3041, 0x3097), range(0x30A1, 0x30FB), range(0x4E00, 0x9FA6)),
    *(range(0xAC00, 0xD7A4), range(0xFF01, 0xFF5F), range(0x1F300, 0x1F600)),
)
MARKS = "".join(map(chr, range(0x300, 0x345)))  # accents for the letter before them


@pytest.fixture(scope="module")
def embedded() -> Callable[[str], list[int]]:
    """The tokenizer of the model that comes with the page."""
    tokenizer = Tokenizer.from_file(str(embedded_folder() / "tokenizer.json"))
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lo-fi with 吉他 and 音乐, 音乐", "吉他, 音乐"),
        ("一段舒缓的lo-fi音乐", "一段舒缓的, 音乐"),
        ("музыка для piano", "музыка, для"),
        ("jazz 🎸🎹 with 👩‍🎤", "🎸🎹, 👩‍🎤"),
        ("F♯ minor", "♯"),
        ("a naïve melody", "naïve"),
        ("not ñ ã å ø í ú ì", "ñ, ã, å, ø, í, …"),
        (f"jazz {'音' * 100}", f"{'音' * 23}…"),
    ],
)
def test_what_t5_does_not_know_of_a_text_is_named(text: str, named: str) -> None:
    assert str(remark(text, T5.knows)) == f"The model does not know: {named}"


@pytest.mark.parametrize("text", ["音乐", "음악, 기타!", "🎸", "موسيقى هادئة", "~ {}", "音乐 ..."])
def test_a_text_that_says_nothing_to_t5_is_told_as_such(text: str) -> None:
    assert str(remark(text, T5.knows)).startswith("The model knows nothing of this")


@pytest.mark.parametrize(
    "text",
    [
        *("upbeat funk (4/4), 120 bpm ~ C# minor", "LOUD", "sanfte Flöte, très doux, größer"),
        *("Café", "Cafe\u0301", "ｆｕｌｌ　ｗｉｄｔｈ", "① ﬁne", "соната", "...", ""),
        "\u200bsoft\u00adly \u202ejazz\ufeff",
    ],
)
def test_nothing_is_told_of_what_t5_knows(text: str) -> None:
    assert remark(text, T5.knows) is None


def test_the_embedded_models_alphabet_is_its_tokenizers(
    embedded: Callable[[str], list[int]],
) -> None:
    """2 is what an unknown character becomes."""
    others = []
    for code in chain.from_iterable(SCRIPTS):
        word = f"a{chr(code)}a"
        if EMBEDDED.knows(word) != (2 not in embedded(word)):
            others.append(chr(code))
    # Nobody types these; they are spaces and accents to one of the two.
    assert [each for each in others if each.isalnum()] == []


@given(st.text(st.sampled_from([*map(chr, chain.from_iterable(SCRIPTS)), *"abc, -#.字к", *MARKS])))
def test_something_is_told_just_where_a_word_is_lost(
    embedded: Callable[[str], list[int]], text: str
) -> None:
    if remark(text, EMBEDDED.knows):
        assert 2 in embedded(text)
    else:
        words = "".join(each if each.isalnum() else " " for each in text)
        assert 2 not in embedded(words)


def test_texts_that_differ_in_what_is_not_known_are_one_to_the_model(
    embedded: Callable[[str], list[int]],
) -> None:
    assert embedded("音乐") != []
    assert embedded("calm 音乐") == embedded("calm 吉他")


def test_what_a_checkpoints_own_tokenizer_knows_is_up_to_that() -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder(), local_files_only=True)
    knows = TextEncoder(tokenizer, torch.nn.Identity()).reader()
    assert [knows(word) for word in ("jazz", "Café", "音乐", "naïve🎸")] == [
        True,
        True,
        False,
        False,
    ]
    tokenizer.add_tokens(["音乐"])
    assert not knows("音乐")  # another's, since
    assert TextEncoder(tokenizer, torch.nn.Identity()).reader()("音乐")


def test_a_text_is_read_to_its_end_whatever_length_its_tokenizer_was_saved_with(
    tmp_path: Path,
) -> None:
    """Trainers cut their captions, and leave so in the tokenizer's file."""
    saved = json.loads((embedded_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**saved, "truncation": cut}))
    shutil.copy(embedded_folder() / "tokenizer_config.json", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    long = "calm " * 190 + "piano"
    read: list[int] = []

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            read.extend(ids[0].tolist())
            raise EOFError

    with pytest.raises(EOFError):
        TextEncoder(tokenizer, Encoder()).encode([long])
    assert len(read) > 190
    assert tokenizer.decode(read[-2]) == "piano"
