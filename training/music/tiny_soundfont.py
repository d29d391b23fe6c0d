"""A soundfont of four waveforms, to try the recipe without FluidR3.

SoundFont 2.04, the least of it: every program of General MIDI is one looped waveform, and the
drums are noise. Sections and numbers as in Creative's "SoundFont Technical Specification".
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

__all__ = ["write"]

_RATE = 32_000
_PERIOD = 128  # samples: 250 Hz, near B3
_KEY = 59
_PROGRAMS, _DRUM_BANK = 128, 128
_GUARD = 46  # samples of silence that must follow each waveform
_INSTRUMENT, _SAMPLE, _SAMPLE_MODES, _LOOPED = 41, 53, 54, 1  # generators, and one's value
_MONO = 1


def write(file: Path) -> None:
    """Write the soundfont to ``file``."""
    waveforms = _waveforms()
    info = _chunk(b"ifil", struct.pack("<HH", 2, 4)) + _chunk(b"INAM", b"Four waveforms\0\0")
    silence = np.zeros(_GUARD)
    samples = np.concatenate([part for waveform in waveforms for part in (waveform, silence)])
    sound = _chunk(b"smpl", (samples * 32767).astype("<i2").tobytes())
    body = _list(b"INFO", info) + _list(b"sdta", sound) + _list(b"pdta", _presets(waveforms))
    file.write_bytes(_chunk(b"RIFF", b"sfbk" + body))


def _waveforms() -> list[np.ndarray]:
    """Sine, triangle, saw, and at last the noise for the drums."""
    phase = np.arange(_PERIOD * 8) / _PERIOD % 1
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, _RATE // 4)
    return [np.sin(2 * np.pi * phase) / 2, np.abs(2 * phase - 1) - 0.5, 0.4 - 0.8 * phase, noise]


def _presets(waveforms: list[np.ndarray]) -> bytes:
    """The tables; each ends with a record that only marks the end."""
    drums = len(waveforms) - 1
    presets = [(0, program, program % drums) for program in range(_PROGRAMS)]
    presets.append((_DRUM_BANK, 0, drums))
    headers = [
        struct.pack("<20sHHHIII", b"preset", program, bank, bag, 0, 0, 0)
        for bag, (bank, program, _) in enumerate(presets)
    ]
    headers.append(struct.pack("<20sHHHIII", b"EOP", 0, 0, len(presets), 0, 0, 0))
    choices = [struct.pack("<HH", _INSTRUMENT, instrument) for *_, instrument in presets]
    instruments = [
        struct.pack("<20sH", b"instrument", index) for index in range(len(waveforms) + 1)
    ]
    zones = [
        struct.pack("<HHHH", _SAMPLE_MODES, _LOOPED, _SAMPLE, index)
        for index in range(len(waveforms))
    ]
    end = bytes(4)
    return b"".join(
        (
            _chunk(b"phdr", b"".join(headers)),
            _chunk(b"pbag", _bags(len(presets), 1)),
            _chunk(b"pmod", bytes(10)),
            _chunk(b"pgen", b"".join(choices) + end),
            _chunk(b"inst", b"".join(instruments)),
            _chunk(b"ibag", _bags(len(waveforms), 2)),
            _chunk(b"imod", bytes(10)),
            _chunk(b"igen", b"".join(zones) + end),
            _chunk(b"shdr", _sample_headers(waveforms)),
        )
    )


def _bags(count: int, generators: int) -> bytes:
    """``count`` zones of so many generators each, without modulators."""
    return b"".join(struct.pack("<HH", index * generators, 0) for index in range(count + 1))


def _sample_headers(waveforms: list[np.ndarray]) -> bytes:
    records, start = [], 0
    for waveform in waveforms:
        end = start + len(waveform)
        records.append(
            struct.pack(
                "<20sIIIIIBbHH", b"waveform", start, end, start, end, _RATE, _KEY, 0, 0, _MONO
            )
        )
        start = end + _GUARD
    return b"".join([*records, struct.pack("<20s26x", b"EOS")])


def _list(kind: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", kind + content)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
