"""The page as calls reach it: what Gradio can't make sense of costs its sender no long log.

For each of them Gradio would log all that led to it.
"""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr

from musicgen_space.page.gradio_compat import is_for_programs
from musicgen_space.page.live.sessions import LiveSessions
from musicgen_space.page.programs.plain_form import PlainForm

__all__ = ["Page"]

log = logging.getLogger(__name__)

_MOST_TOLD = 200  # characters of what is wrong: some of it is the sender's
_NOT_UNDERSTOOD = "This call makes no sense here: its inputs are not those that are asked for."


class Page(gr.Blocks):
    """Blocks whose inputs anybody can send; ``plain_form`` is what Python is told of them.

    ``live`` are its sessions of live music, to be closed with it.
    """

    plain_form: PlainForm
    live: LiveSessions

    async def preprocess_data(
        self, block_fn: Any, given: list[Any], *others: Any, **options: Any
    ) -> list[Any]:
        """What a handler is called with, like Gradio's; raises ``gr.Error`` where that fails.

        Of an endpoint for programs, the last ones may be left out: then they are as usual.
        """
        try:
            if block_fn.fn is None:
                raise TypeError("it is done by the browser alone")
            if is_for_programs(block_fn):
                given = [*given, *(field.value for field in block_fn.inputs[len(given) :])]
            inputs: list[Any] = await super().preprocess_data(block_fn, given, *others, **options)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            log.warning(
                "A call of %s was not understood: %s", block_fn.name, repr(error)[:_MOST_TOLD]
            )
            raise gr.Error(_NOT_UNDERSTOOD, print_exception=False) from None
        return inputs
