"""A whole take on this machine's CPU: our engine, transformers' ``generate``, AudioCraft.

Each contestant has a process of its own, with the same weights; they take turns, so that all
meet the same moods of a shared machine, and what counts is the ratio. Without a checkpoint
the weights are random ones in musicgen-small's shape. Measured are whole takes (text encoder,
decoder, sampling, EnCodec, streaming) and the decoder's steps after 5, 15 and 30 s of music.
AudioCraft takes part where ``--audiocraft`` names a Python that has it (how to get one:
``tests/audiocraft/install.py``). Run it from the project's root::

    python -m benchmarks.cpu [--model FOLDER] [--seconds 10] [--peer-seconds 2] [--rounds 3]

``benchmarks.decoder`` compares the modes of our own decoder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS, Contestant, Result, serve
from benchmarks.small import musicgen_small
from musicgen_space.models import embedded_folder

CONTEXTS = (5, 15, 30)  # seconds of music before the steps that are measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--nano", action="store_true", help="the embedded checkpoint")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--peer-seconds", type=float, default=2, help="of the peers' takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quant", default="auto", help="as MUSICGEN_QUANT")
    parser.add_argument("--audiocraft", type=Path, metavar="PYTHON")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/cpu.json"))
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = (
        embedded_folder() if options.nano else options.model or musicgen_small()
    ).resolve()
    if options.contestant:
        serve(options.contestant, options)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Let the contestants take turns; print the tables and write the JSON."""
    names = [name for name in CONTESTANTS if name != "audiocraft" or options.audiocraft]
    contestants = {name: Contestant(name) for name in names}
    takes: dict[str, list[Result]] = {name: [] for name in names}
    steps: dict[str, dict[int, list[float]]] = {name: {} for name in names}
    for round_ in range(options.rounds + 1):  # the first one warms up and does not count
        for name, contestant in contestants.items():
            take = contestant.take()
            if round_:
                takes[name].append(take)
    for _ in range(options.rounds):
        for context in CONTEXTS:
            for name, contestant in contestants.items():
                if (measured := contestant.steps(context)) is not None:
                    steps[name].setdefault(context, []).append(measured)
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "model": options.model.name,
        "seconds": dict.fromkeys(names, options.peer_seconds) | {"musicgen_space": options.seconds},
        "contestants": {name: each.end() for name, each in contestants.items()},
        "takes": takes,
        "steps_a_second": steps,
        "ratio_to": {name: ratio(takes["musicgen_space"], takes[name]) for name in names[1:]},
    }
    show(report)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def ratio(ours: list[Result], theirs: list[Result]) -> float:
    """How many times faster we are: the median over the rounds."""
    return statistics.median(
        our["real_time_factor"] / their["real_time_factor"]
        for our, their in zip(ours, theirs, strict=True)
    )


def show(report: dict[str, Any]) -> None:
    print(f"{report['model']} on {report['machine']}\n")
    print("| | × real time (min / median / max) | first sound | load | peak memory |")
    print("|---|---|---|---|---|")
    for name, takes in report["takes"].items():
        first = statistics.median(take["first_sound"] for take in takes)
        facts = report["contestants"][name]
        print(
            f"| {name}, {report['seconds'][name]:g} s takes | "
            f"{spread([take['real_time_factor'] for take in takes], 2)} | {first:.1f} s | "
            f"{facts['load']:.1f} s | {facts['peak_memory'] / 2**30:.1f} GiB |"
        )
    contexts = " | ".join(f"after {context} s" for context in CONTEXTS)
    print(f"\n| steps a second (min / median / max) | {contexts} |")
    print("|---" * (len(CONTEXTS) + 1) + "|")
    for name, steps in report["steps_a_second"].items():
        if steps:
            print(f"| {name} | {' | '.join(spread(steps[c], 1) for c in CONTEXTS)} |")
    for name, times in report["ratio_to"].items():
        print(f"\n{times:.1f} times faster than {name} (whole takes, median of the rounds)")


def spread(values: list[float], digits: int) -> str:
    """The least, the median and the greatest."""
    numbers = (min(values), statistics.median(values), max(values))
    return " / ".join(f"{number:.{digits}f}" for number in numbers)


if __name__ == "__main__":
    main()
