"""Our engine against transformers' ``generate``, on the same weights, in one process.

The two take turns, so that both meet the same moods of a shared machine; what counts is
the ratio. Run it from the project's root::

    python -m benchmarks.cpu [--model FOLDER] [--seconds 10] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer, MusicgenForConditionalGeneration

from musicgen_space.engine.generate import generate
from musicgen_space.engine.loader import load
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest

PROMPT = "lo-fi music with a soothing melody"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=embedded_folder(), metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/cpu.json"))
    options = parser.parse_args()

    request = MusicRequest(PROMPT, duration=options.seconds)
    contestants = {
        "musicgen_space": (ours(options.model, request), 1),
        "transformers": (theirs(options.model, request), torch.get_num_threads()),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for round_ in range(options.rounds + 1):  # the first one warms up and does not count
        for name, (run, threads) in contestants.items():
            torch.set_num_threads(threads)
            result = run()
            if round_:
                runs[name].append(result)
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "model": options.model.name,
        "seconds": options.seconds,
        "runs": runs,
        "ratio": statistics.median(
            b["wall"] / a["wall"]
            for a, b in zip(runs["musicgen_space"], runs["transformers"], strict=True)
        ),
    }
    show(report, options.seconds)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def ours(folder: Path, request: MusicRequest) -> Callable[[], dict[str, float]]:
    model = load(folder)

    def run() -> dict[str, float]:
        started, first = time.perf_counter(), 0.0
        for piece in generate(model, request):
            if piece.samples.size and not first:
                first = time.perf_counter() - started
        return {"wall": time.perf_counter() - started, "first_sound": first}

    return run


def theirs(folder: Path, request: MusicRequest) -> Callable[[], dict[str, float]]:
    model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = AutoTokenizer.from_pretrained(folder)([request.prompt], return_tensors="pt")

    def run() -> dict[str, float]:
        started = time.perf_counter()
        torch.manual_seed(request.seed)
        model.generate(
            **inputs,
            do_sample=True,
            guidance_scale=request.guidance_scale,
            top_k=request.top_k,
            max_new_tokens=round(request.duration * 50) + 3,
        )
        wall = time.perf_counter() - started
        return {"wall": wall, "first_sound": wall}

    return run


def show(report: dict, seconds: float) -> None:
    print(f"{report['model']}, {seconds:g} s of music, {report['machine']}\n")
    print(f"{'':16} {'× real time':>22} {'first sound, s':>16}")
    print(f"{'':16} {'min':>7}{'median':>8}{'max':>7} {'median':>16}")
    for name, results in report["runs"].items():
        speeds = sorted(seconds / result["wall"] for result in results)
        first = statistics.median(result["first_sound"] for result in results)
        middle = statistics.median(speeds)
        print(f"{name:16} {speeds[0]:7.2f}{middle:8.2f}{speeds[-1]:7.2f} {first:16.2f}")
    print(f"\nmusicgen_space is {report['ratio']:.1f} times as fast (median of the rounds)")


if __name__ == "__main__":
    main()
