"""The instruments: programs of General MIDI (counted from 0), and what captions call them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["INSTRUMENTS", "Instrument"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """Sounds that pass for one instrument; shifts are semitones, for a bass line or a lead."""

    programs: tuple[int, ...]
    names: tuple[str, ...]
    bass_shift: int = 0
    lead_shift: int = 0


INSTRUMENTS = {
    "piano": Instrument((0, 1), ("piano", "grand piano", "acoustic piano"), bass_shift=12),
    "electric piano": Instrument((4, 5), ("electric piano", "rhodes", "rhodes piano", "keys")),
    "harpsichord": Instrument((6,), ("harpsichord",)),
    "celesta": Instrument((8, 10), ("celesta", "music box", "glockenspiel"), lead_shift=12),
    "vibraphone": Instrument((11,), ("vibraphone", "vibes")),
    "marimba": Instrument((12, 13), ("marimba", "xylophone", "mallets")),
    "organ": Instrument((16, 17, 18), ("organ", "hammond organ")),
    "church organ": Instrument((19,), ("church organ", "pipe organ")),
    "accordion": Instrument((21,), ("accordion",)),
    "harmonica": Instrument((22,), ("harmonica",)),
    "nylon guitar": Instrument(
        (24,),
        ("acoustic guitar", "nylon guitar", "classical guitar", "spanish guitar"),
        bass_shift=12,
        lead_shift=-12,
    ),
    "steel guitar": Instrument((25,), ("acoustic guitar", "steel string guitar", "folk guitar")),
    "clean guitar": Instrument(
        (27, 26), ("electric guitar", "clean guitar", "jazz guitar", "guitar"), lead_shift=-12
    ),
    "distorted guitar": Instrument(
        (29, 30),
        ("distorted guitar", "electric guitar", "heavy guitar", "rock guitar"),
        lead_shift=-12,
    ),
    "upright bass": Instrument((32,), ("upright bass", "double bass", "acoustic bass")),
    "electric bass": Instrument((33, 34), ("bass guitar", "electric bass", "bass")),
    "slap bass": Instrument((36,), ("slap bass", "funky bass")),
    "synth bass": Instrument((38, 39), ("synth bass", "bass synth", "deep bass")),
    "violin": Instrument((40,), ("violin", "fiddle")),
    "cello": Instrument((42,), ("cello",), lead_shift=-12),
    "strings": Instrument(
        (48, 49), ("strings", "string section", "orchestral strings"), bass_shift=12
    ),
    "pizzicato": Instrument((45,), ("pizzicato strings",)),
    "harp": Instrument((46,), ("harp",), bass_shift=12),
    "choir": Instrument((52, 53), ("choir", "vocal pads", "voices"), bass_shift=12),
    "trumpet": Instrument((56,), ("trumpet",)),
    "muted trumpet": Instrument((59,), ("muted trumpet",)),
    "trombone": Instrument((57,), ("trombone",), lead_shift=-12),
    "french horn": Instrument((60,), ("french horn", "horns")),
    "brass": Instrument((61, 62), ("brass", "brass section", "horn section")),
    "saxophone": Instrument(
        (65, 66), ("saxophone", "sax", "alto sax", "tenor sax"), lead_shift=-12
    ),
    "oboe": Instrument((68,), ("oboe",)),
    "clarinet": Instrument((71,), ("clarinet",)),
    "flute": Instrument((73,), ("flute",), lead_shift=12),
    "pan flute": Instrument((75,), ("pan flute",), lead_shift=12),
    "whistle": Instrument((78, 79), ("whistle", "ocarina", "tin whistle"), lead_shift=12),
    "square lead": Instrument((80,), ("square wave lead", "8-bit lead", "chiptune synth")),
    "saw lead": Instrument((81,), ("saw lead", "synth lead", "synthesizer")),
    "synth lead": Instrument((84, 87, 85), ("synth lead", "synthesizer", "lead synth")),
    "pad": Instrument(
        (88, 89, 90, 91, 92, 94, 95),
        ("synth pad", "warm pad", "ambient pad", "pads", "synthesizer"),
        bass_shift=12,
    ),
    "sitar": Instrument((104,), ("sitar",), bass_shift=12),
    "banjo": Instrument((105,), ("banjo",)),
    "koto": Instrument((107,), ("koto",), bass_shift=12),
    "kalimba": Instrument((108,), ("kalimba", "thumb piano")),
    "bagpipes": Instrument((109,), ("bagpipes",), bass_shift=12),
    "steel drums": Instrument((114,), ("steel drums", "steel pan")),
    "timpani": Instrument((47,), ("timpani",)),
}
