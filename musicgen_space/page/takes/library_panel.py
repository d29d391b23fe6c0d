"""The list of a visitor's takes, below everything else, and what its buttons do.

Its three parts lie beside this file: ``library_panel.html`` (structure),
``library_panel.js`` (behaviour), ``library_panel.css`` (looks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.message import Message, as_json
from musicgen_space.page.clip.picker import OwnSound
from musicgen_space.page.form.fields import QUIET
from musicgen_space.page.form.recall import Recall
from musicgen_space.page.gradio_compat import serve_file, served_folder
from musicgen_space.page.player.finishing import MOST_TAKES
from musicgen_space.page.session import Studio
from musicgen_space.page.takes.own_takes import Answer, OwnTakes
from musicgen_space.page.visitors.made_files import MadeFiles
from musicgen_space.page.visitors.sign_in import SIGN_IN, SIGN_OUT
from musicgen_space.page.widget import widget
from musicgen_space.request import draw_seed

__all__ = ["NEW_TAKES", "build_library_panel", "wire_library_panel"]

# Tells the list that there may be something new in it.
NEW_TAKES = "() => { document.dispatchEvent(new Event('musicgen:kept')); }"

# One document may have several of the page: the list with the focus is the one that asked.
_HERE = 'const here = document.activeElement?.closest("gradio-app") ?? document;'
_SHOW_WISH = f"""() => {{
  {_HERE}
  here.querySelector("#wish").scrollIntoView({{ block: "start" }});
  here.querySelector("#generate").focus({{ preventScroll: true }});
}}"""
_SHOW_SOUND = f"""() => {{
  {_HERE}
  here.querySelector("#own").scrollIntoView({{ block: "center" }});
  here.querySelector("#picker .play")?.focus({{ preventScroll: true }});
}}"""

_ABOUT_OWN = Message("Kept on this machine until you delete them, or until their room is used up.")
_ABOUT_SHARED = Message(
    "Kept on this page's server, for this browser only, until you delete them or until their "
    "room is used up."
)
_ABOUT_FORGETFUL = Message(
    "Kept until this page restarts or you delete them: download what you like."
)
_NOT_KEPT = Message(
    "Takes are not kept at the moment; what the app printed when it started says why."
)
_NOT_KEPT_SHARED = Message("Takes are not kept here at the moment: download what you like.")


def build_library_panel(takes: OwnTakes, *, wanted: bool, uses: Sequence[str] = ()) -> gr.HTML:
    """The list; where takes should be kept and aren't, it says so. ``wanted``: it is seen.
    ``uses`` are what the chosen model can do with the sound of a take.

    Its value is ``{"visitor": token}`` and what an event is about: ``ids`` of takes, ``use``
    (for what), ``renew`` (whether with a new seed).
    """
    files = MadeFiles()

    def export_takes(sent: Any, request: gr.Request) -> Answer:
        """A zip file to fetch."""
        made = takes.export_takes(takes.seen(sent, request), served_folder(panel))
        if not isinstance(made, Path):
            return made
        serve_file(made, panel)
        return {"path": str(made), "name": made.name}

    def file_of_take(sent: Any, request: gr.Request) -> Answer:
        """A take's file to fetch, of the format that it names by its ``ending``."""
        made = takes.file_of_take(takes.seen(sent, request))
        if isinstance(made, dict):
            return made
        data, name = made
        return {"path": files.save(data, name, panel), "name": name}

    if takes.are_kept and not takes.are_lasting:
        about = _ABOUT_FORGETFUL
    elif takes.are_kept:
        about = _ABOUT_SHARED if takes.strangers else _ABOUT_OWN
    else:
        about = _NOT_KEPT_SHARED if takes.strangers else _NOT_KEPT
    panel = widget(
        None,
        "takes/library_panel.html",
        *("bars.js", "menu.js", "link.js", "remember.js"),
        "takes/library_panel.js",
        server_functions=[
            *(
                _answering(method, takes)
                for method in (
                    takes.list_takes,
                    takes.rename_take,
                    takes.favour_take,
                    takes.delete_takes,
                    takes.restore_takes,
                )
            ),
            export_takes,
            file_of_take,
        ],
        shared=takes.strangers,
        sign_in=SIGN_IN if takes.can_sign_in else "",
        sign_out=SIGN_OUT,
        there=takes.are_kept,
        about=as_json(about),
        uses=[*uses],
        most=MOST_TAKES,
        visible=wanted,
        elem_id="library",
    )
    return panel


def wire_library_panel(
    panel: gr.HTML,
    studio: Studio,
    player: gr.HTML,
    recall: Recall,
    own: OwnSound,
    backends: Mapping[str, Backend],
    place: tuple[gr.Radio, gr.Dropdown],
) -> Callable[..., Any]:
    """A take goes to the player, its settings to the fields, its sound to the picker.

    Its prompt goes with its sound, unless a new one is typed already.

    ``place`` are the fields of backend and model. → what triggers making the take again with
    the new seed that was filled in.
    """

    def settings(request: gr.Request, asked: Any) -> list[Any]:
        found = dict(studio.settings_of_take(request, asked))
        if asked.get("renew"):
            found["seed"] = draw_seed(found.get("seed"))
        return recall.updates(found)

    def bring(request: gr.Request, asked: Any, prompt: str, backend: str, model: str) -> list[Any]:
        use = str(asked.get("use")) if isinstance(asked, dict) else ""
        refusal = own.refusal(backends[backend], model, use)
        if refusal:
            raise gr.Error(refusal, title="Not with this model", print_exception=False)
        shown = own.showing(studio.bring_take(request, asked, use), use)
        new = studio.is_new(request, prompt)  # typed for this
        said = gr.skip() if new else studio.settings_of_take(request, asked).get("prompt", "")
        return [said, *shown]

    # Who presses one after the other wants the last.
    last: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
    panel.hear(studio.open_takes, panel, player, concurrency_limit=2, **last)
    recalled = panel.recall(settings, panel, recall.outputs, concurrency_limit=None, **last)
    recalled.success(None, None, None, js=_SHOW_WISH, **QUIET)
    brought = panel.bring(
        bring,
        [panel, recall.prompt, *place],
        [recall.prompt, *own.parts],
        concurrency_limit=2,
        **last,
    )
    brought.success(None, None, None, js=_SHOW_SOUND, **QUIET)
    renewed = panel.renew(settings, panel, recall.outputs, concurrency_limit=None, **QUIET)
    trigger: Callable[..., Any] = renewed.success
    return trigger


def _answering(method: Callable[[object], Answer], takes: OwnTakes) -> Callable[..., Answer]:
    """A method as the function that Gradio wants: with what is sent, a request, and a name."""

    def function(sent: Any, request: gr.Request) -> Answer:
        return method(takes.seen(sent, request))

    function.__name__ = method.__name__
    return function
