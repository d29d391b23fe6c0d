"""How live music follows another prompt, how soon, and whether it can go on for ever.

Twelve pairs of prompts. Each is played for some seconds by the first prompt, then the second one
is wished. Four seconds later the next four are compared with what each prompt gives alone: of
the loudness (dB), the centroid of the spectrum (octaves), the onsets and the share of percussion,
each in steps of how much it varies within takes, how far has the sound moved on its way from the
one to the other? 0 %: not at all, 100 %: it is there.

Time is counted by the work that is done: a step of the decoder lasts as long as on a machine
that makes music ``--speed`` times as fast as it plays, whatever else this machine does. With
``--minutes`` music is made as fast as it can be for so long, and its memory and speed are told.

    python -m benchmarks.live [--model FOLDER] [--speed 4] [--ways evolve arrive auto] [--seeds 2]
    python -m benchmarks.live --minutes 60
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import psutil
import torch

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.generate import generate
from musicgen_space.engine.live.listener import Listener
from musicgen_space.engine.live.session import Live
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.scheduler.scheduler import Scheduler
from musicgen_space.live import Heard, LiveWish
from musicgen_space.models import embedded_folder
from musicgen_space.request import MusicRequest
from training.measure.hearing import percussive_share

PAIRS = (
    ("fast house with drums", "gentle lullaby, music box"),
    ("calm solo flute", "fast heavy metal with drums"),
    ("loud rock with distorted guitars", "quiet solo piano, slow"),
    ("upbeat funk with brass and slap bass", "calm ambient soundscape with strings"),
    ("techno with a hard kick drum", "soft harp, dreamy"),
    ("sad solo piano, slow", "energetic drum and bass"),
    ("lo-fi music with a soothing melody", "fast chiptune, arcade game"),
    ("trap beat with deep bass", "folk guitar, fingerpicking"),
    ("heavy metal with double bass drums", "ambient pads without drums"),
    ("jazz trio with walking bass", "techno with a hard kick drum"),
    ("string quartet, slow and sad", "happy reggae with drums and bass"),
    ("synthwave with a driving beat", "gentle acoustic guitar, calm"),
)
BEFORE, AFTER, JUDGED = 6.0, 4.0, 4.0  # seconds: the first prompt, the wait, what is compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=embedded_folder(), metavar="FOLDER")
    parser.add_argument("--speed", type=float, default=4.0)
    parser.add_argument("--ways", nargs="+", default=["evolve", "arrive", "auto"])
    parser.add_argument("--pairs", type=int, default=len(PAIRS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/live.json"))
    options = parser.parse_args()

    torch.set_num_threads(1)
    model = load(options.model)
    report: dict[str, Any] = {"model": options.model.name, "speed": options.speed}
    if options.minutes:
        report["endless"] = endless(model, options.minutes)
    else:
        report["pairs"] = steering(model, options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def steering(model: MusicGen, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    cells = " | ".join(f"{way}: moved, heard after" for way in options.ways)
    print(f"| from | to | {cells} |")
    print("|---" * (2 + len(options.ways)) + "|", flush=True)
    pairs = PAIRS[: options.pairs]
    alone = {prompt: heard_alone(model, prompt) for pair in pairs for prompt in pair}
    unit = np.mean([features.std(axis=0) for features in alone.values()], axis=0)
    for first, second in pairs:
        row: dict[str, Any] = {"from": first, "to": second}
        goal = (alone[second].mean(axis=0) - alone[first].mean(axis=0)) / unit
        for way in options.ways:
            found = [followed(model, first, second, way, seed, options.speed)
                     for seed in range(options.seeds)]  # fmt: skip
            there = np.mean([features for features, _ in found], axis=0)
            moved = ((there - alone[first].mean(axis=0)) / unit) @ goal / (goal @ goal)
            row[way] = {"moved": moved, "after": statistics.mean(after for _, after in found)}
        rows.append(row)
        cells = [f"{row[way]['moved']:.0%}, {row[way]['after']:.1f} s" for way in options.ways]
        print(f"| {first} | {second} | {' | '.join(cells)} |", flush=True)
    for way in options.ways:
        enough = sum(row[way]["moved"] >= 0.7 for row in rows)
        latest = max(row[way]["after"] for row in rows)
        print(f"{way}: {enough} of {len(rows)} moved 70 % or more; heard within {latest:.1f} s")
    return rows


def heard_alone(model: MusicGen, prompt: str) -> np.ndarray:
    """Features of what a prompt gives, of two stretches of four takes: [8, features]."""
    request = MusicRequest(prompt, seed=100, duration=2 * JUDGED, variations=4)
    pieces = [piece.samples for piece in generate(model, request)]
    takes = np.concatenate(pieces, axis=-1).mean(axis=1)
    parts = [part for take in takes for part in np.array_split(take, 2)]
    return np.array([features_of(part, model) for part in parts])


def features_of(sound: np.ndarray, model: MusicGen) -> np.ndarray:
    """Level, centroid, onsets and percussion of a sound [n]."""
    rate = model.codec.sample_rate
    level = 10 * np.log10(np.mean(sound**2) + 1e-6)
    centroid = np.log2(librosa.feature.spectral_centroid(y=sound, sr=rate).mean() + 50)
    onsets = librosa.onset.onset_strength(y=sound, sr=rate).mean()
    return np.array([level, centroid, onsets, percussive_share(sound)])


class WorkClock:
    """Time as steps of the decoder take it on a machine of some speed."""

    def __init__(self, model: MusicGen, speed: float) -> None:
        self._step, self._now = 1 / (model.codec.frame_rate * speed), 0.0

    def work(self, streams: int) -> None:
        """One step of so many passages: another one costs a fourth more."""
        self._now += self._step * (0.75 + 0.25 * max(1, streams))

    def __call__(self) -> float:
        """Seconds."""
        return self._now


def followed(
    model: MusicGen, first: str, second: str, way: str, seed: int, speed: float
) -> tuple[np.ndarray, float]:
    """Features after ``second`` was wished, and how many seconds later it was heard."""
    clock = WorkClock(model, speed)
    wish = LiveWish(MusicRequest(first, seed=seed), change=way)  # type: ignore[arg-type]
    pieces: list[np.ndarray] = []
    wished = wished_at = after = 0.0
    rate = model.codec.sample_rate
    listener = Listener(clock, rate)
    with Scheduler(model, clock=clock, patience=0.001) as scheduler:
        live = Live(scheduler, model, wish, ahead=1.0, clock=clock)
        for piece in played(live, scheduler, clock):
            pieces.append(piece.samples)
            told = piece.start + piece.samples.shape[-1] / rate
            listener.fetched = round(told * rate)
            heard = listener.position(listener.fetched) / rate
            if not wished and told >= BEFORE:
                live.steer(wish.steered(prompt=second))
                wished, wished_at = heard, clock()
            if wished and not after and piece.prompt == second:
                after = clock() - wished_at + piece.start - heard
            if wished and told >= wished + AFTER + JUDGED:
                break
        live.close()
    sound = np.concatenate(pieces, axis=-1).mean(axis=0)
    start = round((wished + AFTER) * rate)
    return features_of(sound[start : start + round(JUDGED * rate)], model), after


def played(live: Live, scheduler: Scheduler, clock: WorkClock | None) -> Iterator[Heard]:
    """What is heard; each piece is fetched at once."""
    while True:
        live.prepare()
        streams = sum(not making.paused for making in live.makings)
        events = scheduler.step()
        if clock is not None:
            clock.work(streams)
        for piece in live.hear(events):
            live.fetched(piece.start + piece.samples.shape[-1] / piece.sample_rate)
            yield piece


def endless(model: MusicGen, minutes: float) -> list[dict[str, float]]:
    """Memory and speed while ``minutes`` of music are made, with another prompt each minute."""
    rows, process, began = [], psutil.Process(), time.monotonic()
    wish = LiveWish(MusicRequest(PAIRS[0][0]))
    print("| minute | × real time | resident memory, MB |\n|---|---|---|")
    with Scheduler(model) as scheduler:
        live = Live(scheduler, model, wish, ahead=1.0, clock=None)
        for piece in played(live, scheduler, None):
            if piece.start >= 60 * (len(rows) + 1):
                now, number = time.monotonic(), len(rows) + 1
                row = {"minute": number, "speed": 60 / (now - began),
                       "megabytes": process.memory_info().rss / 2**20}  # fmt: skip
                rows.append(row)
                began = now
                print(f"| {number} | {row['speed']:.1f} | {row['megabytes']:.0f} |", flush=True)
                live.steer(live.wish.steered(prompt=PAIRS[number % len(PAIRS)][number % 2]))
            if piece.start >= 60 * minutes:
                break
        live.close()
    return rows


if __name__ == "__main__":
    main()
