"""The page: one screen, one job: type, press, hear."""

from __future__ import annotations

import importlib.util
from typing import Any

import gradio as gr

from musicgen_space.audio.clips import MAX_CLIP_BYTES
from musicgen_space.backends.base import Backend, HostedBackend
from musicgen_space.key import MAX_KEY_CHARACTERS
from musicgen_space.library import Library
from musicgen_space.message import as_json
from musicgen_space.page.billing.spending import is_given
from musicgen_space.page.clip.picker import OwnSound
from musicgen_space.page.embedding.component import choose_view, link_to_the_whole_page
from musicgen_space.page.examples.gallery import (
    build_gallery,
    example,
    view_of_example,
    wire_gallery,
)
from musicgen_space.page.finish.sound_finish import sound_finish
from musicgen_space.page.form.fields import (
    FIELDS,
    LONGER,
    QUIET,
    is_obeyed,
    model_choices,
    number_fields,
    prompt_field,
    slider,
)
from musicgen_space.page.form.length import wire_length
from musicgen_space.page.form.more_control import HINTS, more_control
from musicgen_space.page.form.particulars import particulars
from musicgen_space.page.form.recall import Recall
from musicgen_space.page.form.restore import restore_button, wire_restore
from musicgen_space.page.gradio_compat import look_less_often
from musicgen_space.page.i18n.translate import say, translations
from musicgen_space.page.keys.shortcuts import list_of_keys
from musicgen_space.page.live.panel import LivePanel, live_button
from musicgen_space.page.offer.offer import build_offer, wire_offer
from musicgen_space.page.player.player import build_player
from musicgen_space.page.player.shelf import Shelf
from musicgen_space.page.programs.api import Programs
from musicgen_space.page.programs.calls import Page
from musicgen_space.page.programs.plain_form import PlainForm
from musicgen_space.page.prompt.chips import prompt_words
from musicgen_space.page.prompt.text_notes import TextNotes
from musicgen_space.page.session import MOST_SESSIONS, Studio, introduction
from musicgen_space.page.takes.library_panel import (
    NEW_TAKES,
    build_library_panel,
    wire_library_panel,
)
from musicgen_space.page.theme import stylesheet, theme
from musicgen_space.page.visitors.audience import Audience
from musicgen_space.page.widget import source, widget
from musicgen_space.page.wishes.job import most_at_once
from musicgen_space.page.wishes.wishes import wishes_note
from musicgen_space.request import LIMITS
from musicgen_space.settings import Settings

__all__ = ["build_page", "launch_options"]

_HOUR = 3600

_HOW_TO_ADD_LOCAL = (
    f"{say('To make music on this machine too, install the rest:')} "
    "<code>pip install -r requirements.txt</code>"
)


