"""What a piece is called: one sentence of its style, mood, instruments and tempo."""

from __future__ import annotations

from random import Random

from training.music.styles import Style

__all__ = ["DRUM_WORDS", "caption"]

DRUM_WORDS = ("drums", "a drum beat", "percussion", "beats", "a steady beat")

_MODE_MOODS = {
    "minor": ("sad", "melancholic", "dark", "somber", "moody", "emotional"),
    "major": ("happy", "bright", "cheerful", "uplifting", "joyful", "warm"),
}
_KINDS = (
    "music",
    "track",
    "song",
    "tune",
    "piece",
    "instrumental",
    "beat",
    "loop",
    "background music",
)
# A sentence → how often it is chosen.
_SENTENCES = {
    "{style}": 2,
    "{style} music": 2,
    "{mood} {style}": 3,
    "{mood} {style} {kind}": 4,
    "{style} {kind} with {first}": 3,
    "{style} {kind} with {first} and {second}": 3,
    "a {mood} {style} {kind} with {first} and {second}": 4,
    "{mood}, {mood2} {style} {kind}": 2,
    "{style} with a {mood} melody": 3,
    "{style} music with a {mood} melody": 4,
    "{tempo} {style} {kind}": 2,
    "{style}, {mood}, {tempo}, {first}": 2,
    "{style}, {first}, {second}, {mood}, {bpm} bpm": 2,
    "{style} at {bpm} bpm": 1,
    "{first} playing {mood} {style}": 2,
    "{mood} {first} melody, {style}": 2,
    "{mood} and {mood2} {kind} featuring {first}": 2,
    "an instrumental {style} {kind} that is {mood} and {mood2}, {tempo}": 2,
    "{style} in a {mode} key, {mood}": 1,
    "{tempo} {kind} with {first}, {style} style": 1,
    "{first} and {second}, {style}": 1,
    "{mood} {kind} in the style of {style}": 1,
    "{first}": 0.6,
    "{mood} {first}": 0.8,
}
_SOLOS = ("solo {first}", "{mood} solo {first}", "{first} solo, {mood}")
_EXTRAS = (", high quality", ", instrumental", " for a video", " for studying", " soundtrack")


def caption(
    random: Random,
    style: Style,
    bpm: int,
    mode: str,
    instruments: list[str],
    *,
    solo: bool,
    drums: bool,
) -> str:
    """A caption that names some of what is true of the piece.

    The order of the draws is part of what a seed means.
    """
    words = {"style": random.choice(style.names), "bpm": str(bpm), "mode": mode}
    words["mood"], words["mood2"] = random.choice(style.moods), random.choice(style.moods)
    if random.random() < 0.25:
        words["mood"] = random.choice(_MODE_MOODS.get(mode, style.moods))
    names = list(dict.fromkeys(instruments))
    random.shuffle(names)
    words["tempo"] = random.choice(_tempo_words(bpm))
    words["first"], words["second"] = (names * 2 or ["synth"] * 2)[:2]
    words["kind"] = random.choice(_KINDS)
    [sentence] = random.choices(list(_SENTENCES), list(_SENTENCES.values()))
    ending = ""
    if solo and random.random() < 0.4:
        sentence = random.choice(_SOLOS)
    elif not drums and random.random() < 0.1:
        ending = ", no drums"
    if mode in _MODE_MOODS and random.random() < 0.08:
        ending += f", {mode} key"
    if random.random() < 0.1:
        ending += f", {bpm} bpm"
    if random.random() < 0.12:
        ending += random.choice(_EXTRAS)
    return sentence.format_map(words) + ending


def _tempo_words(bpm: int) -> tuple[str, ...]:
    if bpm < 82:
        return ("slow", "slow tempo", "slow-paced")
    if bpm < 115:
        return ("mid-tempo", "moderate tempo")
    return ("fast", "upbeat tempo", "fast tempo", "fast-paced")
