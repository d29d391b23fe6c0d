"""Your own sound: choosing or recording it, picking a stretch of it, saying what it is for.

The picker's three parts lie beside this file: ``picker.html`` (structure), ``picker.js``
(behaviour), ``picker.css`` (looks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from musicgen_space.audio.clips import wav
from musicgen_space.backends.base import MELODY_NEEDS, Backend
from musicgen_space.clip import Clip
from musicgen_space.message import Message, as_json
from musicgen_space.page.clip.own_sound import CONTINUE, FOLLOW, NOTHING_PICKED, REPLACE, Picked
from musicgen_space.page.form.fields import QUIET, folded
from musicgen_space.page.i18n.translate import say
from musicgen_space.page.session import Studio
from musicgen_space.page.visitors.kept import Kept
from musicgen_space.page.visitors.made_files import MadeFiles
from musicgen_space.page.visitors.page_work import PageWork
from musicgen_space.page.widget import widget

__all__ = ["OwnSound"]

_CHOICES = [
    (say("Continue it"), CONTINUE),
    (say("Make this part anew"), REPLACE),
    (say("Follow its melody"), FOLLOW),
]
_FIELDS = {CONTINUE: CONTINUE, REPLACE: CONTINUE, FOLLOW: FOLLOW}  # that a use needs
_MELODY_NEEDS = say("Following a melody needs a melody model, such as facebook/musicgen-melody.")
_ABOUT = Message("A song, a hummed tune, a riff: choose a file of up to 10 minutes, or record one.")


@dataclass(frozen=True, slots=True)
class OwnSound:
    """The parts of "Your own sound": ``about`` and ``source`` are seen, or the last two."""

    section: gr.Accordion
    about: gr.HTML
    source: gr.Audio
    picker: gr.HTML
    use: gr.Radio

    @classmethod
    def build(cls, studio: Studio, backends: Mapping[str, Backend], switch: gr.Radio) -> OwnSound:
        """An accordion, closed, as it is with the first backend and its first model."""
        backend = next(iter(backends.values()))
        model = backend.models()[0].name
        useful = any(CONTINUE in each.knobs for each in backends.values())
        section = folded(say("Your own sound"), elem_id="own", visible=useful)
        with section:
            own = cls(
                section,
                widget(
                    _about(backend, model),
                    "i18n/sentences.html",
                    "i18n/sentences.js",
                    "clip/microphone.js",
                    elem_id="own-about",
                ),
                gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label=say("Your own sound"),
                    show_label=False,
                    interactive=bool(_possible(backend, model)),
                    elem_id="sound",
                ),
                _picker(studio.sounds, studio.work),
                gr.Radio(
                    label=say("What to do with it"),
                    visible=False,
                    elem_id="use",
                    # Gradio refuses a value that is not among the choices, seen or not.
                    **{"choices": _CHOICES, "value": CONTINUE, **_uses(backend, model, CONTINUE)},
                ),
            )
            own.tell_in_title(backends, switch)
        return own

    @property
    def choice(self) -> list[gr.Component]:
        """What a wish needs of it."""
        return [self.picker, self.use]

    @property
    def parts(self) -> list[gr.Component]:
        """What ``showing`` has updates for."""
        return [self.section, self.about, self.source, self.picker, self.use]

    def showing(self, shown: Picked, use: str) -> list[Any]:
        """A sound that came from elsewhere, picked for ``use``, with everything open."""
        seen = _seen(shown)
        seen[2:] = [gr.update(value=shown, visible=True), gr.update(value=use, visible=True)]
        return [gr.update(open=True), *seen]

    def uses(self, backend: Backend, model: str) -> list[str]:
        """What a model can do with a sound."""
        return _possible(backend, model)

    def refusal(self, backend: Backend, model: str, use: str) -> str:
        """Why a model can't use somebody's own sound so; "" if it can."""
        possible = _possible(backend, model)
        if use in possible:
            return ""
        if possible and use == FOLLOW:
            return f"Following a melody {MELODY_NEEDS}: choose one first."
        return f"Not on {backend.label}: choose another place first."

    def wire(self, studio: Studio) -> None:
        """Bring a sound, use it otherwise, put it away."""
        parts = [self.about, self.source, self.picker, self.use]
        brought = self.source.input(
            studio.bring, [self.source, self.use], self.picker, concurrency_limit=2, **QUIET
        )
        brought.success(_seen, self.picker, parts, queue=False, **QUIET)
        # A file that can't be read: the place for one is empty again.
        brought.failure(lambda: None, None, self.source, queue=False, **QUIET)
        self.use.change(studio.use, self.choice, self.picker, queue=False, **QUIET)
        put_away = self.picker.clear(studio.put_away, None, self.picker, queue=False, **QUIET)
        put_away.then(_seen, self.picker, parts, queue=False, **QUIET)

    def tell_in_title(self, backends: Mapping[str, Backend], switch: gr.Radio) -> None:
        """The section says what is used while it is closed, without asking the server."""
        uses = {
            name: [use for _, use in _CHOICES if _FIELDS[use] in each.knobs]
            for name, each in backends.items()
        }
        title = widget(None, "form/title.js", "clip/title.js", uses=uses, elem_classes="title-of")
        seen = [*self.choice, switch]
        values = "(...values) => [values]"
        gr.on([each.change for each in seen], None, seen, title, js=values, **QUIET)

    def with_model(self, backend: Backend, model: str, used: str) -> list[Any]:
        """Updates of ``about``, ``source`` and ``use`` for what a model can do with a sound."""
        if model not in [choice.name for choice in backend.models()]:
            return [gr.skip()] * 3  # the backend was switched, its model is still to follow
        able = bool(_possible(backend, model))
        return [
            _about(backend, model),
            gr.update(interactive=able),
            gr.update(**_uses(backend, model, used)),
        ]


def _about(backend: Backend, model: str) -> Any:
    """A sentence about what can be chosen, for ``sentences.js``."""
    able = _possible(backend, model)
    return as_json([_ABOUT if able else Message("Not on {place}.", place=backend.label)])


def _uses(backend: Backend, model: str, used: str) -> dict[str, Any]:
    """What ``use`` offers; what was chosen stays while the model can do it."""
    possible = _possible(backend, model)
    if not possible:
        return {"interactive": False, "info": f"{say('Not on')} {backend.label}."}
    return {
        "choices": [(words, use) for words, use in _CHOICES if use in possible],
        "value": used if used in possible else possible[0],
        "interactive": True,
        "info": "" if FOLLOW in possible else _MELODY_NEEDS,
    }


def _possible(backend: Backend, model: str) -> list[str]:
    """What can be done with a sound: of a melody model, loading it may be what tells."""
    follows = {choice.name: choice.melody is not False for choice in backend.models()}
    able = {CONTINUE: True, REPLACE: True, FOLLOW: follows.get(model, False)}
    return [use for _, use in _CHOICES if _FIELDS[use] in backend.knobs and able[use]]


def _seen(shown: dict[str, Any]) -> list[Any]:
    """Either the place for a sound is seen, emptied, or the picker and what it is for."""
    there = bool(shown["clip"])
    return [
        gr.update(visible=not there),
        gr.update(value=None, visible=not there),
        gr.update(visible=there),
        gr.update(visible=there),
    ]


def _picker(sounds: Kept[Clip], work: PageWork) -> gr.HTML:
    """The waveform of a sound with two handles; its value is a ``Picked``."""
    files = MadeFiles()

    def sound(key: str) -> dict[str, str] | None:
        """The whole sound as a file to listen to, made when it is asked for."""
        clip = sounds.get(str(key))
        if clip is None:
            return None
        return {"path": files.save(wav(clip), "sound.wav", picker)}

    picker = widget(
        NOTHING_PICKED,
        "clip/picker.html",
        "bars.js",
        "player/starting.js",
        "clip/picker.js",
        server_functions=[work.in_turn(sound)],
        visible=False,
        elem_id="picker",
    )
    return picker
