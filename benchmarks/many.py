"""Many listeners: takes made at once against one after the other, by the same engine.

With ``--peer-seconds``, transformers makes takes of that length of the same weights as well, as
one batch of as many prompts. All take turns, so that they meet the same moods of a shared
machine. Measured as well: how long a newcomer waits for the first sound while three others are
being made, against one who is alone; what a step costs besides the decoder; and how a step and
memory grow with takes, and with the music that there is already. Run it from the project's root::

    python -m benchmarks.many [--models small nano] [--takes 1 2 4 8] [--seconds 6] [--rounds 3]
        [--peer-seconds 2] [--contexts 5 30] [--level avx2]

``small`` is musicgen-small's shape with random weights, ``nano`` the embedded checkpoint.
``--level`` is for the speed of older processors: their kernel's loops, and EnCodec in float32.
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
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.decoder import FRAME_RATE
from benchmarks.small import PROMPT, musicgen_small
from musicgen_space.backends.local.backend import torch_threads
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.memory import takes_bytes
from musicgen_space.engine.model import Columns, Condition
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.placement import choose_placement
from musicgen_space.engine.runtimes.native import runtime
from musicgen_space.engine.runtimes.native.build import default_cache
from musicgen_space.engine.runtimes.native.decoder import NativeDecoder
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
    parser.add_argument("--peer-seconds", type=float, default=0, help="0: without transformers")
    parser.add_argument("--contexts", type=int, nargs="*", default=[5, 30], help="seconds")
    parser.add_argument("--level", default="", help="of the kernel, e.g. avx2; default: the best")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/many.json"))
    options = parser.parse_args()
    torch.set_num_threads(torch_threads(weights=0))
    report = {
        "processor": processor(),
        "level": options.level,
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
    model = loaded(FOLDERS[name](), options.level)
    together(model, 2, 1)  # warms up
    ways = {
        "one after the other": (in_turn, options.seconds),
        "at once": (together, options.seconds),
    }
    if options.peer_seconds:
        ways["transformers"] = transformers(FOLDERS[name]()), options.peer_seconds
    speeds: dict[str, dict[int, list[float]]] = {way: {} for way in ways}
    for _ in range(options.rounds):
        for takes in options.takes:
            for way, (make, seconds) in ways.items():
                started = time.perf_counter()
                make(model, takes, seconds)
                speed = takes * seconds / (time.perf_counter() - started)
                speeds[way].setdefault(takes, []).append(speed)
    first: dict[str, list[float]] = {"alone": [], f"beside {OTHERS} others": []}
    for _ in range(options.rounds):
        for others, waits in zip((0, OTHERS), first.values(), strict=True):
            waits.append(first_sound(model, others))
    costs = {takes: beside_the_decoder(model, takes) for takes in (1, max(options.takes))}
    grown = [
        {"seconds": context, "takes": takes, **after(model, takes, context)}
        for context in options.contexts
        for takes in options.takes
    ]
    return {"speeds": speeds, "first_sound": first, "milliseconds_a_step": costs, "grown": grown}


def loaded(folder: Path, level: str) -> MusicGen:
    """By the kernel's ``level``; other than the best, it stands for a processor without BF16."""
    cores = os.cpu_count() or 1
    placement = choose_placement("cpu", quant="auto", threads=cores, cache=default_cache())
    if not level:
        return load(folder, placement)
    with (
        patch.object(runtime, "NativeDecoder", partial(NativeDecoder, level=level)),
        patch.object(runtime.NativeRuntime, "codec_kernel", None),
    ):
        return load(folder, placement)


def transformers(folder: Path) -> Callable[[MusicGen | None, int, float], None]:
    """``generate`` of transformers, of as many prompts in one batch, in float32."""
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    peer = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def make(_: MusicGen | None, takes: int, seconds: float) -> None:
        ours = torch.get_num_threads()
        torch.set_num_threads(os.cpu_count() or 1)
        inputs = tokenizer([PROMPT] * takes, return_tensors="pt")
        frames = round(seconds * FRAME_RATE) + 3  # the delays of 4 codebooks
        peer.generate(
            **inputs, do_sample=True, top_k=250, guidance_scale=3.0, max_new_tokens=frames
        )
        torch.set_num_threads(ours)

    make(None, 1, 0.1)  # warms up
    return make


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

    sampler = type(model.sampler)
    with (
        Scheduler(model) as scheduler,
        patch.object(sampler, "sample", timed("sampling", sampler.sample)),
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


@torch.inference_mode()
def after(model: MusicGen, takes: int, seconds: int) -> dict[str, float]:
    """A step of so many takes after ``seconds`` of music each, and what they read that at."""
    decoder, config = model.decoder, model.decoder.config
    condition = Condition(model.text.encode([PROMPT]), rows=2)
    columns = seconds * FRAME_RATE
    states = [decoder.start(condition, columns + 100)[0] for _ in range(takes)]
    codes = torch.randint(config.codebook_size, (1, config.codebooks, columns))
    started = time.perf_counter()
    decoder.step(states, [Columns(codes)] * takes)
    read = time.perf_counter() - started
    times = []
    for _ in range(30):
        started = time.perf_counter()
        decoder.step(states, [Columns(codes[..., :1])] * takes)
        times.append(time.perf_counter() - started)
    one, two = (takes_bytes(model, [wish(0, seconds)] * count) for count in (1, 2))
    return {
        "step": 1000 * statistics.median(times),
        "least_step": 1000 * min(times),
        "column": 1000 * read / columns / takes,
        "megabytes_a_take": (two - one) / 1e6,  # as the backend counts
    }


def show(report: dict[str, Any]) -> None:
    level = report["level"] or "the best level"
    print(f"{report['processor']}, {report['cores']} cores, {level}; {report['seconds']:g} s each")
    for name, found in report["models"].items():
        ways = found["speeds"]
        print(f"\n{name}: × real time, of all takes together (median, least to greatest)\n")
        print(f"| takes | {' | '.join(ways)} | times as fast at once |")
        print("|---" * (len(ways) + 2) + "|")
        for takes, turns in ways["one after the other"].items():
            ratio = statistics.median(
                b / a for a, b in zip(turns, ways["at once"][takes], strict=True)
            )
            cells = [spread(of[takes]) for of in ways.values()]
            print(f"| {takes} | {' | '.join(cells)} | {ratio:.2f} |")
        print("\nFirst sound after (s): ", end="")
        print(", ".join(f"{who} {spread(each)}" for who, each in found["first_sound"].items()))
        for takes, costs in found["milliseconds_a_step"].items():
            parts = ", ".join(f"{part} {cost:.2f}" for part, cost in costs.items())
            print(f"Milliseconds a step of {takes}: {parts}")
        print("\n| after | takes | a step, ms (least) | reading a column, ms | MB a take |")
        print("|---|---|---|---|---|")
        for each in found["grown"]:
            step = f"{each['step']:.1f} ({each['least_step']:.1f})"
            rest = f"{each['column']:.2f} | {each['megabytes_a_take']:.0f} |"
            print(f"| {each['seconds']} s | {each['takes']} | {step} | {rest}")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
