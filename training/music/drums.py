"""Drum patterns: a bar of sixteenths for each drum of General MIDI's kit."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACCENTED", "CRASH", "KITS", "WITH_CRASH", "Kit"]

KICK, RIM, SNARE, CLAP = 36, 37, 38, 39
LOW_FLOOR_TOM, HAT, HIGH_FLOOR_TOM, PEDAL_HAT, LOW_TOM, OPEN_HAT, MID_TOM = range(41, 48)
CRASH, RIDE = 49, 51
MUTE_CONGA, LOW_CONGA, MARACAS, CLAVES = 62, 64, 70, 75

ACCENTED = (KICK, SNARE, CLAP, RIM)  # as loud on every sixteenth
WITH_CRASH = ("rock", "four on the floor", "metal", "drum and bass", "funk", "march")

Bar = dict[int, str]


@dataclass(frozen=True, slots=True)
class Kit:
    """Key → its sixteenths, ``x`` where it sounds: the usual bar, and every fourth."""

    usual: Bar
    fill: Bar


KITS = {
    "boom bap": Kit(
        usual={KICK: "x.....x...x.....", SNARE: "....x.......x...", HAT: "x.x.x.x.x.x.x.x."},
        fill={KICK: "x..x......x..x..", SNARE: "....x..x.x..x...", HAT: "x.x.x.x.x.x.x.xx"},
    ),
    "four on the floor": Kit(
        usual={
            KICK: "x...x...x...x...",
            CLAP: "....x.......x...",
            OPEN_HAT: "..x...x...x...x.",
            HAT: "x.x.x.x.x.x.x.x.",
        },
        fill={KICK: "x...x...x...x...", SNARE: "....x.......x..x", HAT: "xxxxxxxxxxxxxxxx"},
    ),
    "rock": Kit(
        usual={KICK: "x.......x.x.....", SNARE: "....x.......x...", HAT: "x.x.x.x.x.x.x.x."},
        fill={KICK: "x..x....x.x...x.", SNARE: "....x.......x...", OPEN_HAT: "x...x...x...x..."},
    ),
    "metal": Kit(
        usual={
            KICK: "xxxxxxxxxxxxxxxx",
            SNARE: "....x.......x...",
            CRASH: "x...............",
            RIDE: "x.x.x.x.x.x.x.x.",
        },
        fill={KICK: "x.xxx.xxx.xxx.xx", SNARE: "....x.......x...", RIDE: "x...x...x...x..."},
    ),
    "trap": Kit(
        usual={KICK: "x......x..x.....", SNARE: "........x.......", HAT: "x.x.xxx.x.x.x.xx"},
        fill={KICK: "x.....x...x..x..", CLAP: "........x.......", HAT: "xxx.x.x.xxxxx.x."},
    ),
    "funk": Kit(
        usual={KICK: "x..x..x...x..x..", SNARE: "....x..x.x..x..x", HAT: "xxxxxxxxxxxxxxxx"},
        fill={KICK: "x.x...x..x....x.", SNARE: "....x..x....x...", HAT: "x.xxx.xxx.xxx.xx"},
    ),
    "reggae": Kit(
        usual={KICK: "........x.......", RIM: "........x.......", HAT: "x.x.x.x.x.x.x.x."},
        fill={KICK: "x.......x.......", RIM: "........x.....x.", HAT: "..x...x...x...x."},
    ),
    "swing": Kit(
        usual={RIDE: "x...x.x.x...x.x.", PEDAL_HAT: "....x.......x...", KICK: "x.......x......."},
        fill={RIDE: "x...x.x.x.x.x.x.", PEDAL_HAT: "....x.......x...", RIM: "......x........."},
    ),
    "bossa": Kit(
        usual={KICK: "x..xx..xx..xx..x", RIM: "x..x..x...x..x..", HAT: "x.x.x.x.x.x.x.x."},
        fill={KICK: "x..xx..xx..xx..x", RIM: "..x..x....x..x..", MARACAS: "xxxxxxxxxxxxxxxx"},
    ),
    "latin": Kit(
        usual={
            KICK: "x...x...x...x...",
            MUTE_CONGA: "x..x..x.x..x..x.",
            LOW_CONGA: "..x..x...xx..x..",
            MARACAS: "x.x.x.x.x.x.x.x.",
        },
        fill={KICK: "x..x..x.x..x..x.", CLAVES: "x..x..x...x.x...", MARACAS: "xxxxxxxxxxxxxxxx"},
    ),
    "drum and bass": Kit(
        usual={KICK: "x.........x.....", SNARE: "....x.......x...", HAT: "x.x.x.x.x.x.x.x."},
        fill={KICK: "x.x.......x..x..", SNARE: "....x..x.x..x..x", HAT: "xxxxxxxxxxxxxxxx"},
    ),
    "march": Kit(
        usual={SNARE: "x..xx.x.x.xxx.x.", KICK: "x.......x......."},
        fill={SNARE: "x.x.x.xxx.x.xxxx", KICK: "x.......x...x..."},
    ),
    "tribal": Kit(
        usual={
            LOW_FLOOR_TOM: "x..x..x...x..x..",
            LOW_TOM: "..x..x..x...x..x",
            MID_TOM: "....x.....x.....",
        },
        fill={
            LOW_FLOOR_TOM: "x..x..x.x..x..x.",
            HIGH_FLOOR_TOM: ".x....x..x....x.",
            MARACAS: "x.x.x.x.x.x.x.x.",
        },
    ),
    "brush": Kit(
        usual={HAT: "x...x...x...x...", RIM: "....x.......x..."},
        fill={MARACAS: "x.x.x.x.x.x.x.x.", KICK: "x.......x......."},
    ),
    "none": Kit(
        usual={},
        fill={},
    ),
}
