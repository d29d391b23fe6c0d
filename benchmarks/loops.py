"""How well loops are found: tempo, bars, key and joint, of music whose tempo and key are known.

The pieces are those that ``training/music`` composes and a soundfont plays; none was used to
choose a threshold. librosa, where it is installed, is asked for the tempo beside. The joint is
compared with that of the whole take, played end to end, and of cuts at any moment. Run it from
the project's root::

    python -m benchmarks.loops --soundfont FILE [--pieces 120] [--seconds 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np

from musicgen_space.audio.loops.joint import fitness
from musicgen_space.audio.loops.key import KEYS
from musicgen_space.audio.loops.loop import find_loop
from musicgen_space.take import Loop
from training.music.arrangement import arrange
from training.music.compose import Piece, compose
from training.music.render import SAMPLE_RATE, render

FIRST_SEED = 2_000_000
# Which of major and minor has the third of a mode.
MODES = {"minor": "minor", "dorian": "minor"}
RATIOS = {"right": (1,), "octave": (2, 1 / 2), "other": (3, 1 / 3, 3 / 2, 2 / 3, 4 / 3, 3 / 4)}
NEAR = 0.04  # of the tempo
WHOLE = 0.03  # seconds that a loop may miss its bars by


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--soundfont", type=Path, required=True, metavar="FILE")
    parser.add_argument("--pieces", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/loops.json"))
    options = parser.parse_args()

    rows = []
    for seed in range(FIRST_SEED, FIRST_SEED + options.pieces):
        piece = compose(seed)
        sound = render(piece, options.seconds, options.soundfont)[None]
        rows.append(row(piece, sound, Random(seed)))
    report = {"seconds": options.seconds, "pieces": rows}
    show(rows)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def row(piece: Piece, sound: np.ndarray, random: Random) -> dict[str, object]:
    started = time.process_time()
    loop = find_loop(sound, SAMPLE_RATE)
    spent = time.process_time() - started
    length = sound.shape[1]
    cut = random.randint(0, length // 4), random.randint(length * 3 // 4, length)
    found: dict[str, object] = {
        "drums": piece.has_drums,
        "tempo": tempo(loop.bpm, piece.bpm),
        "bars": whole_bars(loop, piece),
        "key": key(loop.key, piece),
        "joint": loop.quality,
        "whole": fitness(sound, SAMPLE_RATE, sound, (0, length)),
        "cut": fitness(sound, SAMPLE_RATE, sound[:, slice(*cut)], cut),
        "seconds": spent,
    }
    return {**found, **(librosas(sound[0], piece) if find_spec("librosa") else {})}


def tempo(bpm: float | None, truth: float) -> str:
    if bpm is None:
        return "none"
    for name, ratios in RATIOS.items():
        if any(abs(bpm / truth / ratio - 1) < NEAR for ratio in ratios):
            return name
    return "wrong"


def whole_bars(loop: Loop, piece: Piece) -> str:
    """Whether the loop is whole bars of the piece."""
    if not loop.bars:
        return "none"
    bar = arrange(Random(piece.seed)).beats * 60 / piece.bpm
    seconds = (loop.end - loop.start) / SAMPLE_RATE
    return "right" if abs(seconds - round(seconds / bar) * bar) < WHOLE else "wrong"


def key(told: str | None, piece: Piece) -> str:
    if told is None:
        return "none"
    true_mode = MODES.get(piece.mode, "major")
    mode, root = told.split()[1], KEYS.index(told) % 12
    apart = (root - piece.root) % 12
    if (apart, mode) == (0, true_mode):
        return "right"
    if mode != true_mode and apart == (9 if true_mode == "major" else 3):
        return "relative"
    return "fifth" if mode == true_mode and apart in (5, 7) else "wrong"


def librosas(sound: np.ndarray, piece: Piece) -> dict[str, object]:
    from training.measure.hearing import tempo_of

    started = time.process_time()
    bpm = tempo_of(sound, SAMPLE_RATE)
    return {"librosa": tempo(bpm, piece.bpm), "librosa_seconds": time.process_time() - started}


def show(rows: list[dict[str, object]]) -> None:
    print("| | n | right | octave | relative | fifth | other | wrong | none told |")
    print("|---|---|---|---|---|---|---|---|---|")
    drums = [each for each in rows if each["drums"]]
    for name, some in (("all", rows), ("drums", drums)):
        for field in ("tempo", "librosa", "bars", "key"):
            counts = Counter(each.get(field) for each in some)
            kinds = ("right", "octave", "relative", "fifth", "other", "wrong", "none")
            cells = " | ".join(str(counts[kind]) for kind in kinds)
            print(f"| {field}, {name} | {len(some)} | {cells} |")
    print()
    print("| joint | mean | median | above 0.8 | 0.5 to 0.8 | below |")
    print("|---|---|---|---|---|---|")
    for field in ("joint", "whole", "cut"):
        fits = np.array([float(str(each[field])) for each in rows])
        above, good = (fits > 0.8).mean(), ((fits >= 0.5) & (fits <= 0.8)).mean()
        print(
            f"| {field} | {fits.mean():.2f} | {np.median(fits):.2f} "
            f"| {above:.0%} | {good:.0%} | {1 - above - good:.0%} |"
        )
    spent = np.mean([float(str(each["seconds"])) for each in rows])
    print(f"\n{spent * 1000:.0f} ms a take")


if __name__ == "__main__":
    main()
