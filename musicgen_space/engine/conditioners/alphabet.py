"""What of a text a model can read, and what to tell somebody whose text it can't.

A tokenizer without a piece for a character reads ``<unk>`` in its place. Two texts that differ in
such characters only are one text to the model, and give the same music.

This module knows the alphabets of T5 and of the embedded model. Those of other checkpoints are
known once they are loaded: from their tokenizer, as another ``Knows``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from string import ascii_letters, ascii_lowercase, digits

from musicgen_space.message import Message
from musicgen_space.request import shortened

__all__ = ["EMBEDDED", "T5", "Alphabet", "Knows", "remark"]

# Whether a model knows all characters of a word.
Knows = Callable[[str], bool]

_MOST_NAMED = 5
_LONGEST_NAME = 24  # characters

_BETWEEN = "between"  # what only separates words


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The ``characters`` of a tokenizer's pieces, once a text is ``simplified`` as it does."""

    characters: frozenset[str]
    simplified: Callable[[str], str]

    def knows(self, word: str) -> bool:
        """Whether no character of ``word`` is lost. What can't be seen doesn't count."""
        return all(
            character in self.characters
            for character in self.simplified(word)
            if not character.isspace() and unicodedata.category(character) != "Cf"
        )


def _composed(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _plain(text: str) -> str:
    """In lower case and without accents."""
    lower = unicodedata.normalize("NFKD", text).lower()
    return "".join(each for each in lower if unicodedata.category(each)[0] != "M")


# All 141 of the 32,000 pieces that every T5 and Flan-T5 has (google-research/text-to-text-transfer-
# transformer, vocabulary cc_all.32000): English, German, French and Romanian but for their rarer
# capitals, and fourteen Cyrillic letters.
T5 = Alphabet(
    frozenset(
        ascii_letters
        + digits
        + "!\"#$%&'()*+,-./:;=>?@[]_|–—‘’“”„•′«»£€®°\xad"
        + "ÉÎÜßàáâäçèéêîóôöùûüăşţșț"
        + "авдеиклмнорсту"
    ),
    _composed,
)

# Those of musicgen-nano's tokenizer.json.
EMBEDDED = Alphabet(frozenset(ascii_lowercase + digits + "!&',-.?"), _plain)


def remark(text: str, knows: Knows) -> Message | None:
    """What to tell of a text that a model does not know, or not all of: names it. Else None."""
    words = [*_words(text)] or text.split()
    unknown = [word for word in words if not knows(word)]
    if not unknown:
        return None
    # Of a word of which it knows some letters, it makes something.
    lost = len(unknown) == len(words) and not any(
        knows(character) for word in words for character in word if character.isalnum()
    )
    named = _listed(unknown)
    if not lost:
        return Message("The model does not know: {words}", words=named)
    return Message(
        "The model knows nothing of this, so the music does not follow it: {words}. Try English.",
        words=named,
    )


def _listed(words: list[str]) -> str:
    """Each once, the first of them, as one line."""
    names = [shortened(word, _LONGEST_NAME) for word in dict.fromkeys(words)]
    return ", ".join([*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])])


def _words(text: str) -> Iterator[str]:
    """Words and signs, without what is between them.

    Latin letters and others are never one word: Chinese has no spaces.
    """
    kind = _BETWEEN
    kinds = []
    for character in text:
        kind = _kind(character) or kind
        kinds.append(kind)
    for kind, group in groupby(zip(kinds, text, strict=True), key=lambda pair: pair[0]):
        if kind != _BETWEEN:
            yield "".join(character for _, character in group)


def _kind(character: str) -> str:
    """What a character begins or goes on with; "" where it belongs to the one before it."""
    category = unicodedata.category(character)
    if category[0] == "M" or category in ("Cf", "Sk"):  # accents, joiners, shades of emoji
        return ""
    if character == "#":  # in music it says something
        return "sign"
    if category[0] in "ZPC" or (character.isascii() and not character.isalnum()):
        return _BETWEEN
    if category[0] == "S":
        return "sign"
    name = unicodedata.name(_composed(character)[0], "")
    return "latin" if name.startswith(("LATIN", "DIGIT")) else "other"
