"""The player: what it is shown, as plain data, and the component that shows it.

Its three parts lie beside this file: ``player.html`` (structure), ``player.js``
(behaviour), ``page.css`` (looks).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.processing_utils import save_bytes_to_cache

from musicgen_space import audio
from musicgen_space.request import Receipt, Take
from musicgen_space.ui import pictures
from musicgen_space.ui.live import LiveSound

__all__ = ["View", "build_player", "view", "view_of_take"]

View = dict[str, Any]


def build_player(live: LiveSound, value: View) -> gr.HTML:
    """A component that plays a take while it is being made and when it is done.

    Its value is a ``View``: ``phase`` (idle, busy, done or failed), ``status`` (one line
    beside the clock), ``announcement`` (for screen readers, when the phase changes), ``take``
    (id), ``wanted`` (seconds), ``rate`` (Hz), ``channels``, ``chunks`` (how many can be
    fetched), ``speed`` (× real time), ``peaks``, ``peaks_per_second``, ``title``, ``facts``,
    ``downloads`` and ``picture`` (files).
    """
    here = Path(__file__).parent

    def chunk(address: str) -> str | None:
        """What the player calls for the next chunk; ``address`` is "take/index"."""
        take_id, _, index = str(address).partition("/")
        return live.chunk(take_id, int(index)) if index.isdecimal() else None

    return gr.HTML(
        value,
        html_template=(here / "player.html").read_text(encoding="utf-8"),
        js_on_load=(here / "player.js").read_text(encoding="utf-8"),
        server_functions=[chunk],
        apply_default_css=False,
        elem_id="player",
    )


def view(phase: str, status: str = "", **changes: Any) -> View:
    """A ``View`` with everything empty but what is given."""
    return {
        "phase": phase,
        "status": status,
        "announcement": status,
        "take": "",
        "wanted": 0.0,
        "rate": 32000,
        "channels": 1,
        "chunks": 0,
        "speed": 0.0,
        "peaks": [],
        "peaks_per_second": pictures.PEAKS_PER_SECOND,
        "title": "",
        "facts": "",
        "downloads": [],
        "picture": None,
        **changes,
    }


def view_of_take(take: Take, cache_folder: str, /, **changes: Any) -> View:
    """The view of a finished take; its files and picture are written to ``cache_folder``."""
    name = file_name(take)

    def saved(data: bytes, ending: str) -> dict[str, Any]:
        path = save_bytes_to_cache(data, f"{name}.{ending}", cache_folder)
        file: dict[str, Any] = FileData(path=path, orig_name=f"{name}.{ending}").model_dump()
        return file

    return view(
        "done",
        **{
            "announcement": "The take is ready.",
            "wanted": take.duration,
            "rate": take.sample_rate,
            "channels": take.samples.shape[0],
            "peaks": pictures.peaks(take.samples, take.sample_rate),
            "title": take.request.prompt,
            "facts": facts(take),
            "downloads": [
                {"label": ending.upper(), "file": saved(audio.encode(take, ending), ending)}
                for ending in audio.formats_for(take)
            ],
            "picture": saved(pictures.spectrogram(take.samples, take.sample_rate), "png"),
            **changes,
        },
    )


def facts(take: Take) -> str:
    """One line about where a take came from."""
    length = f"{take.duration:.4g} s" + (" (stopped)" if take.stopped else "")
    parts = [take.model, f"seed {take.request.seed}", length]
    if take.receipt is not None:
        parts += _receipt_words(take.receipt)
    elif take.seconds_taken:
        parts.append(f"made in {take.seconds_taken:.1f} s, {take.real_time_factor:.1f}× real time")
    return " · ".join(parts)


def _receipt_words(receipt: Receipt) -> list[str]:
    """What a hosted take cost, as far as it is known."""
    return [
        *([f"cost {receipt.cost:.4g} credits"] if receipt.cost is not None else []),
        *([f"made in {receipt.generation_seconds:.1f} s"] if receipt.generation_seconds else []),
        *([f"request {receipt.request_id}"] if receipt.request_id else []),
    ]


def file_name(take: Take) -> str:
    """A short file name that says what is inside, without an ending."""
    words = "".join(c if c.isalnum() and c.isascii() else " " for c in take.request.prompt)
    slug = "-".join(words.lower().split())[:48].strip("-") or "take"
    return f"{slug}-seed{take.request.seed}"
