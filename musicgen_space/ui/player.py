"""The player: what it is shown, as plain data, and the component that shows it.

Its three parts lie beside this file: ``player.html`` (structure), ``player.js``
and ``share.js`` (behaviour), ``page.css`` (looks).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from musicgen_space import audio
from musicgen_space.request import MusicRequest, Receipt, Take
from musicgen_space.ui import pictures
from musicgen_space.ui.links import query_of
from musicgen_space.ui.shelf import Shelf

__all__ = ["View", "build_player", "clock", "length_words", "view", "view_of_takes"]

View = dict[str, Any]

_PICTURE = "png"


def build_player(shelf: Shelf, value: View) -> gr.HTML:
    """A component that plays a take while it is being made and when it is done.

    Its value is a ``View``: ``phase`` (idle, busy, done or failed), ``status`` (one line
    beside the clock), ``announcement`` (for screen readers, when the phase changes), ``take``
    (id), ``wanted`` (seconds), ``begins`` (seconds of the clip that is continued), ``rate``
    (Hz), ``channels``, ``chunks`` (how many can be fetched), ``speed`` (× real time),
    ``peaks``, ``peaks_per_second``, ``title``, ``facts``, ``variations`` (how many) and, when
    they are done, ``takes``: of each its ``wanted``, ``peaks``, ``facts``, ``formats``,
    ``link`` (a query) and ``kept`` (its id among the visitor's takes, "" if it isn't kept).
    """
    here = Path(__file__).parent

    def chunk(address: str) -> str | None:
        """What the player calls for the next chunk; ``address`` is "take/index"."""
        key, _, index = str(address).partition("/")
        return shelf.chunk(key, int(index)) if index.isdecimal() else None

    def file(address: str) -> dict[str, str] | None:
        """A file of a take, made when it is asked for; ``address`` is "take/variation/ending"."""
        key, variation, ending = [*str(address).split("/"), "", ""][:3]
        take = shelf.take(key, int(variation)) if variation.isdecimal() else None
        if take is None or ending not in (_PICTURE, *audio.formats_for(take)):
            return None
        name = f"{file_name(take)}.{ending}"
        path = save_bytes_to_cache(_file_of(take, ending), name, player.GRADIO_CACHE)
        player.temp_files.add(path)  # Gradio deletes these in time
        return {"path": path, "name": name}

    player = gr.HTML(
        value,
        html_template=(here / "player.html").read_text(encoding="utf-8"),
        js_on_load="".join(
            (here / name).read_text(encoding="utf-8") for name in ("player.js", "share.js")
        ),
        server_functions=[chunk, file],
        apply_default_css=False,
        elem_id="player",
    )
    return player


def view(phase: str, status: str = "", **changes: Any) -> View:
    """A ``View`` with everything empty but what is given."""
    return {
        "phase": phase,
        "status": status,
        "announcement": status,
        "take": "",
        "wanted": 0.0,
        "begins": 0.0,
        "rate": 32000,
        "channels": 1,
        "chunks": 0,
        "speed": 0.0,
        "peaks": [],
        "peaks_per_second": 1,
        "title": "",
        "facts": "",
        "variations": 1,
        "takes": [],
        **changes,
    }


def view_of_takes(
    takes: Sequence[Take], key: str, /, *, kept: Sequence[str] = (), **changes: Any
) -> View:
    """The view of finished variations, or of a single take; ``key`` is their id on the shelf.

    ``kept`` are their ids in the library, if they have been kept there.
    """
    first = takes[0]
    a_second = pictures.peaks_per_second(first.duration)
    return view(
        "done",
        **{
            "announcement": _announcement(len(takes)),
            "take": key,
            "wanted": first.duration,
            "begins": seconds_given(first.request),
            "rate": first.sample_rate,
            "channels": first.samples.shape[0],
            "peaks_per_second": a_second,
            "title": first.request.prompt,
            "variations": len(takes),
            "takes": [
                {**_shown(take, a_second), "kept": id}
                for take, id in zip(takes, kept or [""] * len(takes), strict=True)
            ],
            **changes,
        },
    )


def seconds_given(request: MusicRequest) -> float:
    """Where in a take the new music begins: after the clip that it continues."""
    return request.continue_from.duration if request.continue_from else 0.0


def clock(seconds: float) -> str:
    """Minutes and seconds, as players show them."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def length_words(seconds: float, stopped: bool) -> str:
    """How long a take is, and whether it was to be longer."""
    length = f"{seconds:.4g} s" if seconds < 60 else clock(seconds)
    return length + " (stopped)" * stopped


def facts(take: Take) -> str:
    """One line about where a take came from."""
    length = length_words(take.duration, take.stopped)
    parts = [take.model, f"seed {take.request.seed}", length]
    parts += _clip_words(take.request)
    if take.receipt is not None:
        parts += _receipt_words(take.receipt)
    elif take.seconds_taken:
        parts.append(f"made in {take.seconds_taken:.1f} s, {take.real_time_factor:.1f}× real time")
    return " · ".join(parts)


def file_name(take: Take) -> str:
    """A short file name that says what is inside, without an ending."""
    words = "".join(c if c.isalnum() and c.isascii() else " " for c in take.request.prompt)
    slug = "-".join(words.lower().split())[:48].strip("-") or "take"
    return f"{slug}-seed{take.request.seed}"


def _shown(take: Take, a_second: int) -> dict[str, Any]:
    """What the player needs to know of one finished take."""
    return {
        "wanted": take.duration,
        "peaks": pictures.peaks(take.samples, take.sample_rate, a_second),
        "facts": facts(take),
        "formats": audio.formats_for(take),
        "link": query_of(audio.settings_of(take)),
    }


def _file_of(take: Take, ending: str) -> bytes:
    if ending == _PICTURE:
        return pictures.spectrogram(take.samples, take.sample_rate)
    return audio.encode(take, ending)


def _announcement(takes: int) -> str:
    return "The take is ready." if takes == 1 else f"{takes} takes are ready."


def _clip_words(request: MusicRequest) -> list[str]:
    """Which sounds of somebody's own are in a take."""
    continued, followed = request.continue_from, request.melody
    return [
        *([f"goes on from {continued.name}"] if continued else []),
        *([f"melody of {followed.name}"] if followed else []),
    ]


def _receipt_words(receipt: Receipt) -> list[str]:
    """What a hosted take cost, as far as it is known."""
    return [
        *([f"cost {receipt.cost:.4g} credits"] if receipt.cost is not None else []),
        *([f"made in {receipt.generation_seconds:.1f} s"] if receipt.generation_seconds else []),
        *([f"request {receipt.request_id}"] if receipt.request_id else []),
    ]
