"""MusicGen's decoder: the transformer that predicts the next step of the delay pattern.

``start`` reads the conditions, ``step`` columns of steps, for several generations at once. The
state of each is its ``KVCache``.

In a generation B takes are predicted at once, each in one or more branches: conditional and, for
classifier-free guidance (CFG), unconditional. So a batch has R rows, a multiple of B: all
takes in the first branch, all takes in the second, … Branches with a text come first (N
rows). The text of the others is all zeros, so (without biases) their cross-attention adds
exactly nothing and is skipped.

Melody checkpoints have no cross-attention: chroma and text are a prefix of P positions
before the first step.

K codebooks, V entries, S steps, L text tokens, H heads, D features per head, W width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.kv_cache import Cache, KVCache

__all__ = [
    "Columns",
    "Condition",
    "Decoder",
    "Predictor",
    "Read",
    "TextCondition",
    "melody_prefix",
    "sinusoidal_positions",
]


@dataclass(frozen=True, slots=True, eq=False)
class TextCondition:
    """T5's hidden states of the prompts: ``states`` [N, L, text width], ``mask`` bool [N, L]."""

    states: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What R ``rows`` are conditioned on: the first N on ``text``; in melody models all on chroma.

    ``chroma`` is [R, frames, chroma bins], or None in other models.
    """

    text: TextCondition
    rows: int
    chroma: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What a generation reads next: ``codes`` [B, K, S], after a melody's ``prefix`` [R, P, W]."""

    codes: torch.Tensor
    prefix: torch.Tensor | None = None

    def __len__(self) -> int:
        return self._prefixed + self.codes.shape[-1]

    def split(self, count: int) -> tuple[Columns, Columns]:
        """The first ``count`` columns, and the others."""
        if count >= self._prefixed:
            codes = count - self._prefixed
            return (
                Columns(self.codes[..., :codes], self.prefix),
                Columns(self.codes[..., codes:]),
            )
        assert self.prefix is not None
        first, others = self.prefix[:, :count], self.prefix[:, count:]
        return Columns(self.codes[..., :0], first), Columns(self.codes, others)

    @property
    def _prefixed(self) -> int:
        return 0 if self.prefix is None else self.prefix.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A condition as the decoder has read it.

    ``cross_attn`` and ``cross_attn_mask`` are those of ``KVCache``; melody models have a
    ``prefix`` [R, P, W] instead.
    """

    cross_attn: tuple[torch.Tensor, ...] = ()
    cross_attn_mask: torch.Tensor | None = None
    prefix: torch.Tensor | None = None

    @property
    def prefixed(self) -> int:
        """P; 0 in other models."""
        return 0 if self.prefix is None else self.prefix.shape[1]


class Predictor(ABC):
    """What generation needs of a decoder: ``Decoder`` below, or another that computes the same.

    All state of a generation is what ``start`` returns.
    """

    config: DecoderConfig

    @property
    def spare_bytes(self) -> int:
        """Memory that is kept for new states, and that nobody has."""
        return 0

    @property
    def position_bytes(self) -> int:
        """What one position of one row takes in the cache; in float32, unless it says otherwise."""
        return 2 * self.config.layers * self.config.width * torch.float32.itemsize

    @abstractmethod
    def start(self, condition: Condition, max_steps: int) -> tuple[Any, torch.Tensor | None]:
        """The state of a new generation of up to ``max_steps`` steps.

        Melody models also give the prefix [R, P, W] that it has to read before all codes.
        """

    @abstractmethod
    def step(self, states: Sequence[Any], columns: Sequence[Columns]) -> list[torch.Tensor]:
        """Read each generation's columns; → its logits of the step after the last [R, K, V].

        However many others are advanced together, each gets the logits that it would get alone.
        When this raises, none has read anything.
        """

    def prefill(
        self, codes: torch.Tensor, condition: Condition, *, max_steps: int
    ) -> tuple[torch.Tensor, Any]:
        """Start a generation of up to ``max_steps`` steps with ``codes`` [B, K, S].

        → logits of the step after the last one [R, K, V], and the state to go on with.
        """
        state, prefix = self.start(condition, max_steps)
        return self.step([state], [Columns(codes, prefix)])[0], state

    def decode(self, codes: torch.Tensor, state: Any) -> torch.Tensor:
        """Add one step ``codes`` [B, K]; → logits of the next one [R, K, V]."""
        return self.step([state], [Columns(codes.unsqueeze(-1))])[0]


class Decoder(nn.Module, Predictor):
    """Codes in, logits of the next codes out."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        entries = config.codebook_size + 1  # the special token has an embedding, not a logit
        self.embeddings = nn.Parameter(torch.empty(config.codebooks * entries, config.width))
        self.text_proj = nn.Linear(config.text_width, config.width)
        if config.follows_melody:
            self.chroma_proj = nn.Linear(config.chroma_bins, config.width)
        layers = [DecoderLayer(config) for _ in range(config.layers)]
        self.layers: Sequence[DecoderLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(config.width)
        self.lm_heads = nn.Linear(config.width, config.codebooks * config.codebook_size, bias=False)

    @property
    def position_bytes(self) -> int:
        """See ``Predictor.position_bytes``."""
        return 2 * self.config.layers * self.config.width * self.norm.weight.itemsize

    def start(self, condition: Condition, max_steps: int) -> tuple[KVCache, torch.Tensor | None]:
        """A new cache with the text's keys and values; see ``Predictor.start``."""
        read = self.read(condition)
        positions = max_steps + read.prefixed
        cache = KVCache(
            self_attn=self.allocate(condition.rows, positions).unbind(),
            cross_attn=read.cross_attn,
            cross_attn_mask=read.cross_attn_mask,
            positions=self.embed_positions(positions),
        )
        return cache, read.prefix

    def read(self, condition: Condition) -> Read:
        """What becomes of a condition, before any column."""
        states = self.text_proj(condition.text.states.to(self.norm.weight.dtype))
        if self.config.follows_melody:
            return Read(prefix=melody_prefix(states, condition, self.chroma_proj))
        mask = condition.text.mask
        return Read(
            tuple(layer.cross_attn.project_text(states) for layer in self.layers),
            None if bool(mask.all()) else mask[:, None, None, :],
        )

    def allocate(self, rows: int, positions: int) -> torch.Tensor:
        """Memory for keys and values [layers, 2, rows, H, positions, D], whatever is in it."""
        config = self.config
        return self.norm.weight.new_empty(
            (config.layers, 2, rows, config.heads, positions, config.head_width)
        )

    def embed_positions(self, positions: int) -> torch.Tensor:
        """The embeddings [positions, W] of the first so many."""
        return sinusoidal_positions(positions, self.config.width).to(self.norm.weight)

    def step(self, states: Sequence[KVCache], columns: Sequence[Columns]) -> list[torch.Tensor]:
        """See ``Predictor.step``; alone, a generation gets the same logits up to rounding."""
        logits = self.predict(states, columns)
        for cache, read in zip(states, columns, strict=True):
            cache.length += len(read)
        return list(torch.split(logits, [cache.rows for cache in states]))

    def predict(self, states: Sequence[Cache], columns: Sequence[Columns]) -> torch.Tensor:
        """The logits [rows of all, K, V] after ``columns``; caches are filled, not advanced."""
        last = torch.cat([each[:, -1] for each in self.hidden(states, columns)])
        logits: torch.Tensor = self.lm_heads(self.norm(last))
        return logits.view(-1, self.config.codebooks, self.config.codebook_size)

    def hidden(self, states: Sequence[Cache], columns: Sequence[Columns]) -> list[torch.Tensor]:
        """The last layer's outputs [R, P + S, W] of each; caches are filled, not advanced."""
        pairs = zip(states, columns, strict=True)
        hidden = [self.embed_inputs(read.codes, cache, read.prefix) for cache, read in pairs]
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, states, index)
        return hidden

    def embed_inputs(
        self, codes: torch.Tensor, cache: Cache, prefix: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The first layer's input [R, P + S, W] from ``codes`` [B, K, S]."""
        hidden = self._embed(codes).repeat(cache.rows // len(codes), 1, 1)  # [R, S, W]
        if prefix is not None:
            hidden = torch.cat([prefix, hidden], dim=1)
        return hidden + cache.next_positions(hidden.shape[1])

    def _embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Sum of the codebooks' embeddings: [B, K, S] → [B, S, W]."""
        offsets = torch.arange(self.config.codebooks, device=codes.device)
        rows = codes + (offsets * (self.config.codebook_size + 1))[:, None]
        return functional.embedding(rows, self.embeddings).sum(dim=1)


def melody_prefix(
    states: torch.Tensor, condition: Condition, chroma_proj: nn.Module
) -> torch.Tensor:
    """Projected chroma and text ``states`` [R, P, W]; padding and unconditional text are zeros."""
    text = states * condition.text.mask[:, :, None]
    text = functional.pad(text, (0, 0, 0, 0, 0, condition.rows - len(text)))
    if condition.chroma is None:
        raise ValueError("A melody model needs chroma, even if it is the empty one.")
    return torch.cat([chroma_proj(condition.chroma.to(states)), text], dim=1)


def _together(
    function: Callable[[torch.Tensor], torch.Tensor], inputs: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """``function`` of each [R, S, W], but it reads its weights once: [rows, W] → [rows, W′]."""
    if len(inputs) == 1:
        return [function(inputs[0])]
    rows = [each.flatten(0, 1) for each in inputs]
    outputs = torch.split(function(torch.cat(rows)), [len(each) for each in rows])
    pairs = zip(inputs, outputs, strict=True)
    return [output.view(*each.shape[:2], -1) for each, output in pairs]


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward; all pre-norm.

    Of several generations, each of R rows and S columns of its own.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn_norm = nn.LayerNorm(config.width)
        self.self_attn = SelfAttention(config)
        self.has_cross_attn = not config.follows_melody
        if self.has_cross_attn:
            self.cross_attn_norm = nn.LayerNorm(config.width)
            self.cross_attn = CrossAttention(config)
        self.ffn_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.ffn_dim, bias=False)
        self.fc2 = nn.Linear(config.ffn_dim, config.width, bias=False)

    def forward(
        self, hidden: Sequence[torch.Tensor], caches: Sequence[Cache], index: int
    ) -> list[torch.Tensor]:
        """Each [R, S, W] → [R, S, W]; writes S positions of layer ``index``'s caches."""
        attended = self.self_attn(_together(self.self_attn_norm, hidden), caches, index)
        hidden = [each + new for each, new in zip(hidden, attended, strict=True)]
        if self.has_cross_attn:
            # Views: adding to them adds to hidden.
            pairs = zip(hidden, caches, strict=True)
            with_text = [each[: cache.cross_attn[index].shape[1]] for each, cache in pairs]
            read = self.cross_attn(_together(self.cross_attn_norm, with_text), caches, index)
            for each, new in zip(with_text, read, strict=True):
                each += new
        projected = _together(self._feed_forward, hidden)
        return [each + new for each, new in zip(hidden, projected, strict=True)]

    def _feed_forward(self, hidden: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = self.fc2(functional.gelu(self.fc1(self.ffn_norm(hidden))))
        return projected


class SelfAttention(nn.Module):
    """Causal attention over the filled part of the KV cache."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        self.qkv_proj = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, hidden: Sequence[torch.Tensor], caches: Sequence[Cache], index: int
    ) -> list[torch.Tensor]:
        """Each [R, S, W] → [R, S, W]."""
        projected = zip(_together(self.qkv_proj, hidden), caches, strict=True)
        attended = [self._attend(qkv, cache, index) for qkv, cache in projected]
        return _together(self.out_proj, attended)

    def _attend(self, qkv: torch.Tensor, cache: Cache, index: int) -> torch.Tensor:
        """``qkv`` [R, S, 3 · W] → [R, S, W]."""
        heads = _split_heads(qkv, 3, self.head_width)
        keys, values, mask = cache.extend(index, heads[1:])
        attended = functional.scaled_dot_product_attention(heads[0], keys, values, attn_mask=mask)
        return _merge_heads(attended)


class CrossAttention(nn.Module):
    """Attention to the text, whose keys and values are computed once per generation."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        self.q_proj = nn.Linear(config.width, config.width, bias=False)
        self.kv_proj = nn.Linear(config.width, 2 * config.width, bias=False)
        self.out_proj = nn.Linear(config.width, config.width, bias=False)

    def project_text(self, states: torch.Tensor) -> torch.Tensor:
        """Text states [N, L, W] → their keys and values [2, N, H, L, D]."""
        return _split_heads(self.kv_proj(states), 2, self.head_width).contiguous()

    def forward(
        self, hidden: Sequence[torch.Tensor], caches: Sequence[Cache], index: int
    ) -> list[torch.Tensor]:
        """Each [N, S, W] → [N, S, W]."""
        projected = zip(_together(self.q_proj, hidden), caches, strict=True)
        attended = [
            self._attend(each, cache.cross_attn[index], cache.cross_attn_mask)
            for each, cache in projected
        ]
        return _together(self.out_proj, attended)

    def _attend(
        self, projected: torch.Tensor, text_kv: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        queries = _split_heads(projected, 1, self.head_width)[0]
        keys, values = text_kv.unbind()
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return _merge_heads(attended)


def sinusoidal_positions(positions: int, width: int) -> torch.Tensor:
    """Position embeddings ``[cos | sin]`` [positions, W] (Vaswani et al. 2017, section 3.5)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(positions).float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _split_heads(hidden: torch.Tensor, parts: int, head_width: int) -> torch.Tensor:
    """[rows, S, parts · H · D] → [parts, rows, H, S, D]."""
    rows, length, _ = hidden.shape
    return hidden.view(rows, length, parts, -1, head_width).permute(2, 0, 3, 1, 4)


def _merge_heads(attended: torch.Tensor) -> torch.Tensor:
    """[rows, H, S, D] → [rows, S, W]."""
    return attended.transpose(1, 2).flatten(2)
