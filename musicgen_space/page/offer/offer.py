"""The offer of a better model, below the field of models: one press downloads it and chooses it.

Its parts lie beside this file: ``offer.html`` (structure), ``offer.js`` (behaviour), ``page.css``
(looks). Only for a page that nobody but the owner can open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.backends.upgrade import Upgrade
from musicgen_space.message import Message, as_json
from musicgen_space.page.form.fields import QUIET
from musicgen_space.page.widget import widget

__all__ = ["build_offer", "chosen_now", "wire_offer"]

_WITH_PLACE = "(backend) => ({ backend })"


class Shown(TypedDict):
    """What the script is told: the phase of an ``UpgradeState``, and it in words and as a bar."""

    phase: str
    words: Any
    fraction: float
    trouble: Any


def build_offer(backend: Backend, upgrade: Upgrade) -> gr.HTML:
    """The offer, which shows itself when there is something to offer.

    Its value is the ``backend`` that is chosen, and once the model is here, whether that is
    ``chosen`` now.
    """

    def look(_: Any) -> Shown:
        return _shown(upgrade)

    def start(_: Any) -> Shown:
        upgrade.start()
        return _shown(upgrade)

    def stop(_: Any) -> Shown:
        upgrade.stop()
        return _shown(upgrade)

    return widget(
        {"backend": backend.name},
        "offer/offer.html",
        "offer/offer.js",
        server_functions=[look, start, stop],
        place=backend.name,
        chosen=as_json(Message("{model} is here, and chosen from now on.", model=upgrade.model)),
        there=as_json(Message("{model} is here: choose it above.", model=upgrade.model)),
        elem_id="offer",
    )


def wire_offer(
    offer: gr.HTML,
    place: Backend,
    better: str,
    fields: tuple[gr.Radio, gr.Dropdown],
    chosen_models: gr.State,
) -> None:
    """What has come is chosen, unless another model was meanwhile.

    ``place`` is the backend whose model ``better`` is, ``fields`` are those of backend and model.
    """
    backend, model = fields
    usual = place.models()[0].name

    def choose(name: str, chosen: Mapping[str, str]) -> list[Any]:
        return chosen_now(place, usual, better, name, chosen)

    backend.change(None, backend, offer, js=_WITH_PLACE, **QUIET)
    offer.here(
        choose, [backend, chosen_models], [model, chosen_models, offer], queue=False, **QUIET
    )


def chosen_now(
    place: Backend, usual: str, better: str, name: str, chosen: Mapping[str, str]
) -> list[Any]:
    """Updates of the model, of those ``chosen`` by backend, and of the offer.

    ``name`` is the backend that is chosen, ``usual`` the model of ``place`` at first.
    """
    untouched = chosen[place.name] == usual
    if untouched:
        place.warm_up()  # the default, which it is by now
    return [
        better if untouched and name == place.name else gr.skip(),
        {**chosen, place.name: better} if untouched else gr.skip(),
        {"backend": name, "chosen": untouched},
    ]


def _shown(upgrade: Upgrade) -> Shown:
    state = upgrade.state()
    offer = Message(
        "{model} sounds far better and takes longer to make: a download of {size:.1f} GB, once.",
        model=upgrade.model,
        size=upgrade.size / 1e9,
    )
    failure = Message("The download did not work: {reason}", reason=state.trouble)
    return Shown(
        phase=state.phase,
        words=as_json(state.loading.what if state.loading else offer),
        fraction=(state.loading and state.loading.fraction) or 0.0,
        trouble=as_json(failure if state.trouble else ""),
    )
