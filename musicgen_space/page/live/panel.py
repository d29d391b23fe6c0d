"""Live music on the page: the button that plays it, and the panel in the player's place meanwhile.

The panel's parts lie beside this file: ``panel.html`` (structure), ``live.css`` (looks), and the
scripts that make up its behaviour. A session's page asks for its sound as a player asks for that
of a take, so it works wherever the page does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.message import as_json
from musicgen_space.models import EMBEDDED_MODEL
from musicgen_space.page.clip.picker import OwnSound
from musicgen_space.page.form.fields import QUIET
from musicgen_space.page.gradio_compat import serve_file, served_folder
from musicgen_space.page.live.sessions import LiveSessions
from musicgen_space.page.live.wish import not_there
from musicgen_space.page.session import Studio
from musicgen_space.page.takes.own_takes import Answer
from musicgen_space.page.widget import widget

__all__ = ["LivePanel", "live_button"]

_HIDDEN_SECONDS = 60  # that music plays to a tab nobody looks at, where others want their turn
_SCRIPTS = ("live.js", "sound.js", "steering.js", "picture.js", "recording.js", "system.js")
# Of the form's fields, those that live music has; its other knobs are the panel's own.
_FORM = ("negative_prompt", "seed", "top_k", "top_p")
# What the page's fields say, for the scripts; the server has no part in it.
_WISH = """(takes, backend, model, prompt, negative_prompt, seed, top_k, top_p, sound, use) => ({
  visitor: takes?.visitor, backend, model, prompt, negative_prompt, seed, top_k, top_p, sound, use,
  at: performance.now(),
})"""


@dataclass(frozen=True, slots=True)
class LivePanel:
    """The panel of ``sessions``; None of it is seen where no backend plays live music."""

    sessions: LiveSessions
    panel: gr.HTML

    @classmethod
    def build(cls, studio: Studio, backends: Mapping[str, Backend]) -> LivePanel:
        """The panel, here. Its value is what the page's fields say, once it was asked for."""
        sessions = LiveSessions(backends, studio.sounds, studio.takes)

        async def play(sent: Any, request: gr.Request) -> Answer:
            return await sessions.play(sent, request, served_folder(panel))

        async def more(sent: Any, request: gr.Request) -> Answer:
            return await sessions.more(sent, request)

        def steer(sent: Any, request: gr.Request) -> Answer:
            return sessions.steer(sent, request)

        def stop(sent: Any, request: gr.Request) -> Answer:
            return sessions.stop(sent, request)

        def keep(sent: Any, request: gr.Request) -> Answer:
            return sessions.keep(sent, request)

        def record(sent: Any, request: gr.Request) -> Answer:
            made = sessions.record(sent, request)
            for kind in ("flac", "cue"):
                if kind in made:
                    serve_file(made[kind]["path"], panel)
            return made

        panel = widget(
            None,
            "live/panel.html",
            *("asking.js", "menu.js", "player/pieces.js"),
            *(f"live/{script}" for script in _SCRIPTS),
            server_functions=[play, more, steer, stop, keep, record],
            refusals={
                name: as_json(not_there(each))
                for name, each in backends.items()
                if not each.plays_live
            },
            smaller={name: EMBEDDED_MODEL for name, each in backends.items() if _offers_nano(each)},
            keeps=studio.takes.are_kept,
            hidden_seconds=_HIDDEN_SECONDS if studio.takes.strangers else 0,
            visible=_plays(backends),
            elem_id="live",
        )
        return cls(sessions, panel)

    def wire(
        self,
        page: gr.Blocks,
        form: Mapping[str, gr.Component],
        takes: gr.HTML,
        place: tuple[gr.Radio, gr.Dropdown, gr.State],
        prompt: gr.Textbox,
        own: OwnSound,
    ) -> None:
        """The panel knows what the page's fields say, and its sessions end with their tabs.

        ``place`` are the fields of backend and model, and the models chosen by backend.
        """
        backend, model, chosen_models = place
        seen = [takes, backend, model, prompt, *(form[name] for name in _FORM), *own.choice]
        for event in (self.panel.wish, prompt.change, backend.change, model.change):
            event(None, seen, self.panel, js=_WISH, **QUIET)
        self.panel.begun(self.sessions.belongs, self.panel, queue=False, **QUIET)
        self.panel.smaller(
            lambda name, chosen: [EMBEDDED_MODEL, {**chosen, name: EMBEDDED_MODEL}],
            [backend, chosen_models],
            [model, chosen_models],
            queue=False,
            **QUIET,
        )
        page.unload(self.sessions.leave)


def live_button(backends: Mapping[str, Backend]) -> gr.HTML:
    """The button that plays live music, and ends it."""
    return widget(
        None, "live/button.html", "live/button.js", visible=_plays(backends), elem_id="play-live"
    )


def _plays(backends: Mapping[str, Backend]) -> bool:
    return any(backend.plays_live for backend in backends.values())


def _offers_nano(backend: Backend) -> bool:
    return backend.plays_live and EMBEDDED_MODEL in [each.name for each in backend.models()]
