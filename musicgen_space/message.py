"""What is said to people: an English text with places in it, and the values for them.

A message travels as data and becomes words where somebody reads it: English ones by ``str`` (the
command line, programs, logs), those of a visitor's language in the browser, by the tables in
``page/i18n``. So nothing that makes a message knows who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, TypeAlias

__all__ = ["Message", "Text", "as_json", "english"]


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """``Message("{seconds:.1f} s left", seconds=7.25)``: its ``id`` is what tables know it by.

    Numbers have a format in their place; languages write their decimals in different ways.
    A place without a format shows its value as it is, and a message in the reader's language.
    """

    id: str
    values: dict[str, Any] = field(hash=False)

    def __init__(self, id: str, /, **values: str | float | Message) -> None:
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return self.id.format(**self.values)


# A message, or what reads the same in every language: a name, somebody's own words.
Text: TypeAlias = Message | str

_BETWEEN = " · "  # also in translate.js


def english(parts: Sequence[Text]) -> str:
    """Several texts as one English line."""
    return _BETWEEN.join(map(str, parts))


def as_json(said: Text | Sequence[Text]) -> Any:
    """What the function ``told`` of the page's scripts takes: numbers are written out in it."""
    if isinstance(said, str):
        return said
    if not isinstance(said, Message):
        return [as_json(each) for each in said]
    places = {name: form or "" for _, name, form, _ in Formatter().parse(said.id) if name}
    return {
        "id": said.id,
        "values": {
            name: as_json(value) if isinstance(value, Message) else format(value, places[name])
            for name, value in said.values.items()
        },
    }
