"""The prompt, as the decoder reads it: T5's encoder over the tokenised text."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import torch

from musicgen_space.engine.model import TextCondition

__all__ = ["TextEncoder"]


class TextEncoder:
    """A tokenizer and T5's encoder, both from transformers."""

    def __init__(self, tokenizer: Any, encoder: torch.nn.Module) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder

    @torch.inference_mode()
    def encode(self, prompts: list[str]) -> TextCondition:
        """Prompts, padded to the longest: states [N, L, text width] and their mask [N, L]."""
        # verbose=False: T5's positions are relative, so its "too long" warning is moot.
        tokens = self._tokenizer(prompts, padding=True, return_tensors="pt", verbose=False)
        device = next(self._encoder.parameters()).device
        mask = tokens["attention_mask"].to(device)
        states = self._encoder(tokens["input_ids"].to(device), attention_mask=mask)
        return TextCondition(states.last_hidden_state, mask.bool())

    def reader(self) -> Callable[[str], bool]:
        """What tells whether the tokenizer knows all of a word; for any thread, at any time."""
        # A copy: no two threads can use a tokenizer at a time.
        tokenizer, turn = copy.deepcopy(self._tokenizer), threading.Lock()

        def knows(word: str) -> bool:
            with turn:
                pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
            return bool(pieces) and tokenizer.unk_token_id not in pieces

        return knows
