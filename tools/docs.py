"""Writes the pages of documentation that are made of the code: ``python -m tools.docs``."""

from __future__ import annotations

from pathlib import Path

from musicgen_space.request import ABOUT, CLIP_LIMITS, LIMITS, MAX_PROMPT_CHARACTERS, TEXTS
from musicgen_space.settings import VARIABLES, default_of

__all__ = ["pages"]

DOCS = Path(__file__).parent.parent / "docs"

_SETTINGS = """# Settings

Written from the code by `make docs`.

| variable | default | meaning |
|---|---|---|
{variables}

An empty variable means the default. Downloads and Segmind go through the proxies that `HTTP_PROXY`,
`HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name, HTTP or SOCKS 5; what is on this machine never does.

## Limits of a request

| field | range | default | meaning |
|---|---|---|---|
{fields}
"""


def pages() -> dict[str, str]:
    """Each page's file name and text."""
    return {"settings.md": _SETTINGS.format(variables=_variables(), fields=_fields())}


def _variables() -> str:
    return "\n".join(
        f"| `{each.name}` | {default_of(field)} | {each.about} |"
        for field, each in VARIABLES.items()
    )


def _fields() -> str:
    texts = [
        f"| `{name}` | {_length(name)} | {'required' if name == TEXTS[0] else 'none'} "
        f"| {ABOUT[name]} |"
        for name in TEXTS
    ]
    numbers = [
        f"| `{name}` | {limit.range} | {limit.default:g} | {ABOUT[name]} |"
        for name, limit in LIMITS.items()
    ]
    clips = [
        f"| `{name}` | {limit.range} | none | {ABOUT[name]} |"
        for name, limit in CLIP_LIMITS.items()
    ]
    return "\n".join([*texts, *numbers, *clips])


def _length(name: str) -> str:
    least = "1 to" if name == TEXTS[0] else "up to"
    return f"{least} {MAX_PROMPT_CHARACTERS:,} characters"


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
