"""The losses of a run as a picture."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from training import journal

__all__ = ["plot_losses"]


def plot_losses(folder: Path, file: Path) -> None:
    """Draw what the journal in ``folder`` has, one panel for each loss, as a PNG."""
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    lines = journal.read(folder)
    # In order of appearance: some losses come in later.
    names = [name for name in dict.fromkeys(chain(*lines)) if name not in ("step", "seconds")]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, name in zip(panels, names, strict=False):
        there = [line for line in lines if name in line]
        steps, losses = [line["step"] for line in there], [line[name] for line in there]
        panel.plot(steps, losses, marker="." if len(there) < 10 else "", linewidth=1)
        panel.set_title(name, fontsize=9)
        panel.grid(alpha=0.3)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.savefig(file, dpi=110)
