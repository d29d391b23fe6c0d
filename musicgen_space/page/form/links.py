"""Settings as the query of a link, and back: ``?prompt=sad+solo+piano&seed=7&…``.

Only what makes the music is in there: never a key, nothing of whoever made the link, and
of their own sound no more than that there was one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from musicgen_space.request import LIMITS, TEXTS, upgraded
from musicgen_space.take import OWN_SOUNDS

__all__ = ["query_of", "settings_in"]

_ALWAYS = ("prompt", "seed", "model", "backend")  # what a take is, at a glance
_OLDER = "extend_to"  # in links of earlier versions
_CLIP = "own"  # in place of a sound that is not in the link


def query_of(settings: Mapping[str, Any]) -> str:
    """The query for ``settings``, without "?": what differs from the defaults."""
    pairs = [(name, _written(settings[name])) for name in _ALWAYS if settings.get(name) is not None]
    pairs += [
        (name, _written(settings[name]))
        for name, default in _DEFAULTS.items()
        if name not in _ALWAYS and settings.get(name, default) != default
    ]
    pairs += [(name, _CLIP) for name in OWN_SOUNDS if settings.get(name)]
    return urlencode(pairs, safe="/,:")


def settings_in(query: Mapping[str, str]) -> dict[str, Any]:
    """The settings that a query names; unchecked, empty where it names none."""
    texts = {name: str(query[name]) for name in (*TEXTS, "model", "backend") if name in query}
    numbers = {name: _read(str(query[name])) for name in (*LIMITS, _OLDER) if name in query}
    clips = {name: _CLIP for name in OWN_SOUNDS if name in query}
    return texts | upgraded(numbers) | clips


_DEFAULTS: dict[str, Any] = {
    **{name: limit.default for name, limit in LIMITS.items()},
    **dict.fromkeys(TEXTS, ""),
}


def _written(value: Any) -> str:
    """A value without the ".0" that whole floats have."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _read(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text  # whoever checks it says what is wrong
    return int(number) if number.is_integer() else number
