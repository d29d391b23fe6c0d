"""What "More control" holds: the fields of a request that most people never touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.page.form.defaults import back_to_defaults
from musicgen_space.page.form.fields import LONGER, SLIDERS, element_id, folded, is_obeyed, slider
from musicgen_space.page.i18n.translate import say
from musicgen_space.request import MAX_PROMPT_CHARACTERS

__all__ = ["HINTS", "more_control"]

_LABELS = {
    "variations": say("Takes at once"),
    LONGER: say("Longer than 30 s"),
    "negative_prompt": say("Leave out"),
    "blend_prompt": say("Turn into"),
    "guidance_scale": say("Guidance"),
    "temperature": say("Temperature"),
    "top_k": say("Top-k"),
    "top_p": say("Top-p"),
}
HINTS = {
    "variations": say("Variations, made with this seed and the next ones."),
    LONGER: say("The length then goes up to 5 minutes."),
    "negative_prompt": say("What should not be heard. Works with guidance above 1."),
    "blend_prompt": say("The music moves over to this while it goes on."),
    "guidance_scale": say("How closely to follow the prompt. 1: off."),
    "temperature": say("Below 1 calmer, above 1 wilder."),
    "top_k": say("How many codes are in the draw. Fewer: safer. 1: always the likeliest."),
    "top_p": say("Above 0 it replaces top-k: draw from the codes that share this probability."),
}
_PLACEHOLDERS = {"negative_prompt": "drums, vocals", "blend_prompt": "a string orchestra"}
_GROUPS = {
    say("The music"): ("variations", LONGER, "negative_prompt", "blend_prompt"),
    say("How freely it plays"): ("guidance_scale", "temperature", "top_k", "top_p"),
}


def more_control(
    note_below: Callable[[gr.Textbox], None], backends: Mapping[str, Backend], backend: gr.Radio
) -> dict[str, gr.Component]:
    """What most people never touch, by field, in two groups; texts have notes below them."""
    fields: dict[str, gr.Component] = {}
    with folded(say("More control"), elem_id="more"):
        for title, names in _GROUPS.items():
            gr.HTML(f"<h2>{title}</h2>", apply_default_css=False, elem_classes="group")
            for name in names:
                fields[name] = field = _field(name)
                if isinstance(field, gr.Textbox):
                    note_below(field)
        obeyed = {
            name: [is_obeyed(field, place) for field in fields] for name, place in backends.items()
        }
        back_to_defaults([*fields.values()], backend, obeyed)
    return fields


def _field(name: str) -> gr.Component:
    label, hint = _LABELS[name], HINTS[name]
    if name == LONGER:
        return gr.Checkbox(label=label, info=hint, elem_id=LONGER)
    if name in SLIDERS:
        return slider(name, label, hint)
    return gr.Textbox(
        "",  # not None, which a field is that was never seen
        label=label,
        info=hint,
        placeholder=_PLACEHOLDERS[name],
        max_length=MAX_PROMPT_CHARACTERS,
        elem_id=element_id(name),
    )
