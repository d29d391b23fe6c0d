"""The page in other languages: English text → translation, one file for each beside this one.

Gradio's components get their texts from ``say``, the widgets' scripts theirs from
``translated`` (``translate.js``). What the server puts together while it works (statuses,
facts about takes) goes out in English, and the browser tells it again by the shapes in
``TOLD``. So the server never needs to know who reads, and what no table has stays English.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import gradio as gr

from musicgen_space.engine.conditioners.alphabet import NOTHING, PARTLY

__all__ = ["LANGUAGES", "TOLD", "say", "tables", "translations"]

LANGUAGES = ("de", "es", "fr", "zh-CN")  # and English

_HERE = Path(__file__).parent
_mark = gr.I18n()

# What Python writes into the page while it works; {n} is a number or a clock, {} any text.
TOLD = (
    # the player's status
    "Getting ready",
    "You are next.",
    "Place {n} in the queue.",
    "Loading {} …",
    "Downloading {}: {n} of {n} GB …",
    "Starting AudioCraft …",
    "Connecting",
    "Sending the request to Segmind",
    "Waiting in Segmind's queue",
    "Segmind is making the music",
    "Segmind is working",
    "Fetching the music",
    "{n} s …",
    "{n} takes at once",
    "{n} of {n} s",
    "{n} of {n}",
    "{n}× real time",
    "{n} s left",
    "{n} left",
    "The take is ready.",
    "{n} takes are ready.",
    "An example, made by {}",
    "Stopped before there was any sound.",
    "Something went wrong here, not with your prompt. Please try again.",
    "Not kept in your takes, so download it.",
    # facts about a take
    "seed {n}",
    "{n} s (stopped)",
    "{n} (stopped)",
    "{n} s",
    "goes on from {}",
    "melody of {}",
    "made in {n} s, {n}× real time",
    "made in {n} s",
    "cost {n} credits",
    "{n} credits",
    "request {}",
    # a finish
    "{n} s of its tail cut off",
    "no tail to cut off",
    "fade-in {n} s",
    "fade-out {n} s",
    "now {n} LUFS",
    "now {n} LUFS, as far as its peaks allow",
    # where the music is made, and the money
    "This machine",
    "This machine: free, private, speed of your hardware.",
    "AudioCraft: the original code, for comparison; no sound before the end.",
    "Segmind: hosted, about 22 seconds and $0.04 a take.",
    "Segmind: hosted, about 22 seconds and $0.04 a take. It is on the owner of this page.",
    "Segmind: hosted, about 22 seconds and $0.04 a take, <strong>{n} credits</strong> left.",
    # what a model can't read
    PARTLY,
    NOTHING,
    # your own sound
    "A song, a hummed tune, a riff: choose a file of up to 10 minutes, or record one.",
    "Not on {}.",
    "Its peaks were {n} dB above full scale, so all of it was made quieter.",
    # your takes
    "Kept on this machine until you delete them, or until their room is used up.",
    "Kept on this page's server, for this browser only, until you delete them or until their "
    "room is used up.",
    "Takes are not kept at the moment; what the app printed when it started says why.",
    "Takes are not kept here at the moment: download what you like.",
    "New takes can't be kept at the moment: the disk is full or read-only. Deleting some makes "
    "room.",
    "This take is not there any more.",
    "This page doesn't know whose takes to show: reload it.",
    "There is nothing to export.",
    "Other takes are being packed: try again in a moment.",
    "The server has no room for that at the moment.",
)


def say(text: str) -> str:
    """``text`` so that Gradio's components show it in the visitor's language.

    It can stand in a longer string, once.
    """
    return str(_mark(text))


def translations() -> gr.I18n:
    """All tables, for ``launch``."""
    return gr.I18n(**tables())


@cache
def tables() -> dict[str, dict[str, str]]:
    """By language, English text → translation."""
    return {
        name: json.loads((_HERE / f"{name}.json").read_text(encoding="utf-8")) for name in LANGUAGES
    }
