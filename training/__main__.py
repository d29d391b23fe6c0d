"""``python -m training run --preset nano``: makes a checkpoint, stage by stage."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from training import stages
from training.journal import Diverged
from training.music.soundfont import SoundfontMissing
from training.presets import PRESETS

_STAGES = [stage.name for stage in stages.STAGES]


def main() -> int:
    """Do what the command line says; → the exit code."""
    options = _parser().parse_args()
    preset = PRESETS[options.preset]
    run = stages.Run(
        preset,
        options.folder or Path("runs") / preset.name,
        options.minutes * 60 if options.minutes else None,
        options.processes,
    )
    try:
        stages.run(run, options.redo_from)
    except (SoundfontMissing, Diverged) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The checkpoint is in {run.product('export') / 'checkpoint'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="do what is not done yet")
    run.add_argument("--preset", choices=PRESETS, default="smoke")
    run.add_argument("--from", dest="redo_from", choices=_STAGES, help="do this stage again")
    run.add_argument("--folder", type=Path, help="where everything is written (runs/PRESET)")
    run.add_argument(
        "--minutes", type=float, help="the most that the codec and the lm may each train"
    )
    run.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="that render music at a time"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
