"""Twenty-nine styles of music: what they are called, and how each is played."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STYLES", "Style"]


@dataclass(frozen=True, slots=True)
class Style:
    """The choices a piece of this style is drawn from.

    ``bass``, ``comping`` and ``lead`` are keys of ``INSTRUMENTS``, ``drums`` of ``KITS``,
    ``bass_line`` of ``BASS_LINES`` and ``patterns`` of ``PATTERNS``. ``bpm`` is the slowest and
    the fastest tempo. ``swing`` is how late off-beats come, in sixteenths. ``sevenths``: chords
    of four notes are usual.
    """

    names: tuple[str, ...]
    moods: tuple[str, ...]
    bpm: tuple[int, int]
    modes: tuple[str, ...]
    drums: tuple[str, ...]
    bass: tuple[str, ...]
    bass_line: str
    comping: tuple[str, ...]
    patterns: tuple[str, ...]
    lead: tuple[str, ...]
    lead_chance: float
    swing: float = 0
    sevenths: bool = False


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


# The order counts: a seed chooses by position.
STYLES = {
    "lofi": Style(
        names=_words(
            "lo-fi, lofi, lo-fi hip hop, lofi hip hop, chillhop, lo-fi beats, study beats, "
            "chill beats"
        ),
        moods=_words("calm, soothing, relaxing, mellow, chill, dreamy, cozy, nostalgic, soft"),
        bpm=(70, 92),
        modes=("minor", "major", "dorian"),
        drums=("boom bap",),
        bass=("electric bass", "upright bass", "synth bass"),
        bass_line="root",
        comping=("electric piano", "piano", "clean guitar", "nylon guitar"),
        patterns=("hold", "arpeggio"),
        lead=("vibraphone", "flute", "electric piano", "saxophone", "celesta"),
        lead_chance=0.6,
        swing=0.12,
        sevenths=True,
    ),
    "ambient": Style(
        names=_words("ambient, ambient soundscape, meditation, drone, atmospheric, new age, sleep"),
        moods=_words(
            "calm, peaceful, ethereal, dreamy, soothing, relaxing, floating, meditative, slow"
        ),
        bpm=(55, 80),
        modes=("major", "minor", "dorian"),
        drums=("none",),
        bass=("pad", "strings"),
        bass_line="drone",
        comping=("pad", "choir", "strings"),
        patterns=("hold",),
        lead=("celesta", "harp", "pan flute", "piano", "kalimba"),
        lead_chance=0.5,
        sevenths=True,
    ),
    "house": Style(
        names=_words(
            "house, deep house, edm, dance, electronic dance, club, disco house, electronic"
        ),
        moods=_words("energetic, groovy, upbeat, uplifting, danceable, driving, happy"),
        bpm=(118, 128),
        modes=("minor", "major", "dorian"),
        drums=("four on the floor",),
        bass=("synth bass",),
        bass_line="offbeat",
        comping=("electric piano", "organ", "pad", "saw lead"),
        patterns=("stabs", "hold"),
        lead=("synth lead", "saw lead", "vibraphone"),
        lead_chance=0.6,
        sevenths=True,
    ),
    "techno": Style(
        names=_words("techno, minimal techno, rave, trance, electronic, electro"),
        moods=_words("dark, hypnotic, driving, energetic, intense, futuristic"),
        bpm=(126, 142),
        modes=("minor",),
        drums=("four on the floor",),
        bass=("synth bass",),
        bass_line="jumping eighths",
        comping=("saw lead", "square lead", "pad"),
        patterns=("fast arpeggio", "stabs"),
        lead=("saw lead", "synth lead"),
        lead_chance=0.4,
    ),
    "synthwave": Style(
        names=_words(
            "synthwave, 80s synth pop, retrowave, 80s electronic, eighties, synth pop, 80s "
            "driving pop"
        ),
        moods=_words("nostalgic, retro, driving, dreamy, neon, energetic, epic"),
        bpm=(90, 118),
        modes=("minor", "major"),
        drums=("rock", "four on the floor"),
        bass=("synth bass",),
        bass_line="jumping eighths",
        comping=("pad", "saw lead"),
        patterns=("hold", "fast arpeggio"),
        lead=("saw lead", "synth lead", "square lead"),
        lead_chance=0.8,
    ),
    "rock": Style(
        names=_words(
            "rock, classic rock, indie rock, alternative rock, punk rock, 90s rock, pop rock, "
            "garage rock"
        ),
        moods=_words("energetic, powerful, loud, upbeat, driving, rebellious, raw"),
        bpm=(105, 150),
        modes=("major", "mixolydian", "minor"),
        drums=("rock",),
        bass=("electric bass",),
        bass_line="eighths",
        comping=("distorted guitar", "clean guitar"),
        patterns=("power chords", "strum"),
        lead=("distorted guitar", "organ", "clean guitar"),
        lead_chance=0.5,
    ),
    "metal": Style(
        names=_words("metal, heavy metal, thrash metal, hard rock, death metal"),
        moods=_words("aggressive, heavy, dark, intense, fast, powerful, angry"),
        bpm=(130, 180),
        modes=("minor",),
        drums=("metal",),
        bass=("electric bass",),
        bass_line="eighths",
        comping=("distorted guitar",),
        patterns=("power chords",),
        lead=("distorted guitar",),
        lead_chance=0.5,
    ),
    "trap": Style(
        names=_words("trap, hip hop, hip-hop, rap beat, drill, 808 beat, r&b"),
        moods=_words("dark, moody, hard, gritty, smooth, laid-back"),
        bpm=(68, 80),
        modes=("minor",),
        drums=("trap",),
        bass=("synth bass",),
        bass_line="root",
        comping=("piano", "pad", "strings", "celesta"),
        patterns=("arpeggio", "hold"),
        lead=("synth lead", "flute", "celesta", "choir"),
        lead_chance=0.6,
    ),
    "funk": Style(
        names=_words("funk, disco, funky groove, soul, 70s funk, groove"),
        moods=_words("groovy, funky, upbeat, happy, fun, playful"),
        bpm=(98, 118),
        modes=("dorian", "mixolydian"),
        drums=("funk",),
        bass=("slap bass", "electric bass"),
        bass_line="funk",
        comping=("clean guitar", "organ", "electric piano"),
        patterns=("stabs",),
        lead=("brass", "saxophone", "trumpet"),
        lead_chance=0.7,
        swing=0.05,
        sevenths=True,
    ),
    "jazz": Style(
        names=_words("jazz, swing, bebop, smooth jazz, jazz trio, big band, cool jazz, lounge"),
        moods=_words("smooth, cool, swinging, relaxed, sophisticated, romantic, late-night"),
        bpm=(95, 160),
        modes=("major", "dorian", "minor"),
        drums=("swing",),
        bass=("upright bass",),
        bass_line="walk",
        comping=("piano", "clean guitar", "electric piano", "vibraphone"),
        patterns=("stabs", "hold"),
        lead=("saxophone", "trumpet", "muted trumpet", "piano", "clarinet", "vibraphone"),
        lead_chance=0.9,
        swing=0.3,
        sevenths=True,
    ),
    "bossa": Style(
        names=_words("bossa nova, bossa, samba, brazilian, latin jazz, elevator"),
        moods=_words("warm, sunny, relaxed, romantic, breezy, gentle"),
        bpm=(110, 140),
        modes=("major", "minor"),
        drums=("bossa",),
        bass=("upright bass", "electric bass"),
        bass_line="bossa",
        comping=("nylon guitar", "electric piano"),
        patterns=("bossa",),
        lead=("flute", "saxophone", "nylon guitar", "vibraphone"),
        lead_chance=0.8,
        sevenths=True,
    ),
    "latin": Style(
        names=_words("latin, salsa, reggaeton, cumbia, tropical, cuban"),
        moods=_words("festive, upbeat, happy, sunny, energetic, danceable"),
        bpm=(92, 112),
        modes=("minor", "major"),
        drums=("latin",),
        bass=("electric bass",),
        bass_line="offbeat",
        comping=("piano", "nylon guitar", "accordion"),
        patterns=("stabs", "arpeggio"),
        lead=("trumpet", "brass", "flute", "steel drums"),
        lead_chance=0.8,
    ),
    "reggae": Style(
        names=_words("reggae, dub, ska, island, roots reggae, caribbean"),
        moods=_words("relaxed, sunny, laid-back, happy, warm, chill"),
        bpm=(68, 88),
        modes=("major", "minor"),
        drums=("reggae",),
        bass=("electric bass",),
        bass_line="root",
        comping=("clean guitar", "organ"),
        patterns=("skank",),
        lead=("organ", "steel drums", "trumpet", "harmonica"),
        lead_chance=0.6,
        swing=0.1,
    ),
    "blues": Style(
        names=_words("blues, slow blues, delta blues, blues rock, rhythm and blues"),
        moods=_words("soulful, gritty, sad, melancholic, raw, slow"),
        bpm=(70, 110),
        modes=("mixolydian",),
        drums=("swing", "rock"),
        bass=("electric bass", "upright bass"),
        bass_line="walk",
        comping=("clean guitar", "piano", "organ"),
        patterns=("strum", "stabs"),
        lead=("harmonica", "clean guitar", "distorted guitar", "saxophone"),
        lead_chance=0.9,
        swing=0.3,
        sevenths=True,
    ),
    "country": Style(
        names=_words("country, bluegrass, americana, western, cowboy, hoedown"),
        moods=_words("upbeat, happy, warm, rustic, playful, cheerful"),
        bpm=(100, 140),
        modes=("major", "mixolydian"),
        drums=("brush", "rock"),
        bass=("upright bass", "electric bass"),
        bass_line="root and fifth",
        comping=("steel guitar", "banjo"),
        patterns=("strum", "arpeggio"),
        lead=("violin", "banjo", "harmonica", "steel guitar"),
        lead_chance=0.8,
    ),
    "folk": Style(
        names=_words("folk, acoustic folk, singer-songwriter, indie folk, acoustic, campfire"),
        moods=_words("gentle, warm, intimate, nostalgic, hopeful, tender, earthy"),
        bpm=(80, 115),
        modes=("major", "dorian", "minor"),
        drums=("none", "brush"),
        bass=("upright bass",),
        bass_line="root",
        comping=("steel guitar", "nylon guitar"),
        patterns=("arpeggio", "strum"),
        lead=("violin", "flute", "harmonica", "whistle", "accordion"),
        lead_chance=0.7,
    ),
    "celtic": Style(
        names=_words("celtic, irish, irish jig, medieval, scottish, tavern, renaissance"),
        moods=_words("lively, festive, playful, ancient, merry, mystical"),
        bpm=(100, 132),
        modes=("dorian", "mixolydian", "major"),
        drums=("tribal", "none"),
        bass=("cello", "bagpipes"),
        bass_line="drone",
        comping=("harp", "nylon guitar"),
        patterns=("arpeggio",),
        lead=("whistle", "violin", "flute", "bagpipes"),
        lead_chance=1.0,
    ),
    "piano": Style(
        names=_words(
            "solo piano, classical piano, piano ballad, piano, neoclassical piano, sonata, nocturne"
        ),
        moods=_words("emotional, sad, gentle, romantic, melancholic, beautiful, tender, soothing"),
        bpm=(62, 110),
        modes=("major", "minor"),
        drums=("none",),
        bass=("piano",),
        bass_line="root",
        comping=("piano",),
        patterns=("arpeggio",),
        lead=("piano",),
        lead_chance=0.95,
    ),
    "guitar": Style(
        names=_words(
            "solo guitar, classical guitar, acoustic guitar, fingerstyle guitar, flamenco, "
            "spanish guitar"
        ),
        moods=_words("gentle, warm, romantic, intimate, passionate, calm"),
        bpm=(75, 115),
        modes=("minor", "major"),
        drums=("none",),
        bass=("nylon guitar",),
        bass_line="root",
        comping=("nylon guitar", "steel guitar"),
        patterns=("arpeggio",),
        lead=("nylon guitar",),
        lead_chance=0.7,
    ),
    "baroque": Style(
        names=_words("baroque, bach, classical, chamber music, string quartet, mozart"),
        moods=_words("elegant, graceful, noble, stately, bright, playful"),
        bpm=(80, 120),
        modes=("major", "minor"),
        drums=("none",),
        bass=("cello", "harpsichord"),
        bass_line="walk",
        comping=("harpsichord", "strings", "pizzicato"),
        patterns=("arpeggio", "hold"),
        lead=("violin", "oboe", "flute", "trumpet"),
        lead_chance=1.0,
    ),
    "orchestral": Style(
        names=_words(
            "orchestral, cinematic, film score, movie soundtrack, symphonic, epic orchestra, "
            "trailer music, video game boss"
        ),
        moods=_words("epic, dramatic, heroic, powerful, majestic, dark, emotional, adventurous"),
        bpm=(70, 130),
        modes=("minor", "major", "dorian"),
        drums=("tribal", "march", "none"),
        bass=("cello", "strings", "timpani"),
        bass_line="drone",
        comping=("strings", "choir", "brass"),
        patterns=("hold", "ostinato"),
        lead=("french horn", "violin", "trumpet", "brass", "choir"),
        lead_chance=0.85,
    ),
    "chiptune": Style(
        names=_words(
            "chiptune, 8-bit, 8 bit video game, retro game, nintendo, arcade, video game, pixel"
        ),
        moods=_words("happy, playful, energetic, fast, fun, cheerful, heroic"),
        bpm=(120, 165),
        modes=("major", "minor"),
        drums=("rock", "four on the floor"),
        bass=("square lead",),
        bass_line="jumping eighths",
        comping=("square lead",),
        patterns=("fast arpeggio",),
        lead=("square lead",),
        lead_chance=1.0,
    ),
    "dnb": Style(
        names=_words("drum and bass, dnb, jungle, breakbeat, liquid drum and bass"),
        moods=_words("fast, energetic, dark, driving, intense, atmospheric"),
        bpm=(165, 176),
        modes=("minor",),
        drums=("drum and bass",),
        bass=("synth bass",),
        bass_line="root",
        comping=("pad", "electric piano", "strings"),
        patterns=("hold",),
        lead=("synth lead", "vibraphone", "flute"),
        lead_chance=0.5,
        sevenths=True,
    ),
    "afro": Style(
        names=_words("afrobeat, african, tribal, world music, ethnic, percussion ensemble"),
        moods=_words("joyful, rhythmic, sunny, festive, earthy, upbeat"),
        bpm=(100, 120),
        modes=("major", "mixolydian", "dorian"),
        drums=("tribal", "latin"),
        bass=("electric bass",),
        bass_line="offbeat",
        comping=("marimba", "kalimba", "clean guitar"),
        patterns=("arpeggio", "stabs"),
        lead=("kalimba", "brass", "flute", "choir"),
        lead_chance=0.7,
    ),
    "asian": Style(
        names=_words("japanese, chinese traditional, asian, oriental, zen garden, indian raga"),
        moods=_words("peaceful, mystical, calm, meditative, serene, ancient"),
        bpm=(60, 95),
        modes=("pentatonic",),
        drums=("none", "tribal"),
        bass=("koto", "sitar"),
        bass_line="root",
        comping=("koto", "harp", "pizzicato"),
        patterns=("arpeggio",),
        lead=("pan flute", "koto", "sitar", "flute"),
        lead_chance=1.0,
    ),
    "pop": Style(
        names=_words(
            "pop, dance pop, pop ballad, upbeat pop, corporate, ukulele pop, advertising "
            "jingle, inspirational"
        ),
        moods=_words("happy, uplifting, cheerful, upbeat, bright, catchy, inspiring, fun"),
        bpm=(95, 124),
        modes=("major",),
        drums=("rock", "four on the floor"),
        bass=("electric bass", "synth bass"),
        bass_line="eighths",
        comping=("piano", "steel guitar", "electric piano", "clean guitar"),
        patterns=("strum", "hold", "stabs"),
        lead=("celesta", "synth lead", "strings", "whistle"),
        lead_chance=0.7,
    ),
    "horror": Style(
        names=_words("horror, suspense, thriller, scary, halloween, tension, dark ambient"),
        moods=_words("dark, scary, eerie, ominous, tense, creepy, mysterious"),
        bpm=(60, 90),
        modes=("minor",),
        drums=("none", "tribal"),
        bass=("cello", "church organ"),
        bass_line="drone",
        comping=("strings", "choir", "pad"),
        patterns=("hold",),
        lead=("celesta", "violin", "church organ", "piano"),
        lead_chance=0.5,
    ),
    "waltz": Style(
        names=_words("waltz, carnival, circus, ballroom waltz, french cafe, musette"),
        moods=_words("whimsical, playful, elegant, romantic, quirky, graceful"),
        bpm=(120, 170),
        modes=("major", "minor"),
        drums=("none",),
        bass=("upright bass",),
        bass_line="waltz",
        comping=("accordion", "piano", "strings"),
        patterns=("waltz",),
        lead=("accordion", "violin", "clarinet", "celesta"),
        lead_chance=1.0,
    ),
    "lullaby": Style(
        names=_words("lullaby, music box, bedtime, christmas, winter, children's music"),
        moods=_words("gentle, sweet, soft, magical, innocent, cozy, sleepy, calm"),
        bpm=(65, 95),
        modes=("major",),
        drums=("none",),
        bass=("harp",),
        bass_line="root",
        comping=("celesta", "harp"),
        patterns=("arpeggio",),
        lead=("celesta", "flute", "vibraphone"),
        lead_chance=1.0,
    ),
}
