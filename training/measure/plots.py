"""The results as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.measure.report import JUDGES

__all__ = ["draw"]

Result = dict[str, Any]

_KINDS = {
    "floor": ("another take's prompt", "#b8b8b8"),
    "takes": ("takes", "#6d28d9"),
    "decoded": ("references through the codec", "#93c5fd"),
    "ceiling": ("references", "#1e3a8a"),
}
_GROUPS = {
    "takes": ("takes", "#6d28d9"),
    "unseen": ("unseen pieces", "#9ca3af"),
    "trained": ("training pieces", "#dc2626"),
}


def draw(results: Result, folder: Path) -> None:
    """Write a PNG for each stage that has a picture."""
    pictures = {"adherence": _adherence, "codec": _codec, "copying": _copying}
    for stage, paint in pictures.items():
        if results.get(stage):
            with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False}):
                figure = Figure((7, 4), layout="constrained")
                paint(figure.subplots(), results[stage])
                figure.savefig(folder / f"{stage}.png", dpi=110)


def _adherence(axes: Axes, result: Result) -> None:
    """Bars with 95 % intervals, four for each judge."""
    names = [name for name in JUDGES if name in result]
    places = np.arange(len(names))
    for row, (kind, (spoken, colour)) in enumerate(_KINDS.items()):
        means = [result[name][kind] for name in names]
        values = np.array([100 * mean["value"] for mean in means])
        errors = np.abs([[100 * mean[end] for mean in means] for end in ("low", "high")] - values)
        at = places + 0.2 * (row - 1.5)
        axes.bar(at, values, 0.19, yerr=errors, label=spoken, color=colour, error_kw={"lw": 0.8})
    axes.set_xticks(places, names)
    axes.set_ylim(0, 105)
    axes.set_ylabel("heard, % of prompts")
    axes.legend(ncols=2, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))


def _codec(axes: Axes, result: Result) -> None:
    """The mel distance of each style, the worst on top."""
    styles = sorted(result["by_style"].items(), key=lambda item: item[1]["mel_distance_db"])
    values = [style["mel_distance_db"] for _, style in styles]
    axes.barh([name for name, _ in styles], values, color="#6d28d9")
    axes.tick_params(axis="y", labelsize=6.5)
    axes.set_xlabel("mel distance of the codec, dB")


def _copying(axes: Axes, result: Result) -> None:
    """How like the nearest training piece each sound of a group is."""
    bins = np.linspace(0, 1, 41).tolist()
    for name, (spoken, colour) in _GROUPS.items():
        values = result[name]["likenesses"]
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, bins, weights=weights, alpha=0.6, label=spoken, color=colour)
    axes.axvline(result["limit"], color="black", lw=0.8, ls=":")
    axes.set_xlabel("likeness to the nearest training piece (correlation of chroma)")
    axes.set_ylabel("%")
    axes.legend(frameon=False)
