"""Settings given back to the page's fields: of a link, a file, an example, a take.

Nothing in them is trusted. What can't be given back is told in words.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.page.clip.own_sound import CONTINUE, FOLLOW
from musicgen_space.page.form.fields import FIELDS, LONGER, model_choices
from musicgen_space.page.form.length import length_shown
from musicgen_space.request import LIMITS, TEXTS, MusicRequest, shortened, upgraded
from musicgen_space.take import OWN_SOUNDS

__all__ = ["Recall", "Recalled", "recalled"]

_SHOWN = 60  # characters of a name that somebody else gave


@dataclass(frozen=True, slots=True)
class Recalled:
    """What settings give: the place and model, where offered; fields of a request by name;
    what is missing.
    """

    backend: str | None
    model: str | None
    fields: dict[str, Any]
    notes: list[str]


class Recall:
    """Gives settings back to ``outputs``.

    These are backend, model, prompt, ``FIELDS``, ``LONGER`` and the models chosen: the last is
    the page's memory of which model was chosen in which backend.
    """

    def __init__(
        self,
        backends: dict[str, Backend],
        backend: gr.Radio,
        model: gr.Dropdown,
        prompt: gr.Textbox,
        fields: Mapping[str, gr.Component],
        chosen_models: gr.State,
    ) -> None:
        self._backends = backends
        self.prompt = prompt
        knobs = [fields[name] for name in (*FIELDS, LONGER)]
        self.outputs: list[gr.Component] = [backend, model, prompt, *knobs, chosen_models]

    def updates(self, settings: Mapping[str, Any]) -> list[Any]:
        """Updates of ``outputs``; says in a notice what could not be given back.

        ``settings`` are those of ``audio.settings_of`` or ``MusicRequest.settings``. For a
        field that they don't have, its default is what a take was made with. Only a prompt,
        a backend or a model that they don't have is left as it is.
        """
        found = recalled(settings, self._backends)
        if found.notes:
            lines = ["Not all of it could be restored.", *map(html.escape, found.notes)]
            gr.Info("<br>".join(lines))
        shown = dict(found.fields)
        if "duration" in shown:
            shown["duration"], shown[LONGER] = length_shown(shown["duration"])
        return [
            *self._place(found),
            *(shown.get(name, gr.skip()) for name in ("prompt", *FIELDS, LONGER)),
            self._chosen_models(found),
        ]

    def nothing(self) -> list[Any]:
        """Leaves all ``outputs`` as they are."""
        return [gr.skip()] * len(self.outputs)

    def _place(self, found: Recalled) -> list[Any]:
        if found.backend is None:
            return [gr.skip(), gr.skip()]
        if found.model is None:  # the switch itself shows the models of another backend
            return [found.backend, gr.skip()]
        choices = model_choices(self._backends[found.backend])
        return [found.backend, gr.update(choices=choices, value=found.model)]

    def _chosen_models(self, found: Recalled) -> Any:
        if found.backend is None or found.model is None:
            return gr.skip()
        firsts = {name: each.models()[0].name for name, each in self._backends.items()}
        return {**firsts, found.backend: found.model}


def recalled(settings: Mapping[str, Any], backends: Mapping[str, Backend]) -> Recalled:
    """What of ``settings`` can be given back where ``backends`` are offered."""
    settings = upgraded(settings)
    backend, model, notes = _place_of(settings, backends)
    fields: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        given = settings.get(name)
        value = default if given is None else given
        if value is None:
            continue
        try:
            fields[name] = _checked(name, value)
        except (ValueError, RecursionError) as error:
            notes.append(str(error))
    notes += [_clip_note(name) for name in OWN_SOUNDS if settings.get(name)]
    return Recalled(backend, model, fields, notes)


_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(TEXTS, ""),
    "prompt": None,  # has none: left as it is
    **{name: limit.default for name, limit in LIMITS.items()},
}


def _checked(name: str, value: Any) -> Any:
    """The value as a request has it; raises ``InvalidRequest``."""
    return getattr(MusicRequest(**{"prompt": "any", name: value}), name)


def _place_of(
    settings: Mapping[str, Any], backends: Mapping[str, Backend]
) -> tuple[str | None, str | None, list[str]]:
    """Backend and model, each None where there is none to go to, and what there is to say."""
    backend, model = settings.get("backend"), settings.get("model")
    if backend is None:
        if model is None:
            return None, None, []
        # A model alone means the first place that offers it.
        place = next((name for name, each in backends.items() if _offers(each, model)), None)
        return (place, model, []) if place else (None, None, [_not_offered("model", model)])
    if not isinstance(backend, str) or backend not in backends:
        return None, None, [_not_offered("backend", backend)]
    if model is None or _offers(backends[backend], model):
        return backend, model, []
    return backend, None, [_not_offered("model", model)]


def _offers(backend: Backend, model: object) -> bool:
    return any(choice.name == model for choice in backend.models())


def _not_offered(kind: str, name: object) -> str:
    shown = name if isinstance(name, str) else type(name).__name__
    short = shortened(shown, _SHOWN)
    return f"The {kind} “{short}” is not offered here: the one that is chosen stays."


def _clip_note(field: str) -> str:
    ways = {CONTINUE: "It goes on from", FOLLOW: "It follows the melody of"}
    made = ways.get(field, "It is a part, made anew, of")
    return f"{made} somebody's own sound: choose that again under Your own sound."
