"""The player: what it is shown, as plain data, and the component that shows it.

Its parts lie beside this file: ``player.html`` (structure), ``player.css`` (looks), and eight
scripts that make up its behaviour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from musicgen_space.audio.files import encode, formats_for, settings_of
from musicgen_space.audio.peaks import waveform
from musicgen_space.audio.spectrogram import spectrogram
from musicgen_space.clip import ClipFacts
from musicgen_space.errors import InvalidRequest
from musicgen_space.message import Message, Text, as_json
from musicgen_space.page.clip.own_sound import CONTINUE, FOLLOW
from musicgen_space.page.form.links import query_of
from musicgen_space.page.player.finishing import MOST_TAKES, Finishing, finish_of
from musicgen_space.page.player.shelf import Shelf, whole
from musicgen_space.page.visitors.made_files import MadeFiles
from musicgen_space.page.visitors.page_work import PageWork
from musicgen_space.page.widget import widget
from musicgen_space.request import MAX_PROMPT_CHARACTERS
from musicgen_space.take import Receipt, Replaced, Take

__all__ = [
    "View",
    "build_player",
    "clip_facts",
    "clock",
    "file_name",
    "length_fact",
    "replaced_facts",
    "seed_fact",
    "view",
    "view_of_takes",
]

View = dict[str, Any]

_OWN_FILES = (
    *("player.html", "starting.js", "pieces.js", "player.js", "stream.js", "sounds.js"),
    *("compare.js", "share.js", "loop.js", "steps.js", "wiring.js"),
)
_PICTURE = "png"
_NOT_OURS = (AttributeError, KeyError, TypeError)  # what comes of a wish that no player sends


def build_player(shelf: Shelf, value: View, work: PageWork, most: int = MOST_TAKES) -> gr.HTML:
    """A component that plays a take while it is being made and when it is done.

    What it asks the server for once takes are done is ``work`` of the page. ``most`` takes can
    be made at once.

    Its value is a ``View``: ``phase`` (idle, busy, done or failed), ``status`` (one line
    beside the clock), ``announcement`` (for screen readers, when the phase changes), ``take``
    (the id of it all), ``variations`` (how many takes) and, when they are done, ``takes``: of
    each its ``id`` and what ``_shown`` says. Of what is being made, the first take: ``title``,
    ``facts``, ``wanted`` (seconds), ``begins`` (seconds of the clip that is continued), ``rate``
    (Hz), ``channels``, ``chunks`` (how many can be fetched), ``speed`` (× real time), ``peaks``
    and ``peaks_per_second``. Texts are JSON for the scripts' ``told``.

    ``ended`` is the id of what was made or failed last: others on the page are told.

    Which finish takes are heard with, and which of them, is up to each browser. Its event
    ``select`` says that a take has won a blind comparison, with the ``take``'s id and what it
    is ``kept`` as. ``another`` and ``variations`` ask for more of the same.
    """
    finishing, files = Finishing(shelf), MadeFiles()

    def chunks(address: str) -> list[str] | None:
        """What the player calls for the next chunks; ``address`` is "take/index"."""
        key, _, index = str(address).rpartition("/")
        return shelf.chunks(key, whole(index))

    def file(wish: Any) -> dict[str, str] | None:
        """A file, made when it is asked for: the ``take``'s id, its ``ending``, a ``finish``.

        Also whether it is a ``loop``, and its ``title``, which may have changed since.
        """
        try:
            loop = wish.get("loop") is True
            take = finishing.take(wish["take"], finish_of(wish.get("finish")), loop=loop)
        except (InvalidRequest, *_NOT_OURS):
            return None
        ending = wish.get("ending")
        if take is None or ending not in (_PICTURE, *formats_for(take)):
            return None
        take = _titled(take, wish.get("title"))
        name = f"{file_name(take)}.{ending}"
        return {"path": files.save(_file_of(take, ending), name, player), "name": name}

    def heard(wish: Any) -> list[dict[str, Any]] | dict[str, str] | None:
        """How the ``takes`` (ids) are heard with a ``finish``; None when one is gone."""
        try:
            takes = [*wish["takes"]][:MOST_TAKES]
            loop = wish.get("loop") is True
            return finishing.heard(takes, finish_of(wish.get("finish")), loop=loop)
        except InvalidRequest as error:
            return {"trouble": as_json(error.told)}
        except _NOT_OURS:
            return None

    player = widget(
        value,
        "bars.js",
        *("menu.js", "link.js", "remember.js", "asking.js"),
        *(f"player/{file}" for file in _OWN_FILES),
        server_functions=[chunks, work.in_turn(file), work.in_turn(heard)],
        most=most,
        elem_id="player",
    )
    return player


def view(phase: str, status: Text | Sequence[Text] = "", **changes: Any) -> View:
    """A ``View`` with everything empty but what is given."""
    return {
        "phase": phase,
        "status": as_json(status),
        "announcement": as_json(status),
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
        "facts": [],
        "variations": 1,
        "takes": [],
        "ended": "",
        **changes,
    }


def view_of_takes(
    takes: Sequence[Take], key: str, /, *, kept: Sequence[str] = (), **changes: Any
) -> View:
    """The view of finished takes, one to four; ``key`` is their id on the shelf.

    They may have nothing in common. ``kept`` are their ids in the library, if they are kept.
    """
    ids = kept or [""] * len(takes)
    shown = [
        {"id": f"{key}/{index}", "kept": kept_as, "name": as_json(name), **_shown(take)}
        for index, (take, kept_as, name) in enumerate(zip(takes, ids, names(takes), strict=True))
    ]
    of_all = ("title", "wanted", "begins", "rate", "channels", "peaks_per_second")
    return view(
        "done",
        **{
            "announcement": as_json(_announcement(len(takes))),
            "take": key,
            "variations": len(takes),
            "takes": shown,
            **{field: shown[0][field] for field in of_all},
            **changes,
        },
    )


def names(takes: Sequence[Take]) -> Sequence[Text]:
    """What tells these takes apart in a word or two."""
    ways: list[Sequence[Text]] = [
        [take.title for take in takes],
        [seed_fact(take.request.seed) for take in takes],
        [take.model for take in takes],
    ]
    return max(ways, key=lambda way: len({*way})) if len(takes) > 1 else ways[1]


def clock(seconds: float) -> str:
    """Minutes and seconds, as players show them."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def seed_fact(seed: int | None) -> Message:
    """Which seed made a take."""
    return Message("seed {seed}", seed=str(seed))


