"""MusicGen's decoder: the transformer that predicts the next column of codes.

``prefill`` reads the conditions and the first columns, ``decode`` adds one column. What
they remember (the KV cache) lives in a ``DecoderState``, one for each generation.

B takes are predicted at once, each in one or more readings: with the prompt and, for
guidance, without one. So a batch has R rows, a multiple of B: all takes in the first
reading, all takes in the second, … The readings with a text come first (N rows). The
text of the others is all zeros, so (without biases) their cross-attention adds exactly
nothing and is left out.

Melody checkpoints have no cross-attention: they read the tune and the text, P positions,
before the first column.

K codebooks, V entries, S columns, L text tokens, H heads, D features a head, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from musicgen_space.engine.config import DecoderConfig

__all__ = [
    "Condition",
    "Decoder",
    "DecoderState",
    "Predictor",
    "TextCondition",
    "melody_prefix",
    "sinusoids",
]


@dataclass(frozen=True, slots=True, eq=False)
class TextCondition:
    """What T5 made of prompts: ``states`` [N, L, text width], ``mask`` bool [N, L]."""

    states: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What R ``rows`` are told: the first N a ``text``; all, in melody models, a ``tune``.

    ``tune`` is [R, frames, chroma bins], or None in other models.
    """

    text: TextCondition
    rows: int
    tune: torch.Tensor | None = None


@dataclass(slots=True, eq=False)
class DecoderState:
    """The memory of one generation: ``length`` positions so far.

    ``caches`` holds each layer's keys and values [2, R, H, positions, D], filled up to
    ``length``; ``text_caches`` those of the text [2, N, H, L, D], which never change, like
    ``text_mask`` [N, 1, 1, L] (None: nothing is masked) and ``positions`` [positions, W].
    Melody models have no ``text_caches``.
    """

    caches: tuple[torch.Tensor, ...]
    text_caches: tuple[torch.Tensor, ...]
    text_mask: torch.Tensor | None
    positions: torch.Tensor
    length: int = 0

    @property
    def rows(self) -> int:
        """R, all rows."""
        return self.caches[0].shape[1]


class Predictor(Protocol):
    """What a take needs of a decoder: ``Decoder`` below, or another that computes the same."""

    config: DecoderConfig

    def prefill(
        self, codes: torch.Tensor, condition: Condition, *, columns: int
    ) -> tuple[torch.Tensor, Any]:
        """Start a generation: see ``Decoder.prefill``."""

    def decode(self, codes: torch.Tensor, state: Any) -> torch.Tensor:
        """Add one column: see ``Decoder.decode``."""


