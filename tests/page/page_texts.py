"""All texts of the page that are to be translated, as they stand in its source."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

from musicgen_space.page.examples.gallery import EXAMPLES
from musicgen_space.page.prompt.chips import VOCABULARY

SOURCE = Path(__file__).parents[2] / "musicgen_space"
PAGE = SOURCE / "page"
ATTRIBUTES = {"aria-label", "title", "placeholder", "alt"}


def texts() -> set[str]:
    """The English of everything that the tables must have."""
    said = {text for text in first_of("say") if text is not None}
    messages = {text for text in first_of("Message") if text is not None}
    return said | messages | translated() | written() | {*VOCABULARY, *EXAMPLES.values()}


def first_of(function: str) -> list[str | None]:
    """What stands first in each call of a function; None: no literal."""
    calls = (
        node
        for module in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function
    )
    firsts = [call.args[0] for call in calls]
    return [arg.value if isinstance(arg, ast.Constant) else None for arg in firsts]


def translated() -> set[str]:
    """What is passed to the scripts' ``translated``."""
    literal = re.compile(r'\btranslated\(\s*"([^"]+)"')
    return {
        text for file in PAGE.rglob("*.js") for text in literal.findall(file.read_text("utf-8"))
    }


def written() -> set[str]:
    """What stands in the widgets' HTML."""
    found: set[str] = set()
    for file in PAGE.rglob("*.html"):
        reader = _Reader()
        reader.feed(file.read_text(encoding="utf-8"))
        found |= reader.texts
    return found


class _Reader(HTMLParser):
    """Collects texts and attributes that have words of people in them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: set[str] = set()
        self._key = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._key = tag == "kbd"
        for name, value in attrs:
            if name in ATTRIBUTES:
                self._add(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._key = False

    def handle_data(self, data: str) -> None:
        if not self._key:
            self._add(data)

    def _add(self, text: str) -> None:
        if re.search(r"[A-Za-z]", re.sub(r"\{\{.*?\}\}", "", text)):
            self.texts.add(text.strip())
