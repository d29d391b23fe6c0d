"""Settings from elsewhere: the page's link, itself before a reload, a take's file."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen_space.audio.clips import MAX_CLIP_BYTES
from musicgen_space.audio.files import read_settings
from musicgen_space.page.form.fields import FIELDS, QUIET
from musicgen_space.page.form.links import settings_in
from musicgen_space.page.form.recall import Recall
from musicgen_space.page.i18n.translate import say

__all__ = ["restore_button", "wire_restore"]

_NOTHING_IN_IT = (
    "{} says nothing of how it was made. Only files that this page or its command line made do, "
    "as long as nobody took the tags out."
)

# A tab keeps what is in its fields, with the link that it was opened with: never a key.
_REMEMBER = """(...values) => {
  const names = %s;
  const settings = Object.fromEntries(names.map((name, index) => [name, values[index]]));
  try {
    sessionStorage.setItem("musicgen-space:wish", JSON.stringify([location.search, settings]));
  } catch {} // a browser that keeps nothing
  return [];
}"""
_REMEMBERED = """() => {
  try {
    const [link, settings] = JSON.parse(sessionStorage.getItem("musicgen-space:wish"));
    return link === location.search ? [JSON.stringify(settings)] : [""];
  } catch {
    return [""];
  }
}"""


# What was typed since, while the server looked at what was there before.
_UNLESS_TYPED = "(typed, before) => [typed || before]"


def restore_button() -> gr.UploadButton:
    """A small button that asks for a take's file; page.js lets one be dropped on the wish."""
    return gr.UploadButton(
        say("Open a take's settings (from its sound file)"),
        size="sm",
        elem_id="restore",
    )


def wire_restore(page: gr.Blocks, button: gr.UploadButton, recall: Recall) -> None:
    """A link and a file fill the fields of a wish; neither makes anything by itself."""

    def reopen(request: gr.Request, remembered: str) -> list[Any]:
        settings = _read(remembered) or settings_in(dict(request.query_params))
        return recall.updates(settings) if settings else recall.nothing()

    def read_file(path: str | None) -> list[Any]:
        # The button is emptied, so that the same file can be chosen again.
        return [None, *(_settings_of(path, recall) if path else recall.nothing())]

    before = gr.Textbox(visible=False)
    outputs = [before if each is recall.prompt else each for each in recall.outputs]
    # Any field carries what a script answers.
    page.load(reopen, recall.prompt, outputs, js=_REMEMBERED, concurrency_limit=None, **QUIET).then(
        None, [recall.prompt, before], recall.prompt, js=_UNLESS_TYPED, **QUIET
    )
    remember = _REMEMBER % json.dumps(["backend", "model", "prompt", *FIELDS])
    fields = recall.outputs[: 3 + len(FIELDS)]
    gr.on([field.change for field in fields], None, fields, None, js=remember, **QUIET)
    button.upload(read_file, button, [button, *recall.outputs], concurrency_limit=2, **QUIET)


def _read(remembered: str) -> dict[str, Any]:
    """The settings that a tab remembers, unchecked; none of anything else."""
    try:
        settings = json.loads(remembered)
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def _settings_of(path: str, recall: Recall) -> list[Any]:
    file = Path(path)
    if file.stat().st_size > MAX_CLIP_BYTES:
        raise gr.Error("The file is too big to be a take.", print_exception=False)
    settings = read_settings(file)
    if settings is None:
        words = _NOTHING_IN_IT.format(html.escape(file.name))
        raise gr.Error(words, title="No settings in there", print_exception=False)
    return recall.updates(settings)
