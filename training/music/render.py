"""Notes become sound: a soundfont's instruments, mixed to one channel."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.music.compose import BASS, COMPING, DRUMS, LEAD, Note, Piece

if TYPE_CHECKING:
    import tinysoundfont

__all__ = ["SAMPLE_RATE", "render"]

SAMPLE_RATE = 32_000  # Hz
_LOUDNESS = 0.12  # root mean square of every piece
_VOLUMES = {BASS: 100, COMPING: 84, LEAD: 100, DRUMS: 100}  # MIDI, 0 to 127
_VOLUME, _DRUM_BANK = 7, 128


def render(piece: Piece, seconds: float, soundfont: Path) -> np.ndarray:
    """The first ``seconds`` of ``piece``: float32 [n] at ``SAMPLE_RATE``, within −1 … 1."""
    synth, font = _synth(soundfont)
    _silence(synth)
    for channel, program in piece.programs.items():
        synth.program_select(channel, font, 0, program)
    synth.program_select(DRUMS, font, _DRUM_BANK, 0, True)
    for channel, volume in _VOLUMES.items():
        synth.control_change(channel, _VOLUME, volume)
    return _level(_play(synth, piece.events, round(seconds * SAMPLE_RATE)))


@cache
def _synth(soundfont: Path) -> tuple[tinysoundfont.Synth, int]:
    """A synthesiser and the number of its ``soundfont``: one a process, as it takes seconds."""
    import tinysoundfont  # only rendering needs it, and some Pythons have none ready-made

    synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE)
    return synth, synth.sfload(str(soundfont))


def _silence(synth: tinysoundfont.Synth) -> None:
    """End what the piece before left sounding. It fades for 10 ms, which nobody hears here."""
    synth.sounds_off()
    synth.generate(SAMPLE_RATE // 10)


def _play(synth: tinysoundfont.Synth, notes: tuple[Note, ...], samples: int) -> np.ndarray:
    """[samples], the mean of left and right."""
    sound = np.zeros((samples, 2), np.float32)
    done = 0
    for time, starts, note in _in_time(notes):
        until = min(samples, int(time * SAMPLE_RATE))
        if until > done:
            sound[done:until] = _pull(synth, until - done)
            done = until
        if done >= samples:
            break
        if starts:
            synth.noteon(note.channel, note.key, note.velocity)
        else:
            synth.noteoff(note.channel, note.key)
    sound[done:] = _pull(synth, samples - done)
    mono: np.ndarray = sound.mean(axis=1)
    return mono


def _in_time(notes: tuple[Note, ...]) -> list[tuple[float, bool, Note]]:
    """Starts and ends in the order of time; at the same sample, ends first."""
    moments = [
        moment for note in notes for moment in ((note.start, True, note), (note.end, False, note))
    ]
    return sorted(moments, key=lambda moment: (round(moment[0] * SAMPLE_RATE), moment[1]))


def _pull(synth: tinysoundfont.Synth, samples: int) -> np.ndarray:
    """The synthesiser's next [samples, 2]."""
    if not samples:
        return np.zeros((0, 2), np.float32)
    stereo: np.ndarray = np.frombuffer(bytes(synth.generate(samples)), np.float32).reshape(-1, 2)
    return stereo


def _level(sound: np.ndarray) -> np.ndarray:
    """All pieces equally loud, peaks rounded off where they come near the limit."""
    sound = sound * (_LOUDNESS / (np.sqrt(np.mean(sound**2)) + 1e-6))
    if np.abs(sound).max() > 0.9:
        sound = np.tanh(sound * 1.2)
    return sound.astype(np.float32)
