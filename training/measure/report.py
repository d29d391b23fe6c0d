"""The results as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["table"]

Result = dict[str, Any]

# What the judges are called in the table.
JUDGES = {
    "style": "style, among the 3 likeliest of 29",
    "style by tags": "style, by musicnn's own tags",
    "instruments": "families of the named instruments",
    "drums": "drums, or none",
    "tempo band": "slow, mid-tempo or fast",
    "tempo": "tempo within 4 %, or its half, double, third, triple",
    "mode": "major or minor",
}
CROWDS = {
    "rendered": "other rendered pieces (the floor)",
    "decoded": "rendered pieces through the codec",
    "takes": "takes",
    "noise": "white noise (the upper control)",
}
GROUPS = {
    "takes": "takes",
    "unseen": "pieces no training saw, through the codec",
    "trained": "training pieces, through the codec (what a copy looks like)",
}


def table(results: Result) -> str:
    """Markdown of whichever stages are there."""
    writers: dict[str, Callable[[Result], list[str]]] = {
        "adherence": _adherence,
        "distance": _distance,
        "prediction": _prediction,
        "codec": _codec,
        "copying": _copying,
    }
    parts = [write(results[stage]) for stage, write in writers.items() if results.get(stage)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _adherence(result: Result) -> list[str]:
    lines = [
        "| heard, % of prompts | takes | another's prompt | references | and through the codec "
        "| prompts |",
        "|---|---|---|---|---|---|",
    ]
    for name, spoken in JUDGES.items():
        if name in result:
            shares = result[name]
            cells = [percent(shares[kind]) for kind in ("takes", "floor", "ceiling", "decoded")]
            lines.append(f"| {spoken} | {' | '.join(cells)} | {shares['takes']['count']} |")
    return lines


def _distance(result: Result) -> list[str]:
    lines = ["| Fréchet distance from rendered pieces | mean | least – most |", "|---|---|---|"]
    for name, spoken in CROWDS.items():
        some = result[name]
        lines.append(
            f"| {spoken} | {some['mean']:.1f} | {some['least']:.1f} – {some['most']:.1f} |"
        )
    return lines


def _prediction(result: Result) -> list[str]:
    count = len(result["right_by_codebook"])
    lines = [
        f"| cross-entropy, nats | all | {' | '.join(str(k + 1) for k in range(count))} |",
        "|---" * (count + 2) + "|",
    ]
    for kind, spoken in (("right", "its own caption"), ("wrong", "another piece's")):
        by_codebook = " | ".join(f"{value:.2f}" for value in result[f"{kind}_by_codebook"])
        lines.append(f"| {spoken} | {number(result[f'{kind}_caption'], 3)} | {by_codebook} |")
    cost = number(result["cost_of_wrong_caption"], 3)
    pieces = result["right_caption"]["count"]
    return [*lines, "", f"The wrong caption costs {cost} nats; {pieces} held-out pieces."]


def _codec(result: Result) -> list[str]:
    mel, sdr = result["mel_distance_db"], result["si_sdr_db"]
    lines = [
        f"Codec, {mel['count']} rendered pieces: mel distance {number(mel, 2)} dB, "
        f"SI-SDR {number(sdr, 2)} dB.",
        "",
        "| codebook | entries used | perplexity |",
        "|---|---|---|",
    ]
    for index, use in enumerate(result["codebooks"], 1):
        lines.append(
            f"| {index} | {use['share']:.0%} of {result['entries']} | {use['perplexity']:.0f} |"
        )
    return lines


def _copying(result: Result) -> list[str]:
    lines = [
        "| | likeness to the nearest training piece | above the limit | the piece itself is found "
        "| runs shared with the nearest |",
        "|---|---|---|---|---|",
    ]
    for name, spoken in GROUPS.items():
        group = result[name]
        found = f"{group['found']:.0%}" if name == "trained" else ""
        lines.append(
            f"| {spoken} | {number(group['likeness'], 3)} | {group['above_limit']:.0%} | {found} "
            f"| {percent(group['runs_of_nearest'])} % |"
        )
    lines += [
        "",
        f"{result['training_pieces']} training pieces; the limit ({result['limit']:.3f}) is what "
        "5 % of the unseen pieces exceed.",
        "",
        "| greedy continuation | cross-entropy | same codes | same runs |",
        "|---|---|---|---|",
    ]
    for name in ("trained", "unseen"):
        recall = result[f"recall_{name}"]
        lines.append(
            f"| {name} pieces, {recall['same_codes']['count']} | "
            f"{number(recall['cross_entropy'], 3)} | {percent(recall['same_codes'])} % "
            f"| {percent(recall['same_runs'])} % |"
        )
    return lines


def number(mean: Result, digits: int) -> str:
    """As "3.35 (3.21 – 3.49)"."""
    value, low, high = (f"{mean[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} – {high})"


def percent(mean: Result) -> str:
    """As "62 (52 – 71)"."""
    value, low, high = (f"{100 * mean[key]:.0f}" for key in ("value", "low", "high"))
    return f"{value} ({low} – {high})"
