"""Measures a checkpoint: codec, decoder, prompts, likeness to references, memorisation.

Run it from the project's root; the results, a table and plots go to ``--out``, along with all
that was made on the way, which the next run finds there::

    python -m training.measure [--model FOLDER] [--pieces 87] [--takes 2] [--out FOLDER]

``--only adherence`` (or some stages, with commas) runs a part; the report has whatever parts
are there. Processes with stages of their own can share a folder.

``--held-out`` and ``--trained`` are seeds of pieces, by default the embedded checkpoint's. One that
the recipe made has ``--held-out 1000000:1000064 --trained 0:6000``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

from musicgen_space.models import embedded_folder
from training.measure.plots import draw
from training.measure.report import table
from training.measure.stages import STAGES
from training.measure.workshop import Options, Workshop


def main() -> None:
    """Run the stages that are asked for, then write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=embedded_folder(), metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), metavar="FOLDER")
    parser.add_argument(
        "--pieces", type=int, default=87, help="prompts, best a multiple of the 29 styles"
    )
    parser.add_argument("--takes", type=int, default=2, help="takes of each prompt")
    parser.add_argument("--calibration", type=int, default=290, help="pieces judges are set on")
    parser.add_argument("--seconds", type=float, default=10, help="of takes and references")
    parser.add_argument("--held-out", type=_seeds, default="0:64", metavar="FROM:TO")
    parser.add_argument("--trained", type=_seeds, default="64:6000", metavar="FROM:TO")
    parser.add_argument("--probes", type=int, default=30, help="trained pieces looked at closely")
    parser.add_argument("--quant", default="int8", help="how takes are made, as MUSICGEN_QUANT")
    parser.add_argument("--only", default=",".join(STAGES), metavar="STAGES")
    parser.add_argument("--threads", type=int, default=1)
    given = vars(parser.parse_args())
    stages, threads = given.pop("only").split(","), given.pop("threads")
    if unknown := set(stages) - set(STAGES):
        parser.error(f"--only {', '.join(unknown)}: there are {', '.join(STAGES)}.")

    torch.set_num_threads(threads)
    options = Options(**given)
    options.out.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(options, _tell)
    for stage in stages:
        started = time.monotonic()
        result = STAGES[stage](workshop)
        _tell(f"{stage}: done in {time.monotonic() - started:.0f} s")
        (options.out / f"{stage}.json").write_text(json.dumps(result, indent=2))
    _report(options)


def _report(options: Options) -> None:
    results: dict[str, Any] = {
        stage: json.loads((options.out / f"{stage}.json").read_text())
        for stage in STAGES
        if (options.out / f"{stage}.json").exists()
    }
    about = {
        "model": options.model.name,
        "prompts": options.pieces,
        "takes": options.takes,
        "seconds": options.seconds,
        "machine": platform.machine(),
    }
    report = json.dumps({"about": about, **results}, indent=2)
    (options.out / "quality.json").write_text(report)
    text = table(results)
    (options.out / "quality.md").write_text(text)
    draw(results, options.out)
    print(text)


def _seeds(text: str) -> range:
    first, _, end = text.partition(":")
    try:
        return range(int(first), int(end))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not two numbers with a colon.") from None


def _tell(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


if __name__ == "__main__":
    main()