def length_fact(seconds: float, stopped: bool) -> Text:
    """How long a take is, and whether it was to be longer."""
    short = seconds < 60
    length = Message("{seconds:.4g} s", seconds=seconds) if short else clock(seconds)
    return Message("{length} (stopped)", length=length) if stopped else length


def facts(take: Take) -> list[Text]:
    """Where a take came from, to be told in one line."""
    parts = [
        take.made_by,
        seed_fact(take.request.seed),
        length_fact(take.duration, take.stopped),
        *clip_facts(take.clips),
        *replaced_facts(take.replaced),
    ]
    if take.receipt is not None:
        parts += _receipt_facts(take.receipt)
    elif take.seconds_taken:
        parts.append(
            Message(
                "made in {seconds:.1f} s, {speed:.1f}× real time",
                seconds=take.seconds_taken,
                speed=take.real_time_factor,
            )
        )
    return parts


def file_name(take: Take) -> str:
    """A short file name that says what is inside, without an ending."""
    words = "".join(c if c.isalnum() and c.isascii() else " " for c in take.title)
    slug = "-".join(words.lower().split())[:48].strip("-") or "take"
    return f"{slug}-seed{take.request.seed}{'-loop' if take.loop else ''}"


def _shown(take: Take) -> dict[str, Any]:
    """What the player needs to know of one finished take."""
    return {
        **waveform(take),
        "title": take.title,
        "facts": as_json(facts(take)),
        "begins": take.given_seconds,
        "rate": take.sample_rate,
        "channels": take.samples.shape[0],
        "formats": formats_for(take),
        "link": query_of(settings_of(take)),
    }


def _file_of(take: Take, ending: str) -> bytes:
    if ending == _PICTURE:
        return spectrogram(take.samples, take.sample_rate)
    return encode(take, ending)


def _titled(take: Take, title: object) -> Take:
    """The take by what a page calls it."""
    if not isinstance(title, str) or title == take.title:
        return take
    return dataclasses.replace(take, name=title[:MAX_PROMPT_CHARACTERS])


def _announcement(takes: int) -> Message:
    if takes == 1:
        return Message("The take is ready.")
    return Message("{takes} takes are ready.", takes=takes)


def clip_facts(clips: Mapping[str, ClipFacts]) -> Iterator[Message]:
    """Which sounds of somebody's own are in a take."""
    continued, followed = clips.get(CONTINUE), clips.get(FOLLOW)
    if continued:
        yield Message("goes on from {sound}", sound=continued.name)
    if followed:
        yield Message("melody of {sound}", sound=followed.name)


def replaced_facts(replaced: Replaced | None) -> Iterator[Message]:
    """Which part of a take is new, and how well it goes over into the rest."""
    if replaced is None:
        return
    end = replaced.end if replaced.joint is None else replaced.joint
    yield Message(
        "{start:.1f} to {end:.1f} s of {sound} made anew",
        start=replaced.start,
        end=end,
        sound=replaced.name,
    )
    if replaced.match is not None and replaced.level_jump is not None:
        yield Message(
            "old and new are {match:.0f} % alike where they join, {jump:.1f} dB apart",
            match=100 * replaced.match,
            jump=abs(replaced.level_jump),
        )


def _receipt_facts(receipt: Receipt) -> Iterator[Message]:
    """What a hosted take cost, as far as it is known."""
    if receipt.cost is not None:
        yield Message("cost {credits:.4g} credits", credits=receipt.cost)
    if receipt.generation_seconds:
        yield Message("made in {seconds:.1f} s", seconds=receipt.generation_seconds)
    if receipt.request_id:
        yield Message("request {id}", id=receipt.request_id)
