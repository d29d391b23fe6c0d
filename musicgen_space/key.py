"""An API key that nobody shows by mistake: not in a repr, a log, a pickle or a traceback."""

from __future__ import annotations

import re
import unicodedata
from typing import NoReturn

from musicgen_space.errors import UnusableKey

__all__ = ["MAX_KEY_CHARACTERS", "ApiKey"]

MAX_KEY_CHARACTERS = 500  # Segmind's keys have 19; a pasted page of text is no key


class ApiKey:
    """A key that one HTTP header can carry; spaces around it are dropped.

    Its shape is left to the server to judge. Raises ``UnusableKey``, whose text does not
    show the key, when it is empty, too long, or cannot be sent in a header.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = _checked(text)

    def reveal(self) -> str:
        """The key itself; for the request header only."""
        return self.__text

    def redact(self, text: str) -> str:
        """``text`` with every occurrence of the key replaced."""
        return re.sub(re.escape(self.__text), "[key]", text, flags=re.IGNORECASE)

    def redact_bytes(self, data: bytes) -> bytes:
        """``data`` with every occurrence of the key replaced."""
        return data.replace(self.__text.encode("latin-1"), b"[key]")

    def __repr__(self) -> str:
        return "ApiKey(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and other.__text == self.__text

    def __hash__(self) -> int:
        return hash(self.__text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not written anywhere")

    def __copy__(self) -> ApiKey:
        return self

    def __deepcopy__(self, memo: object) -> ApiKey:
        return self


def _checked(text: object) -> str:
    text = text.strip() if isinstance(text, str) else ""
    if not text:
        raise UnusableKey("There is no Segmind key. Enter one, or choose another backend.")
    if len(text) > MAX_KEY_CHARACTERS:
        raise UnusableKey(
            f"The key is longer than {MAX_KEY_CHARACTERS} characters: paste only the key."
        )
    if any(ord(character) > 255 or unicodedata.category(character) == "Cc" for character in text):
        raise UnusableKey("The key has characters that cannot be sent: copy it again.")
    return text
