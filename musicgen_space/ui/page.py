"""The page: one screen, one job: type, press, hear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from musicgen_space import audio
from musicgen_space.backends.base import Backend, HostedBackend
from musicgen_space.request import LIMITS, MAX_PROMPT_CHARACTERS
from musicgen_space.settings import Settings
from musicgen_space.ui.handlers import Studio
from musicgen_space.ui.live import LiveSound
from musicgen_space.ui.player import View, build_player, view, view_of_take
from musicgen_space.ui.theme import theme

__all__ = ["build_page", "launch_options"]

_HERE = Path(__file__).parent
_HOUR = 3600

_EXAMPLES = (
    "lo-fi music with a soothing melody",
    "upbeat funk with brass and slap bass",
    "sad solo piano, slow",
    "energetic techno, fast",
    "calm ambient soundscape with strings",
    "heavy metal with distorted guitar",
    "gentle lullaby, music box",
    "church organ, baroque",
)
# Handlers are for this page: not part of the API, and progress has words of its own.
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_HOW_TO_ADD_LOCAL = (
    "To make music on this machine too, install the rest: "
    "<code>pip install -r requirements.txt</code>."
)
_HINTS = {
    "top_k": "How many codes are in the draw. Fewer: safer. 1: always the likeliest.",
    "top_p": "Above 0 it replaces top-k: draw from the codes that share this probability.",
    "temperature": "Below 1 calmer, above 1 wilder.",
    "guidance_scale": "How closely to follow the prompt. 1: off, and twice as fast.",
    "extend_to": "Above 30 s it replaces the length: made in windows that overlap.",
    "variations": "Made at once, with this seed and the next ones.",
}


def build_page(backends: dict[str, Backend], settings: Settings) -> gr.Blocks:
    """The page over ``backends``; the first is the one it opens with."""
    live = LiveSound()
    # Files of takes are needed while their tab is open: gone a day later.
    with gr.Blocks(
        title="MusicGen Space", analytics_enabled=False, delete_cache=(_HOUR, 24 * _HOUR)
    ) as page:
        cache_folder = page.GRADIO_CACHE
        studio = Studio(backends, settings, live, cache_folder)
        last_seed = gr.State(int(LIMITS["seed"].default))
        backend, money, key = _header(backends)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=5, min_width=320, elem_id="wish"):
                prompt = _prompt()
                model = _model(backends)
                duration = _slider("duration", "Length", info="Seconds of music.")
                seed = _seed(last_seed)
                with gr.Accordion("More control", open=False):
                    knobs = [_slider(name, info=hint) for name, hint in _HINTS.items()]
                with gr.Column(elem_id="actions"):
                    generate = gr.Button("Generate", variant="primary", elem_id="generate")
                    stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop")
            with gr.Column(scale=6, min_width=320, elem_id="result"):
                player = build_player(live, _first_view(cache_folder))
                again = gr.Button("Same prompt, new seed", size="sm", elem_id="again")

        _wire_switch(studio, backends, backend, money, key, model, knobs)
        buttons = [generate, stop, again]
        wish = [backend, key, model, prompt, duration, seed, *knobs]
        drawn = again.click(None, None, seed, js=_DRAW_SEED, **_QUIET)
        for trigger in (generate.click, drawn.then):
            # Not queue=False: then Gradio 6.31 shows no error to the user. And no limit here:
            # a backend knows best how many takes it can make at a time.
            begun = trigger(studio.begin, wish, buttons, concurrency_limit=None, **_QUIET)
            made = begun.success(
                studio.make, wish, [player, last_seed], concurrency_limit=None, **_QUIET
            )
            ended = made.then(studio.end, None, buttons, queue=False, **_QUIET)
            ended.then(studio.money, [backend, key], money, concurrency_limit=None, **_QUIET)
        stop.click(studio.stop, queue=False, **_QUIET)
        page.unload(studio.leave)
    return page


def launch_options() -> dict[str, Any]:
    """What Gradio's ``launch`` takes for the looks of the page."""
    return {
        "theme": theme(),
        "css": (_HERE / "page.css").read_text(encoding="utf-8"),
        "js": (_HERE / "page.js").read_text(encoding="utf-8"),
        "footer_links": ["gradio", "settings"],
        # Gradio's history of runs keeps every input in the browser's storage.
        "run_history": False,
    }


_DRAW_SEED = f"() => Math.floor(Math.random() * {int(LIMITS['seed'].maximum) + 1})"