def build_page(
    backends: dict[str, Backend],
    settings: Settings,
    library: Library | None = None,
    audience: Audience | None = None,
) -> Page:
    """The page over ``backends``; the first is the one it opens with.

    Takes are kept in ``library``, if there is one. What nobody in ``audience`` listens to is
    stopped; None: whoever asks is taken to listen.
    """
    shelf = Shelf(example)
    studio = Studio(backends, settings, shelf, library, audience)
    notes = TextNotes(backends)
    first = next(iter(backends.values()))
    # Files of takes are needed while their tab is open: gone a day later.
    page = Page(title="MusicGen Space", analytics_enabled=False, delete_cache=(_HOUR, 24 * _HOUR))
    with page:
        last_seed = gr.State(int(LIMITS["seed"].default))
        backend, money, key, own_key = _header(backends)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=5, min_width=320, elem_id="wish"):
                prompt = prompt_field()
                notes.below(prompt)
                prompt_words(prompt)
                gallery = build_gallery()
                duration = slider("duration", say("Length"), say("Seconds of music."))
                seed, keep_seed, model = particulars(first, last_seed)
                offered = None if settings.strangers else _build_offer(backends)
                own = OwnSound.build(studio, backends, backend)
                knobs = more_control(notes.below, backends, backend)
                with gr.Column(elem_id="actions"):
                    wishes = wishes_note()
                    generate = gr.Button(say("Generate"), variant="primary", elem_id="generate")
                    with gr.Row(elem_id="meanwhile"):
                        stop = gr.Button(say("Stop"), variant="stop", visible=False, elem_id="stop")
                        make_next = gr.Button(say("Make next"), visible=False, elem_id="make-next")
                    live_button(backends)
                    price = widget(as_json(studio.price_of(first)), "billing/price.js")
                restoring = restore_button()
            with gr.Column(scale=6, min_width=320, elem_id="result"):
                # An example is ready to play for somebody who has not pressed anything yet.
                player = build_player(shelf, view_of_example(), studio.work, most_at_once(first))
                sound_finish()
                live = LivePanel.build(studio, backends)
                panel = build_library_panel(
                    studio.takes,
                    wanted=settings.library is not None,
                    uses=own.uses(first, first.models()[0].name),
                )
        list_of_keys()
        number_fields()
        link_to_the_whole_page(prompt)

        chosen_models = _wire_switch(backends, backend, (key, own_key), model, knobs)
        if offered is not None:
            wire_offer(*offered, (backend, model), chosen_models)
        backend.change(
            lambda name: gr.update(most=most_at_once(backends[name])),
            backend,
            player,
            queue=False,
            **QUIET,
        )
        wire_length(backends, backend, knobs[LONGER], duration)
        _wire_own_sound(studio, backends, backend, model, own, panel)
        notes.wire(backend, model)
        fields = {"duration": duration, "seed": seed, **knobs}
        recall = Recall(backends, backend, model, prompt, fields, chosen_models)
        wire_restore(page, restoring, recall)
        wire_gallery(gallery, player, recall, backends)
        live.wire(page, fields, panel, (backend, model, chosen_models), prompt, own)
        renewed = wire_library_panel(panel, studio, player, recall, own, backends, (backend, model))
        spent = gr.State(0.0)
        wish = [panel, backend, key, model, prompt, *(fields[name] for name in FIELDS), *own.choice]
        made = [player, last_seed, generate, stop, make_next, spent, wishes]
        anew = {"inputs": [panel, keep_seed, *wish[1:]], "outputs": [*made, seed]}
        # Not queue=False: then Gradio 6.31 shows no error to the user. And no limit here: a
        # backend knows best how many takes it can make at a time.
        free: dict[str, Any] = {"concurrency_limit": None, **QUIET}
        generate.click(studio.make, wish, made, **free)
        wishes.again(studio.make_again, wish, made, **free)
        player.another(studio.another, **anew, **free)
        player.variations(studio.variations, **anew, **free)
        # From the list, another may take the place of one that is made.
        renewed(studio.make_again, wish, made, trigger_mode="multiple", **free)
        _tell_money(studio, backend, key, money, price, spent)
        won = player.select(studio.choose_winner, panel, queue=False, **QUIET)
        won.then(None, None, None, js=NEW_TAKES, **QUIET)
        make_next.click(studio.make_next, anew["inputs"], wishes, queue=False, **QUIET)
        wishes.drop(studio.drop, wishes, wishes, queue=False, **QUIET)
        stop.click(studio.stop, queue=False, **QUIET)
        page.unload(studio.leave)
        programs = Programs(backends, studio.spending, audience)
        endpoints = programs.offer(page)
    page.plain_form, page.live = PlainForm(programs.parameters, endpoints), live.sessions
    page.queue(api_open=False)  # else what waits for its turn could be called without waiting
    look_less_often(page)
    return page


def launch_options() -> dict[str, Any]:
    """What Gradio's ``launch`` takes for the looks of the page, and for programs."""
    return {
        "theme": theme(),
        "css": stylesheet(),
        "js": source("page.js"),
        "head": choose_view(),
        "i18n": translations(),
        "footer_links": ["api", "gradio", "settings"],
        # An older environment may be without the library that it takes.
        "mcp_server": importlib.util.find_spec("mcp") is not None,
        # Of an upload: more is refused on its way.
        "max_file_size": MAX_CLIP_BYTES,
        # Gradio's history of runs keeps every input in the browser's storage.
        "run_history": False,
        "state_session_capacity": MOST_SESSIONS,
    }


