"""The page's look, as far as Gradio's variables reach, and the style sheets for the rest."""

from __future__ import annotations

import gradio as gr

from musicgen_space.page.widget import source

__all__ = ["stylesheet", "theme"]

_STYLES = (
    "page.css",
    *("form/form.css", "prompt/prompt.css", "clip/picker.css", "examples/gallery.css"),
    *("offer/offer.css", "player/player.css", "takes/library_panel.css", "keys/keys.css"),
    *("wishes/wishes.css", "live/live.css", "embedding/view.css"),
)

# Plain names: a font of Gradio's own list would be fetched from another host.
_TEXT_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_CODE_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# What has the focus is never behind the button that stays in sight.
_OF_THE_WINDOW = "html:has(> body > gradio-app:not([src])) { scroll-padding-bottom: 96px; }"


def theme() -> gr.themes.Base:
    """One accent colour (violet), slate for the rest, dark and light alike."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.violet,
        secondary_hue=gr.themes.colors.violet,
        neutral_hue=gr.themes.colors.slate,
        font=list(_TEXT_FONTS),
        font_mono=list(_CODE_FONTS),
        radius_size=gr.themes.sizes.radius_lg,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="#0e0f1a",
        block_background_fill="white",
        block_background_fill_dark="#171927",
        block_border_color="*neutral_200",
        block_border_color_dark="#262a3d",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        input_background_fill="white",
        input_background_fill_dark="#10121d",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )


def stylesheet() -> str:
    """What the theme's variables don't reach: the page's rules, and after them its parts'.

    All of it is in one rule, as the page may be a component in the document of another one. So
    "&" is the page. Gradio 6.31 adds a copy of each rule that is for below it: of this one that
    has no meaning.
    """
    rules = "\n".join(map(source, _STYLES))
    return f"{_OF_THE_WINDOW}\n.gradio-container {{\n{rules}\n}}"