def _header(backends: dict[str, Backend]) -> tuple[gr.Radio, gr.HTML, gr.Textbox]:
    """Title, the switch of where the music is made, what that costs, and the key for it."""
    first = next(iter(backends.values()))
    hosted = isinstance(first, HostedBackend)
    missing = "" if "local" in backends else _HOW_TO_ADD_LOCAL
    with gr.Row(elem_id="header"):
        with gr.Column(scale=5, min_width=240):
            gr.HTML("<h1>MusicGen Space</h1>", apply_default_css=False)
            money = gr.HTML(
                f"{first.label}: {first.about}.", apply_default_css=False, elem_id="money"
            )
            gr.HTML(missing, apply_default_css=False, visible=bool(missing))
        with gr.Column(scale=6, min_width=240):
            backend = gr.Radio(
                [(backend.label, name) for name, backend in backends.items()],
                value=first.name,
                label="Where the music is made",
                show_label=False,
                container=False,
                elem_id="backend",
            )
            key = gr.Textbox(
                label="Segmind API key",
                info="Stays in this tab. Make one at segmind.com under API keys.",
                type="password",
                max_lines=1,
                max_length=500,
                visible=hosted,
                elem_id="key",
            )
    return backend, money, key


def _wire_switch(
    studio: Studio,
    backends: dict[str, Backend],
    backend: gr.Radio,
    money: gr.HTML,
    key: gr.Textbox,
    model: gr.Dropdown,
    knobs: list[gr.Slider],
) -> None:
    """Switching keeps the prompt and every setting; knobs without effect are greyed out."""
    chosen_models = gr.State({name: each.models()[0].name for name, each in backends.items()})

    def switched(name: str, chosen: dict[str, str]) -> list[Any]:
        place = backends[name]
        return [
            gr.update(visible=isinstance(place, HostedBackend)),
            gr.update(choices=_choices(place), value=chosen[name]),
            *(
                gr.update(interactive=obeyed, info=hint if obeyed else f"Not on {place.label}.")
                for knob, hint in _HINTS.items()
                for obeyed in [knob in place.knobs]
            ),
        ]

    backend.change(switched, [backend, chosen_models], [key, model, *knobs], queue=False, **_QUIET)
    model.input(
        lambda name, choice, chosen: {**chosen, name: choice},
        [backend, model, chosen_models],
        chosen_models,
        queue=False,
        **_QUIET,
    )
    for event in (backend.change, key.blur, key.submit):
        event(studio.money, [backend, key], money, concurrency_limit=None, **_QUIET)


def _choices(backend: Backend) -> list[tuple[str, str]]:
    return [(f"{choice.name} ({choice.about})", choice.name) for choice in backend.models()]


def _prompt() -> gr.Textbox:
    prompt = gr.Textbox(
        label="Describe the music",
        placeholder=_EXAMPLES[0],
        lines=3,
        max_lines=8,
        max_length=MAX_PROMPT_CHARACTERS,
        autofocus=True,
        elem_id="prompt",
    )
    gr.Examples(
        [[example] for example in _EXAMPLES],
        prompt,
        label="Try",
        elem_id="examples",
        api_visibility="private",
    )
    return prompt


def _model(backends: dict[str, Backend]) -> gr.Dropdown:
    choices = _choices(next(iter(backends.values())))
    return gr.Dropdown(choices, value=choices[0][1], label="Model", elem_id="model")


def _slider(name: str, label: str | None = None, info: str | None = None) -> gr.Slider:
    """A slider for one field of a request, with its documented limits."""
    limit = LIMITS[name]
    return gr.Slider(
        limit.minimum,
        limit.maximum,
        value=limit.default,
        step=limit.step,
        label=label or name.replace("_", " ").capitalize().replace("Top ", "Top-"),
        info=info,
        elem_id=name.replace("_", "-"),
    )


def _seed(last_seed: gr.State) -> gr.Slider:
    """The seed with its dice and the way back to the last one."""
    with gr.Row(elem_id="seed-row"):
        seed = _slider("seed", info="Same seed, same music. −1: a new one each time.")
        with gr.Column(scale=0, min_width=96, elem_id="seed-buttons"):
            dice = gr.Button("Random", size="sm", elem_id="dice")
            last = gr.Button("Last used", size="sm", elem_id="last-seed")
    dice.click(None, None, seed, js=_DRAW_SEED, **_QUIET)
    last.click(lambda used: used, last_seed, seed, queue=False, **_QUIET)
    return seed


def _first_view(cache_folder: str) -> View:
    """A finished example, ready to play, for somebody who has not pressed anything yet."""
    take = audio.read_take((_HERE / "welcome.ogg").read_bytes())
    if take is None:
        return view("idle")
    return view_of_take(take, cache_folder, status="An example, made by musicgen-nano")
