"""The recipe: five stages, each of which writes a folder that the next ones read.

    render ─→ codec ─→ encode ─→ lm ─→ export

A stage writes to ``.NAME.partial``, which becomes ``NAME`` when it is complete. It holds the
fingerprint of everything its content depends on: the stage's settings and the stages before. So
a run that was interrupted goes on with the stage it was in, and one whose settings were changed
with the first stage that they change. Changed code is not noticed: name the stage.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.music import soundfont, tiny_soundfont
from training.music.dataset import Dataset, write
from training.presets import HELD_OUT_SEEDS, TRAINING_SEEDS, Preset

__all__ = ["STAGES", "Run", "Stage", "run"]

_FINGERPRINT, _REPORT = "fingerprint.txt", "report.json"
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the recipe in ``folder``.

    ``seconds``: the most that each of the two trainings may take; None: as long as they need.
    """

    preset: Preset
    folder: Path
    seconds: float | None = None
    processes: int = 1

    def product(self, stage: str) -> Path:
        """The folder that a finished stage left."""
        return self.folder / stage


@dataclass(frozen=True, slots=True)
class Stage:
    """``make`` fills a folder and reports figures; ``settings`` is what they depend on."""

    name: str
    make: Callable[[Run, Path], Report]
    settings: Callable[[Run], object]


def run(run: Run, redo_from: str | None = None) -> Report:
    """Make everything that is not there yet, and ``redo_from`` and what follows it in any case.

    → the figures of all stages, which are in ``report.json``, too.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    fingerprint, redo = "", False
    report: Report = {}
    for stage in STAGES:
        redo = redo or stage.name == redo_from
        fingerprint = _fingerprint(stage.settings(run), fingerprint)
        report[stage.name] = _do(stage, run, fingerprint, redo=redo)
    (run.folder / _REPORT).write_text(json.dumps(report, indent=2) + "\n")
    return report


def _do(stage: Stage, run: Run, fingerprint: str, *, redo: bool) -> Report:
    product, partial = run.product(stage.name), run.folder / f".{stage.name}.partial"
    if not redo and _fingerprint_in(product) == fingerprint:
        print(f"{stage.name}: done before", flush=True)
    else:
        if redo or _fingerprint_in(partial) != fingerprint:
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(exist_ok=True)
        (partial / _FINGERPRINT).write_text(fingerprint)
        print(f"{stage.name}: starts", flush=True)
        start = time.monotonic()
        report = stage.make(run, partial)
        report = {"seconds": round(time.monotonic() - start, 1)} | report
        (partial / _REPORT).write_text(json.dumps(report, indent=2) + "\n")
        shutil.rmtree(product, ignore_errors=True)
        os.replace(partial, product)
        print(f"{stage.name}: {json.dumps(report)}", flush=True)
    done: Report = json.loads((product / _REPORT).read_text())
    return done


def _fingerprint(settings: object, before: str) -> str:
    text = json.dumps([settings, before], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint_in(folder: Path) -> str:
    file = folder / _FINGERPRINT
    return file.read_text() if file.exists() else ""


# Each stage imports what it needs when it runs: rendering, whose processes import this
# module again, needs no torch.


def _render(run: Run, folder: Path) -> Report:
    music = run.preset.music
    font = _soundfont(run, folder)
    seeds = {"train": TRAINING_SEEDS[: music.pieces], "held_out": HELD_OUT_SEEDS[: music.held_out]}
    for name, pieces in seeds.items():
        write(folder / name, pieces, music.seconds, font, run.processes)
    return {"hours": round(music.pieces * music.seconds / 3600, 3)}


def _soundfont(run: Run, folder: Path) -> Path:
    if not run.preset.music.tiny_soundfont:
        return soundfont.find()
    file = folder / "tiny.sf2"
    tiny_soundfont.write(file)
    return file


def _render_settings(run: Run) -> object:
    music = run.preset.music
    return asdict(music), None if music.tiny_soundfont else soundfont.digest(soundfont.find())


def _codec(run: Run, folder: Path) -> Report:
    from training.codec.train import train
    from training.device import choose_device
    from training.plots import plot_losses

    music = Dataset(run.product("render") / "train")
    train(run.preset.codec, music, folder, choose_device(), run.preset.seed, run.seconds)
    plot_losses(folder, folder / "losses.png")
    return {}


def _encode(run: Run, folder: Path) -> Report:
    from transformers import EncodecModel

    from training.codec.encode import encode, figures
    from training.device import choose_device

    device = choose_device()
    codec = EncodecModel.from_pretrained(run.product("codec")).to(device).eval()
    for name in ("train", "held_out"):
        encode(codec, Dataset(run.product("render") / name), folder / f"{name}.npy", device)
    held_out = Dataset(run.product("render") / "held_out")
    return figures(codec, held_out, folder / "held_out.npy", device)


def _lm(run: Run, folder: Path) -> Report:
    import numpy as np
    import torch
    from transformers import EncodecModel

    from training.device import choose_device
    from training.lm.train import Captioned, train
    from training.plots import plot_losses

    music, held_out = (
        Captioned(
            torch.from_numpy(np.load(run.product("encode") / f"{name}.npy")),
            Dataset(run.product("render") / name).captions,
        )
        for name in ("train", "held_out")
    )
    codec = EncodecModel.from_pretrained(run.product("codec"))
    preset, device = run.preset, choose_device()
    report = train(
        preset.language, codec, music, held_out, folder, device, preset.seed, run.seconds
    )
    plot_losses(folder, folder / "losses.png")
    return report


def _export(run: Run, folder: Path) -> Report:
    from training.export import check, export

    export(run.product("lm"), folder / "checkpoint", run.preset.shard_megabytes)
    return check(folder / "checkpoint")


STAGES = (
    Stage("render", _render, _render_settings),
    Stage("codec", _codec, lambda run: [asdict(run.preset.codec), run.preset.seed, run.seconds]),
    Stage("encode", _encode, lambda run: None),
    Stage("lm", _lm, lambda run: [asdict(run.preset.language), run.preset.seed, run.seconds]),
    Stage("export", _export, lambda run: run.preset.shard_megabytes),
)
