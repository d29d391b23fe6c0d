"""Whether the seams of an extended take can be told from any other moment of it.

A long take is made in windows (``engine/windows.py``); a seam is where the first predicted
frame of a window follows the last one of the window before. At each seam, and every tenth of
a second elsewhere, this measures how much the sound changes: the distance between the mean
log-mel spectra just before and just after, over 50 ms (a click, a change of texture), 0.5 s (a
change of sound) and 2 s (a change of music). What is reported is the share of other moments
that change less than a seam: 50 % on average, and above 95 % for one seam in twenty, if seams
are like any other moment. The control has seams that must stand out: stretches of unrelated
takes, one after the other. ``--live`` judges a live passage whose windows share so many seconds.
Run it from the project's root::

    python -m benchmarks.seams [--model FOLDER] [--takes 6] [--seconds 84] [--live SECONDS]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.live.passage import Passage
from musicgen_space.engine.scheduler.events import Made
from musicgen_space.engine.scheduler.scheduler import Scheduler
from musicgen_space.engine.windows import WINDOW_SECONDS, windows
from musicgen_space.live import LiveWish
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest

PROMPTS = (
    "lo-fi music with a soothing melody",
    "upbeat funk with brass and slap bass",
    "sad solo piano, slow",
    "calm ambient soundscape with strings",
)
SPANS = (0.05, 0.5, 2.0)  # seconds
GRID = 0.1  # seconds
FFT, HOP = 1024, 320  # samples: 32 and 10 ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=embedded_folder(), metavar="FOLDER")
    parser.add_argument("--takes", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=84)
    parser.add_argument("--live", type=float, metavar="SECONDS")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/seams.json"))
    options = parser.parse_args()

    torch.set_num_threads(1)
    model = load(options.model)
    requests = [
        MusicRequest(PROMPTS[take % len(PROMPTS)], seed=take, duration=options.seconds)
        for take in range(options.takes)
    ]
    takes = []
    for request in requests:
        takes.append(
            made(model, request) if options.live is None else played(model, request, options.live)
        )
        print(f"made {request.duration:g} s: {request.prompt}", flush=True)
    rate = model.codec.frame_rate
    if options.live is None:
        frames = round(options.seconds * rate)
        seams = [(each.start + each.known) / rate for each in windows(0, frames, rate)][1:]
    else:
        stride = WINDOW_SECONDS - options.live
        seams = [*np.arange(WINDOW_SECONDS, options.seconds - max(SPANS), stride)]
    report = {
        "model": options.model.name,
        "seconds": options.seconds,
        "seams": ranks(takes, seams, model.codec.sample_rate),
        "control": ranks(spliced(takes, seams, model.codec.sample_rate), seams, 32000),
    }
    show(report)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def made(model: MusicGen, request: MusicRequest) -> np.ndarray:
    """The sound of a request in mono, [n]."""
    pieces = [piece.samples for piece in generate(model, request)]
    mono: np.ndarray = np.concatenate(pieces, axis=-1)[0].mean(axis=0)
    return mono


def played(model: MusicGen, request: MusicRequest, shared: float) -> np.ndarray:
    """As much of a live passage in mono, [n], whose windows share so many seconds."""
    passage = Passage(model, LiveWish(request), request.seed)
    passage.shared_seconds = shared
    pieces: list[np.ndarray] = []
    wanted = round(request.duration * model.codec.sample_rate)
    with Scheduler(model) as scheduler:
        scheduler.begin(lambda: passage)
        while sum(piece.shape[-1] for piece in pieces) < wanted:
            events = scheduler.step()
            pieces += [each.piece.samples for each in events if isinstance(each, Made)]
    mono: np.ndarray = np.concatenate(pieces, axis=-1)[0, :, :wanted].mean(axis=0)
    return mono


def spliced(takes: list[np.ndarray], seams: list[float], rate: int) -> list[np.ndarray]:
    """As many takes, whose stretches between the seams come from different ones."""
    edges = [0, *(round(seam * rate) for seam in seams), len(takes[0])]
    stretches = list(itertools.pairwise(edges))
    return [
        np.concatenate([takes[(first + i) % len(takes)][a:b] for i, (a, b) in enumerate(stretches)])
        for first in range(len(takes))
    ]


def ranks(takes: list[np.ndarray], seams: list[float], rate: int) -> dict[str, list[float]]:
    """For each span, of each seam: the share of other moments that change less."""
    result: dict[str, list[float]] = {f"{span:g} s": [] for span in SPANS}
    for take in takes:
        mel = log_mel(take, rate)
        for span in SPANS:
            moments = np.arange(span, len(take) / rate - span, GRID)
            away = np.abs(moments[:, None] - np.array(seams)).min(axis=1) > span
            others = np.array([change(mel, moment, span, rate) for moment in moments[away]])
            for seam in seams:
                share = float((others < change(mel, seam, span, rate)).mean())
                result[f"{span:g} s"].append(share)
    return result


def change(mel: np.ndarray, moment: float, span: float, rate: int) -> float:
    """How far the mean spectra of ``span`` seconds before and after ``moment`` are apart, dB."""
    middle, width = round(moment * rate / HOP), max(1, round(span * rate / HOP))
    before, after = mel[middle - width : middle], mel[middle : middle + width]
    return float(np.linalg.norm(after.mean(axis=0) - before.mean(axis=0)))


def log_mel(sound: np.ndarray, rate: int) -> np.ndarray:
    """[n] → dB [frames, 64]."""
    spectrum = torch.stft(
        torch.from_numpy(sound), FFT, HOP, window=torch.hann_window(FFT), return_complex=True
    )
    filters = mel_filter_bank(FFT // 2 + 1, 64, 40, rate / 2, rate, mel_scale="htk")
    power = spectrum.abs().square().numpy().T @ filters
    level: np.ndarray = 10 * np.log10(np.maximum(power, 1e-6))
    return level


def show(report: dict[str, object]) -> None:
    print("| change over | seams: mean rank | above 95 % | control: mean rank | above 95 % |")
    print("|---|---|---|---|---|")
    for span in (f"{span:g} s" for span in SPANS):
        cells = []
        for kind in ("seams", "control"):
            shares = np.array(report[kind][span])  # type: ignore[index]
            cells += [f"{shares.mean():.0%}", f"{(shares > 0.95).mean():.0%} of {len(shares)}"]
        print(f"| {span} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
