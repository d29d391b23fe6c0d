"""The page as calls reach it: what Gradio can't make sense of costs its sender no long log.

For each of them Gradio would log all that led to it.
"""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr

__all__ = ["Page"]

log = logging.getLogger(__name__)

_MOST_TOLD = 200  # characters of what is wrong: some of it is the sender's
_NOT_UNDERSTOOD = "This call makes no sense here: its inputs are not those that are asked for."


class Page(gr.Blocks):
    """Blocks whose inputs anybody can send."""

    async def preprocess_data(self, block_fn: Any, *given: Any, **options: Any) -> list[Any]:
        """What a handler is called with, like Gradio's; raises ``gr.Error`` where that fails."""
        try:
            if block_fn.fn is None:
                raise TypeError("it is done by the browser alone")
            inputs: list[Any] = await super().preprocess_data(block_fn, *given, **options)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            log.warning(
                "A call of %s was not understood: %s", block_fn.name, repr(error)[:_MOST_TOLD]
            )
            raise gr.Error(_NOT_UNDERSTOOD, print_exception=False) from None
        return inputs
