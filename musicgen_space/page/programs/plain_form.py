"""The page as gradio_client and ``gr.load`` are told of it: a plain form over its two endpoints.

``gr.load`` builds a Space again from its configuration, which works only where that is of nothing
but Gradio's own components, events and looks. This page's is not; and gradio_client needs no more
than the endpoints. Gradio's client for JavaScript, which browsers use too, is given the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from musicgen_space.page.gradio_compat import asks_for_configuration, configuration_of
from musicgen_space.page.programs.parameters import Parameter

__all__ = ["PlainForm"]

_AT_ONCE = 3  # fields that are seen before one looks for more


class PlainForm:
    """Answers for the page when one of these libraries asks for its configuration."""

    def __init__(self, parameters: Mapping[str, Parameter], endpoints: Mapping[str, int]) -> None:
        self._instead = configuration_of(_form(parameters), endpoints)

    def in_front_of(self, app: ASGIApp) -> ASGIApp:
        """``app``, but for that answer."""

        async def answering(scope: Scope, receive: Receive, send: Send) -> None:
            if not asks_for_configuration(scope):
                await app(scope, receive, send)
                return
            answer: list[Message] = []

            async def keep(message: Message) -> None:
                answer.append(message)

            await app(scope, receive, keep)
            page = json.loads(b"".join(each.get("body", b"") for each in answer))
            await JSONResponse(page | self._instead)(scope, receive, send)

        return answering


def _form(parameters: Mapping[str, Parameter]) -> gr.Blocks:
    """Fields for ``parameters``, what comes back, and a list of the models."""
    with gr.Blocks(analytics_enabled=False) as form:
        first = [_field(name, each) for name, each in [*parameters.items()][:_AT_ONCE]]
        with gr.Accordion("More", open=False):
            more = [_field(name, each) for name, each in [*parameters.items()][_AT_ONCE:]]
        make = gr.Button("Generate", variant="primary")
        answer = [gr.Audio(label="file"), gr.JSON(label="made")]
        make.click(_elsewhere, [*first, *more], answer, api_name="generate")
        models = gr.JSON(label="models")
        gr.Button("List the models").click(_elsewhere, None, models, api_name="models")
    return form


def _field(name: str, parameter: Parameter) -> gr.Component:
    """The component of Gradio's for what JSON Schema says of a parameter."""
    schema, value = parameter.schema, parameter.default
    if schema["type"] == "object":
        return gr.Audio(label=name, type="filepath", sources=["upload", "microphone"])
    looks = {"label": name, "info": parameter.about}
    if "enum" in schema:
        return gr.Radio(schema["enum"], value=value, **looks)
    if schema["type"] == "string":
        return gr.Textbox(value or parameter.example, **looks)
    step = 1 if schema["type"] == "integer" else None
    return gr.Slider(schema["minimum"], schema["maximum"], value, step=step, **looks)


def _elsewhere(*_: Any) -> None:
    """What the form calls: it is only ever built from, by others."""
