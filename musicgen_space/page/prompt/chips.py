"""Words to build a prompt from, and the chips that put them into it.

The chips' parts lie beside this file: ``chips.html`` (structure), ``chips.js`` (behaviour),
``prompt.css`` (looks).
"""

from __future__ import annotations

import gradio as gr

from musicgen_space.page.form.fields import QUIET
from musicgen_space.page.widget import widget
from musicgen_space.request import MAX_PROMPT_CHARACTERS

__all__ = ["VOCABULARY", "prompt_words"]

# Words of musicgen-nano's captions, all of them plain enough for any MusicGen.
VOCABULARY: dict[str, tuple[str, ...]] = {
    "Genre": (
        *("lo-fi", "jazz", "blues", "funk", "rock", "heavy metal", "pop", "folk", "country"),
        *("techno", "house", "synthwave", "drum and bass", "hip hop", "reggae", "bossa nova"),
        *("ambient", "orchestral", "baroque", "chiptune", "waltz"),
    ),
    "Mood": (
        *("happy", "sad", "calm", "energetic", "relaxed", "romantic", "dark", "dreamy", "epic"),
        *("playful", "nostalgic", "melancholic", "mysterious", "hopeful", "soothing", "groovy"),
        *("gentle", "powerful", "festive", "eerie"),
    ),
    "Instruments": (
        *("piano", "electric piano", "acoustic guitar", "distorted guitar", "slap bass", "drums"),
        *("strings", "violin", "flute", "saxophone", "trumpet", "brass", "organ", "synthesizer"),
        *("harp", "choir", "music box"),
    ),
    "Tempo": ("slow", "mid-tempo", "fast", "laid-back", "driving", "a steady beat", "no drums"),
}


def prompt_words(prompt: gr.Textbox) -> gr.HTML:
    """Chips below the prompt, whose text they have as value: pressed where the word is in it."""
    chips = widget(
        "",
        "prompt/chips.html",
        "roving.js",
        "prompt/chips.js",
        groups=[{"name": name, "words": words} for name, words in VOCABULARY.items()],
        most=MAX_PROMPT_CHARACTERS,
        elem_id="words",
    )
    # Neither asks the server.
    prompt.change(None, prompt, chips, js="(text) => text", **QUIET)
    chips.input(None, chips, prompt, js="(text) => text", **QUIET)
    return chips
