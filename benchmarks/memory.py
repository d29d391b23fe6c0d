"""Whether memory grows from take to take, with some of them interrupted.

Makes takes one after the other and writes down the process's resident memory. A fifth of the
takes are stopped on the way, at another moment each. Run it from the project's root::

    python -m benchmarks.memory [--model FOLDER] [--takes 200] [--seconds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
from pathlib import Path

import psutil

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.placement import choose_placement
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=embedded_folder(), metavar="FOLDER")
    parser.add_argument("--takes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/memory.json"))
    options = parser.parse_args()

    model = load(options.model, choose_placement("cpu", threads=os.cpu_count() or 1))
    resident = []
    for take in range(options.takes):
        make(model, options.seconds, take)
        resident.append(psutil.Process().memory_info().rss)
    show(resident)
    report = {"model": options.model.name, "seconds": options.seconds, "resident": resident}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def make(model: MusicGen, seconds: float, take: int) -> None:
    """Take number ``take``: every fifth one ends early, later each time."""
    pieces = generate(model, MusicRequest("lo-fi", duration=seconds, seed=take))
    wanted = seconds * (take % 97) / 97 if take % 5 == 4 else seconds
    for piece in pieces:
        if piece.seconds > wanted:
            break
    pieces.close()  # type: ignore[attr-defined]
    gc.collect()


def show(resident: list[int]) -> None:
    print("| after | resident memory |")
    print("|---|---|")
    count = len(resident)
    for takes in sorted({min(5, count), count // 4, count // 2, 3 * count // 4, count} - {0}):
        print(f"| {takes} takes | {resident[takes - 1] / 2**20:.0f} MiB |")
    half = count // 2
    growth = (max(resident[half:]) - max(resident[:half])) / 2**20
    print(f"\nThe most in the second half less the most in the first: {growth:+.0f} MiB")


if __name__ == "__main__":
    main()
