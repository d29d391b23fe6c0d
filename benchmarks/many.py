"""Many listeners: takes made at once against one after the other, by the same engine.

The two take turns, so that both meet the same moods of a shared machine. Measured as well: how
long a newcomer waits for the first sound while three others are being made, against one who is
alone, and what a step costs besides the decoder. Run it from the project's root::

    python -m benchmarks.many [--models small nano] [--takes 1 2 4 8] [--seconds 6] [--rounds 3]

``small`` is musicgen-small's shape with random weights, ``nano`` the embedded checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.small import PROMPT, musicgen_small
from musicgen_space.backends.local.backend import torch_threads
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.placement import choose_placement
from musicgen_space.engine.runtimes.native.build import default_cache
from musicgen_space.engine.scheduler import scheduler as module
from musicgen_space.engine.scheduler.events import Made
from musicgen_space.engine.scheduler.scheduler import Making, Scheduler
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest

FOLDERS: dict[str, Callable[[], Path]] = {"small": musicgen_small, "nano": embedded_folder}
OTHERS = 3  # who are being made when a newcomer comes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=FOLDERS, default=[*FOLDERS])
    parser.add_argument("--takes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=6, help="of each take")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/many.json"))
    options = parser.parse_args()
    torch.set_num_threads(torch_threads(weights=0))
    report = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "seconds": options.seconds,
        "models": {name: measured(name, options) for name in options.models},
    }
    show(report)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def processor() -> str:
    """Its name, and what matters to us of what it can do."""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*: (.*)", told)
    flags = ("avx2", "avx512_vnni", "avx512_bf16", "asimddp")
    found = [flag for flag in flags if re.search(rf"\b{flag}\b", told)]
    return f"{name[1] if name else platform.machine()} ({', '.join(found)})"


def measured(name: str, options: argparse.Namespace) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    model = load(FOLDERS[name](), choose_placement("cpu", threads=cores, cache=default_cache()))
    together(model, 2, 1)  # warms up
    speeds: dict[str, dict[int, list[float]]] = {"in turn": {}, "at once": {}}
    for _ in range(options.rounds):
        for takes in options.takes:
            for way, make in (("in turn", in_turn), ("at once", together)):
                started = time.perf_counter()
                make(model, takes, options.seconds)
                speed = takes * options.seconds / (time.perf_counter() - started)
                speeds[way].setdefault(takes, []).append(speed)
    first: dict[str, list[float]] = {"alone": [], f"beside {OTHERS} others": []}
    for _ in range(options.rounds):
        for others, waits in zip((0, OTHERS), first.values(), strict=True):
            waits.append(first_sound(model, others))
    costs = {takes: beside_the_decoder(model, takes) for takes in (1, max(options.takes))}
    return {"speeds": speeds, "first_sound": first, "milliseconds_a_step": costs}


def wish(seed: int, seconds: float) -> MusicRequest:
    return MusicRequest(PROMPT, duration=seconds, seed=seed)


def in_turn(model: MusicGen, takes: int, seconds: float) -> None:
    for seed in range(takes):
        together(model, 1, seconds, seed)


def together(model: MusicGen, takes: int, seconds: float, first: int = 0) -> None:
    with Scheduler(model) as scheduler:
        for seed in range(first, first + takes):
            scheduler.add(wish(seed, seconds))
        while scheduler.busy:
            scheduler.step()


def first_sound(model: MusicGen, others: int) -> float:
    """Seconds that a newcomer waits, while so many others have heard some of theirs."""
    with Scheduler(model) as scheduler:
        heard: set[Making] = set()

        def step() -> None:
            events = scheduler.step()
            heard.update(e.making for e in events if isinstance(e, Made) and e.piece.samples.size)

        for seed in range(others):
            scheduler.add(wish(seed, 60))
        listening = time.perf_counter() + 3  # seconds
        while len(heard) < others or (others and time.perf_counter() < listening):
            step()
        started, newcomer = time.perf_counter(), scheduler.add(wish(99, 10))
        while newcomer not in heard:
            step()
        return time.perf_counter() - started


def beside_the_decoder(model: MusicGen, takes: int) -> dict[str, float]:
    """Milliseconds of a step: of the decoder, of sampling, of all else; medians of many."""
    spent: dict[str, list[float]] = {"decoder": [], "sampling": [], "step": []}

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent[part].append(time.perf_counter() - started)

        return run

    with (
        Scheduler(model) as scheduler,
        patch.object(module, "sample", timed("sampling", module.sample)),
        patch.object(model.decoder, "step", timed("decoder", model.decoder.step)),
    ):
        makings = [scheduler.add(wish(seed, 10)) for seed in range(takes)]
        while min(making.steps for making in makings) < 10:
            scheduler.step()
        for times in spent.values():
            times.clear()
        step = timed("step", scheduler.step)
        for _ in range(40):  # before any chunk goes to the codec
            step()
    parts = zip(*spent.values(), strict=True)
    spent["scheduler"] = [whole - decoder - sampling for decoder, sampling, whole in parts]
    return {part: 1000 * statistics.median(times) for part, times in spent.items()}


def show(report: dict[str, Any]) -> None:
    print(f"{report['processor']}, {report['cores']} cores; takes of {report['seconds']:g} s")
    for name, found in report["models"].items():
        print(f"\n{name}: × real time, of all takes together (median, least to greatest)\n")
        print("| takes | one after the other | at once | times as fast |\n|---|---|---|---|")
        for takes, turns in found["speeds"]["in turn"].items():
            once = found["speeds"]["at once"][takes]
            ratio = statistics.median(b / a for a, b in zip(turns, once, strict=True))
            print(f"| {takes} | {spread(turns)} | {spread(once)} | {ratio:.2f} |")
        print("\nFirst sound after (s): ", end="")
        print(", ".join(f"{who} {spread(each)}" for who, each in found["first_sound"].items()))
        for takes, costs in found["milliseconds_a_step"].items():
            parts = ", ".join(f"{part} {cost:.2f}" for part, cost in costs.items())
            print(f"Milliseconds a step of {takes}: {parts}")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
