"""The page's "Sound finish": what is done to takes when they are played and downloaded."""

from __future__ import annotations

import gradio as gr

from musicgen_space.page.form.defaults import back_to_defaults
from musicgen_space.page.form.fields import QUIET, folded, slider
from musicgen_space.page.i18n.translate import say
from musicgen_space.page.widget import widget
from musicgen_space.take import FINISH_LIMITS

__all__ = ["sound_finish"]

_LABELS = {"fade_in": say("Fade in"), "fade_out": say("Fade out")}

# The player hears of it by the widget: it is the one that knows which takes are heard.
_TELL = """(normalise, trim, fade_in, fade_out) => ({
  normalise: !!normalise, trim: !!trim, fade_in: fade_in ?? 0, fade_out: fade_out ?? 0,
})"""


def sound_finish() -> None:
    """A closed section with the settings of a ``Finish``; they stay for the next takes."""
    with folded(say("Sound finish"), elem_id="finish"):
        normalise = gr.Checkbox(
            label=say("Even loudness"),
            info=say(
                "Towards −14 LUFS, what streaming services play at. A limiter keeps peaks below "
                "−1 dBTP, by 6 dB at most, so a take may end up quieter."
            ),
            elem_id="normalise",
        )
        trim = gr.Checkbox(
            label=say("Cut off the tail"),
            info=say(
                "Silence or hiss after the music has ended. Half of a take stays in any case."
            ),
            elem_id="trim",
        )
        fades = [
            slider(name, f"{label} (s)", limits=FINISH_LIMITS) for name, label in _LABELS.items()
        ]
        telling = widget(
            None, "finish/sound_finish.html", "finish/sound_finish.js", elem_id="finish-about"
        )
        fields = [normalise, trim, *fades]
        back_to_defaults(fields)
    gr.on([field.change for field in fields], None, fields, telling, js=_TELL, **QUIET)