class Decoder(nn.Module):
    """Codes in, logits of the next codes out."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        entries = config.codebook_size + 1  # the special token has an embedding, not a logit
        self.embeddings = nn.Parameter(torch.empty(config.codebooks * entries, config.width))
        self.text_projection = nn.Linear(config.text_width, config.width)
        if config.follows_melody:
            self.chroma_projection = nn.Linear(config.chroma_bins, config.width)
        layers = [DecoderLayer(config) for _ in range(config.layers)]
        self.layers: Sequence[DecoderLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(config.width)
        self.heads = nn.Linear(config.width, config.codebooks * config.codebook_size, bias=False)

    def prefill(
        self, codes: torch.Tensor, condition: Condition, *, columns: int
    ) -> tuple[torch.Tensor, DecoderState]:
        """Start a generation of up to ``columns`` columns with ``codes`` [B, K, S].

        → logits of the column after the last one [R, K, V], and the state to go on with.
        """
        state, prefix = self.start(condition, columns)
        return self._advance(codes, state, prefix), state

    def decode(self, codes: torch.Tensor, state: DecoderState) -> torch.Tensor:
        """Add one column ``codes`` [B, K]; → logits of the next one [R, K, V]."""
        return self._advance(codes.unsqueeze(-1), state)

    def start(self, condition: Condition, columns: int) -> tuple[DecoderState, torch.Tensor | None]:
        """The state of a generation that has read nothing yet, and a melody model's prefix."""
        states = self.text_projection(condition.text.states.to(self.norm.weight.dtype))
        if self.config.follows_melody:
            prefix = melody_prefix(states, condition, self.chroma_projection)
            return self._new_state(condition, columns + prefix.shape[1]), prefix
        state = self._new_state(condition, columns)
        mask = condition.text.mask
        state.text_mask = None if bool(mask.all()) else mask[:, None, None, :]
        state.text_caches = tuple(
            layer.cross_attention.project_text(states) for layer in self.layers
        )
        return state, None

    def _new_state(self, condition: Condition, positions: int) -> DecoderState:
        config, like = self.config, self.norm.weight
        shape = (config.layers, 2, condition.rows, config.heads, positions, config.head_width)
        return DecoderState(
            caches=like.new_empty(shape).unbind(),
            text_caches=(),
            text_mask=None,
            positions=sinusoids(positions, config.width).to(like),
        )

    def _advance(
        self, codes: torch.Tensor, state: DecoderState, prefix: torch.Tensor | None = None
    ) -> torch.Tensor:
        start = state.length
        hidden = self.enter(codes, state, prefix)
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, state, index, start)
        logits: torch.Tensor = self.heads(self.norm(hidden[:, -1]))
        return logits.view(-1, self.config.codebooks, self.config.codebook_size)

    def enter(
        self, codes: torch.Tensor, state: DecoderState, prefix: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the first layer sees of ``codes`` [B, K, S], [R, P + S, W]; counts the positions."""
        hidden = self._embed(codes).repeat(state.rows // len(codes), 1, 1)  # [R, S, W]
        if prefix is not None:
            hidden = torch.cat([prefix, hidden], dim=1)
        start, state.length = state.length, state.length + hidden.shape[1]
        return hidden + state.positions[start : state.length]

    def _embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Sum of the codebooks' embeddings: [B, K, S] → [B, S, W]."""
        offsets = torch.arange(self.config.codebooks, device=codes.device)
        rows = codes + (offsets * (self.config.codebook_size + 1))[:, None]
        return functional.embedding(rows, self.embeddings).sum(dim=1)


def melody_prefix(
    states: torch.Tensor, condition: Condition, chroma_projection: nn.Module
) -> torch.Tensor:
    """Tune and projected text ``states``, [R, P, W]; text that is padding or absent is zeros."""
    text = states * condition.text.mask[:, :, None]
    text = functional.pad(text, (0, 0, 0, 0, 0, condition.rows - len(text)))
    if condition.tune is None:
        raise ValueError("A melody model needs a tune, if only the empty one.")
    return torch.cat([chroma_projection(condition.tune.to(states)), text], dim=1)


class DecoderLayer(nn.Module):
    """Attention to what was played, attention to the text, feed-forward; all pre-norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attention_norm = nn.LayerNorm(config.width)
        self.self_attention = SelfAttention(config)
        self.looks_at_text = not config.follows_melody
        if self.looks_at_text:
            self.cross_attention_norm = nn.LayerNorm(config.width)
            self.cross_attention = CrossAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, config.feed_forward, bias=False)
        self.contract = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(
        self, hidden: torch.Tensor, state: DecoderState, index: int, start: int
    ) -> torch.Tensor:
        """[R, S, W] → [R, S, W]; writes positions ``start`` … of layer ``index``'s cache."""
        hidden = hidden + self.self_attention(
            self.self_attention_norm(hidden), state.caches[index], start
        )
        if self.looks_at_text:
            text_cache = state.text_caches[index]
            with_text = hidden[: text_cache.shape[1]]  # a view: adding to it adds to hidden
            with_text += self.cross_attention(
                self.cross_attention_norm(with_text), text_cache, state.text_mask
            )
        expanded = functional.gelu(self.expand(self.feed_forward_norm(hidden)))
        contracted: torch.Tensor = self.contract(expanded)
        return hidden + contracted


class SelfAttention(nn.Module):
    """Causal attention over the filled part of the KV cache."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        self.queries_keys_values = nn.Linear(config.width, 3 * config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def forward(self, hidden: torch.Tensor, cache: torch.Tensor, start: int) -> torch.Tensor:
        """``hidden`` [R, S, W] → [R, S, W]; ``cache`` [2, R, H, columns, D] is written in place."""
        projected = _split_heads(self.queries_keys_values(hidden), 3, self.head_width)
        end = start + hidden.shape[1]
        cache[:, :, :, start:end] = projected[1:]
        keys, values = cache[:, :, :, :end].unbind()
        mask = _causal_mask(start, end, hidden.device) if end - start > 1 else None
        attended = functional.scaled_dot_product_attention(
            projected[0], keys, values, attn_mask=mask
        )
        merged: torch.Tensor = self.output(_merge_heads(attended))
        return merged


class CrossAttention(nn.Module):
    """Attention to the text, whose keys and values are computed once a generation."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        self.queries = nn.Linear(config.width, config.width, bias=False)
        self.keys_values = nn.Linear(config.width, 2 * config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def project_text(self, states: torch.Tensor) -> torch.Tensor:
        """Text states [N, L, W] → their keys and values [2, N, H, L, D]."""
        return _split_heads(self.keys_values(states), 2, self.head_width).contiguous()

    def forward(
        self, hidden: torch.Tensor, text_cache: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """[N, S, W] → [N, S, W]."""
        queries = _split_heads(self.queries(hidden), 1, self.head_width)[0]
        keys, values = text_cache.unbind()
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        merged: torch.Tensor = self.output(_merge_heads(attended))
        return merged


def sinusoids(columns: int, width: int) -> torch.Tensor:
    """Positions ``[cos | sin]`` [columns, W] (Vaswani et al. 2017, section 3.5)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(columns).float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _causal_mask(start: int, end: int, device: torch.device) -> torch.Tensor:
    """Column c may look at columns up to itself: bool [end − start, end]."""
    columns = torch.arange(end, device=device)
    return columns[None, :] <= columns[start:, None]


def _split_heads(hidden: torch.Tensor, parts: int, head_width: int) -> torch.Tensor:
    """[rows, S, parts · H · D] → [parts, rows, H, S, D]."""
    rows, columns, _ = hidden.shape
    return hidden.view(rows, columns, parts, -1, head_width).permute(2, 0, 3, 1, 4)


def _merge_heads(attended: torch.Tensor) -> torch.Tensor:
    """[rows, H, S, D] → [rows, S, W]."""
    return attended.transpose(1, 2).flatten(2)
