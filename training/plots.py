"""The losses of a run as a picture."""

from __future__ import annotations

from pathlib import Path

from training import journal

__all__ = ["plot_losses"]


def plot_losses(folder: Path, file: Path) -> None:
    """Draw what the journal in ``folder`` has, one panel for each loss, as a PNG."""
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    lines = journal.read(folder)
    names = [name for name in lines[0] if name not in ("step", "seconds")]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    steps = [line["step"] for line in lines]
    for panel, name in zip(panels, names, strict=False):
        panel.plot(steps, [line[name] for line in lines], linewidth=1)
        panel.set_title(name.replace("_", " "), fontsize=9)
        panel.grid(alpha=0.3)
    for panel in list(panels)[len(names) :]:
        panel.set_axis_off()
    figure.savefig(file, dpi=110)