def _header(
    backends: dict[str, Backend],
) -> tuple[gr.Radio, gr.HTML, gr.Textbox, gr.Button]:
    """Title, the switch of where the music is made, what that costs, and the key for it.

    The last asks for another key in place of the server's.
    """
    first = next(iter(backends.values()))
    missing = "" if "local" in backends else _HOW_TO_ADD_LOCAL
    key_seen, own_key_seen = _key_seen(first, "")
    with gr.Row(elem_id="header"):
        gr.HTML("<h1>MusicGen Space</h1>", apply_default_css=False, elem_id="title")
        backend = gr.Radio(
            [(say(str(backend.label)), name) for name, backend in backends.items()],
            value=first.name,
            label=say("Where the music is made"),
            show_label=False,
            container=False,
            elem_id="backend",
        )
    with gr.Row(elem_id="costs"):
        money = widget(
            as_json(introduction(first)),
            "i18n/sentences.html",
            "i18n/sentences.js",
            elem_id="money",
        )
        key = gr.Textbox(
            label=say("Segmind API key"),
            placeholder=say("Segmind API key"),
            show_label=False,
            container=False,
            type="password",
            max_lines=1,
            max_length=MAX_KEY_CHARACTERS,
            visible=key_seen,
            elem_id="key",
        )
        own_key = gr.Button(
            say("Server key ✓ · change"), visible=own_key_seen, elem_id="own-key", size="sm"
        )
    gr.HTML(missing, apply_default_css=False, visible=bool(missing), elem_id="missing")
    asked = [gr.update(visible=True), gr.update(visible=False)]
    own_key.click(lambda: asked, None, [key, own_key], queue=False, **QUIET)
    return backend, money, key, own_key


def _key_seen(backend: Backend, key: str) -> tuple[bool, bool]:
    """Whether there is a field for a key, and whether the server's own is told of in its place."""
    hosted = isinstance(backend, HostedBackend)
    served = isinstance(backend, HostedBackend) and backend.has_key and not is_given(key)
    return hosted and not served, served


def _wire_switch(
    backends: dict[str, Backend],
    backend: gr.Radio,
    keys: tuple[gr.Textbox, gr.Button],
    model: gr.Dropdown,
    knobs: dict[str, gr.Component],
) -> gr.State:
    """Switching keeps the prompt and every setting; knobs without effect are greyed out.

    → the model chosen in each backend.
    """
    chosen_models = gr.State({name: each.models()[0].name for name, each in backends.items()})

    def switched(name: str, chosen: dict[str, str], key: str) -> list[Any]:
        place = backends[name]
        return [
            *(gr.update(visible=seen) for seen in _key_seen(place, key)),
            gr.update(choices=model_choices(place), value=chosen[name]),
            *(
                gr.update(
                    interactive=obeyed, info=hint if obeyed else f"{say('Not on')} {place.label}."
                )
                for knob, hint in HINTS.items()
                for obeyed in [is_obeyed(knob, place)]
            ),
        ]

    switching = [*keys, model, *(knobs[knob] for knob in HINTS)]
    asked = [backend, chosen_models, keys[0]]
    backend.change(switched, asked, switching, queue=False, **QUIET)
    model.input(
        lambda name, choice, chosen: {**chosen, name: choice},
        [backend, model, chosen_models],
        chosen_models,
        queue=False,
        **QUIET,
    )
    return chosen_models


def _build_offer(backends: dict[str, Backend]) -> tuple[gr.HTML, Backend, str] | None:
    """The offer of the one backend that may have a better model; None where there is none."""
    for backend in backends.values():
        if backend.upgrade is not None:
            return build_offer(backend, backend.upgrade), backend, backend.upgrade.model
    return None


def _tell_money(
    studio: Studio,
    backend: gr.Radio,
    key: gr.Textbox,
    money: gr.HTML,
    price: gr.HTML,
    spent: gr.State,
) -> None:
    """What is said of money changes with the backend and the key, and after a hosted take."""
    paying = [backend.change, key.blur, key.submit]
    gr.on(paying, studio.price, [backend, key], price, queue=False, **QUIET)
    gr.on(
        [*paying, spent.change],
        studio.money,
        [backend, key],
        money,
        trigger_mode="always_last",  # else a slow answer to the first could replace the last one's
        concurrency_limit=None,
        **QUIET,
    )


def _wire_own_sound(
    studio: Studio,
    backends: dict[str, Backend],
    backend: gr.Radio,
    model: gr.Dropdown,
    own: OwnSound,
    panel: gr.HTML,
) -> None:
    """What can be done with somebody's own sound, or take, is up to the backend and the model."""

    def chosen(name: str, model: str, used: str) -> list[Any]:
        return [
            *own.with_model(backends[name], model, used),
            gr.update(uses=own.uses(backends[name], model)),
        ]

    own.wire(studio)
    for event in (backend.change, model.change):
        event(
            chosen,
            [backend, model, own.use],
            [own.about, own.source, own.use, panel],
            queue=False,
            **QUIET,
        )
