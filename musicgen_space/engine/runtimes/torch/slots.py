"""Slots: caches of many generations in memory whose addresses and shapes stay.

    self_attn [layers, 2, rows, H, positions, D]

    slot │    0     │    1     │    2     │    3     │ …
    row  │  0    1  │  2    3  │  4    5  │  6    7  │ …
         │  c    u  │  c    –  │  c    c  │  u    u  │
          with CFG    without    two variations with it

A slot is a pair of rows. A generation of R rows has ⌈R / 2⌉ slots side by side, its rows in their
own order, so its logits, and the branches that CFG combines, are views of those of all rows. Its
``KVCache`` has views of its rows: whatever reads many columns is a plain step of the decoder.
A slot is free again when nobody has the cache any more.

A step of one column each computes all rows of the first n slots, for n of a few sizes
(``bucket``), up to a ``reach`` of positions: a shape for which it can be recorded once.
Rows that take no part are computed as well. What they write is overwritten by their own
next step, before anything reads it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from weakref import WeakKeyDictionary

import torch

from musicgen_space.engine.kv_cache import Attended, KVCache
from musicgen_space.engine.memory import free_bytes
from musicgen_space.engine.model import Columns, Decoder, Read
from musicgen_space.errors import is_out_of_memory

__all__ = ["Buffers", "Room", "Slots", "SlotsCache", "bucket"]

log = logging.getLogger(__name__)

# Capacities and reaches are multiples of these. Takes of 10 s have 503 positions, of 30 s 1,503.
_POSITIONS, _TOKENS = 512, 64
_SHARE = 0.8  # of free memory that slots may take: EnCodec and activations need some


@dataclass(frozen=True, slots=True)
class Room:
    """How many slots there are; the positions and tokens of text that each can have."""

    slots: int = 0
    positions: int = 0
    tokens: int = 0

    def for_more(self, slots: int, positions: int, tokens: int, most: int) -> Room:
        """At least this and that, at most ``most`` slots."""
        return Room(
            max(self.slots, bucket(slots, most)),
            max(self.positions, _round_up(positions, _POSITIONS)),
            max(self.tokens, _round_up(tokens, _TOKENS)),
        )


def bucket(slots: int, most: int) -> int:
    """The least of 1, 2, 4, 8 … and ``most`` that is no less than ``slots``."""
    return min(most, 1 << (slots - 1).bit_length())


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


class Buffers:
    """The tensors: caches, and what a step reads and writes.

    ``codes`` [rows, K] and ``lengths`` [rows] are what the next step reads. All are finite from
    the start: what is masked is multiplied by zero.
    """

    def __init__(self, decoder: Decoder, room: Room) -> None:
        config, rows = decoder.config, 2 * room.slots
        self.room = room
        self.self_attn = decoder.allocate(rows, room.positions).zero_()
        self.cross_attn = decoder.allocate(rows, room.tokens).zero_()
        self.cross_attn_mask = self.cross_attn.new_zeros((rows, 1, 1, room.tokens))  # additive
        self.positions = decoder.embed_positions(room.positions)
        self.codes = torch.zeros(
            (rows, config.codebooks), dtype=torch.int64, device=self.positions.device
        )
        self.lengths = self.codes.new_zeros(rows)

    @staticmethod
    def bytes_for(decoder: Decoder, room: Room) -> int:
        """What they need, but for some that hardly count."""
        like, config = decoder.norm.weight, decoder.config
        positions = 2 * room.slots * (room.positions + room.tokens)
        return positions * 2 * config.layers * config.width * like.element_size()

    def write_text(self, first: int, cache: KVCache) -> None:
        """The text of the rows from ``first`` on; those without one attend to zeros only."""
        rows = slice(first, first + _paired(cache.rows))
        self.cross_attn[:, :, rows] = 0
        self.cross_attn_mask[rows] = 0
        if not cache.cross_attn:
            return
        _, with_text, _, tokens, _ = cache.cross_attn[0].shape
        rows = slice(first, first + with_text)
        for target, text in zip(self.cross_attn, cache.cross_attn, strict=True):
            target[:, rows, :, :tokens] = text
        self.cross_attn_mask[rows, ..., tokens:] = -torch.inf
        if cache.cross_attn_mask is not None:
            mask = self.cross_attn_mask[rows, ..., :tokens]
            mask.masked_fill_(~cache.cross_attn_mask, -torch.inf)

    def write_lengths(self, lengths: list[int]) -> None:
        """Of all rows. From pinned memory the copy is queued like a kernel: nobody waits."""
        pinned = self.lengths.device.type == "cuda"
        self.lengths.copy_(torch.tensor(lengths, pin_memory=pinned), non_blocking=True)

    @contextmanager
    def next_inputs(self, entries: int) -> Iterator[None]:
        """Other codes, of ``entries`` that there are, at the next positions, for a trial."""
        before = self.codes.clone(), self.lengths.clone()
        self.codes.add_(1).remainder_(entries)
        self.lengths.add_(1)
        try:
            yield
        finally:
            self.codes.copy_(before[0])
            self.lengths.copy_(before[1])


class SlotsCache:
    """The caches of the first ``slots`` slots as one, each row at its own length; for one step.

    Every row attends to all positions up to ``reach``, where a mask leaves those that are
    filled. So a step has the same shape until the longest of its takes is past a multiple of
    ``_POSITIONS``: always reading all that there is would cost a take of 10 s three times its
    own cache, where there is room for one of 30 s.
    """

    def __init__(self, buffers: Buffers, slots: int, reach: int, *, has_text: bool) -> None:
        self.rows = 2 * slots
        # Who takes no part may be full.
        self._at = buffers.lengths[: self.rows].clamp(max=reach - 1)
        self._self_attn = buffers.self_attn[:, :, : self.rows, :, :reach].unbind()
        self._positions = buffers.positions
        filled = torch.arange(reach, device=self._at.device) <= self._at[:, None]
        # Additive: of a mask of bools, SDPA would make one in each layer.
        mask = torch.zeros_like(filled, dtype=buffers.self_attn.dtype)
        self._mask = mask.masked_fill(~filled, -torch.inf)[:, None, None]
        self.cross_attn = buffers.cross_attn[:, :, : self.rows].unbind() if has_text else ()
        self.cross_attn_mask = buffers.cross_attn_mask[: self.rows]

    def next_positions(self, count: int) -> torch.Tensor:
        """See ``Cache``; ``count`` is 1: [R, 1, W]."""
        return self._positions.index_select(0, self._at)[:, None]

    def extend(self, layer: int, new: torch.Tensor) -> Attended:
        """See ``Cache``."""
        kv = self._self_attn[layer]
        kv.scatter_(3, self._at.view(1, -1, 1, 1, 1).expand_as(new), new)
        return kv[0], kv[1], self._mask


class Slots:
    """Which cache has which slots, of at most ``most``.

    There are as many as were needed so far. For more, what is in them moves to larger buffers;
    ``before_growth`` has to drop whatever knows the old ones.
    """

    def __init__(self, decoder: Decoder, most: int, before_growth: Callable[[], None]) -> None:
        self._decoder, self._most, self._before_growth = decoder, most, before_growth
        self._firsts: WeakKeyDictionary[KVCache, int] = WeakKeyDictionary()  # of their rows
        self._buffers: Buffers | None = None

    def __contains__(self, cache: KVCache) -> bool:
        return cache in self._firsts

    @property
    def spare_bytes(self) -> int:
        """Of slots that nobody has."""
        free = self._room.slots - len(self._taken())
        return Buffers.bytes_for(self._decoder, self._room) * free // max(1, self._room.slots)

    @property
    def buffers(self) -> Buffers:
        """The tensors of all; there are none before the first cache."""
        assert self._buffers is not None
        return self._buffers

    def rows_of(self, cache: KVCache) -> slice:
        """Which are its rows."""
        first = self._firsts[cache]
        return slice(first, first + cache.rows)

    def cache_for(self, rows: int, positions: int, read: Read) -> KVCache | None:
        """A new cache in slots; None where there are none and memory for no more."""
        tokens = read.cross_attn[0].shape[3] if read.cross_attn else 0
        slots = _paired(rows) // 2
        slot = self._gap(slots)
        if slot + slots > self._most:
            return None
        if not self._find_room(slot + slots, positions, tokens):
            log.info("There is no memory for %d slots; a take has a cache of its own", slot + slots)
            return None
        views = self.buffers.self_attn[:, :, 2 * slot : 2 * slot + rows, :, :positions].unbind()
        table = self.buffers.positions[:positions]
        cache = KVCache(views, read.cross_attn, read.cross_attn_mask, table)
        self._firsts[cache] = 2 * slot
        self._write(cache)
        return cache

    def prepare(self, reads: Mapping[KVCache, Columns]) -> tuple[int, int]:
        """Have the next codes in the buffers; → the bucket of slots, and how far it reaches."""
        self._move_down()
        lengths = [0] * (2 * self._room.slots)
        for cache in list(self._firsts):
            lengths[self.rows_of(cache)] = [cache.length] * cache.rows
        self.buffers.write_lengths(lengths)
        for cache, read in reads.items():
            codes = read.codes[..., 0]  # [B, K]: the same in each branch
            self.buffers.codes[self.rows_of(cache)].view(-1, *codes.shape).copy_(codes)
        last = max(self.rows_of(cache).stop for cache in reads)
        slots = bucket(_paired(last) // 2, self._most)
        # Of all in the bucket, whether or not they take part: who is cut short would be damaged.
        longest = max(lengths[: 2 * slots])
        return slots, min(self._room.positions, _round_up(longest + 1, _POSITIONS))

    @property
    def _room(self) -> Room:
        return Room() if self._buffers is None else self._buffers.room

    def _taken(self) -> set[int]:
        slices = map(self.rows_of, list(self._firsts))
        return {row // 2 for rows in slices for row in range(rows.start, rows.stop)}

    def _move_down(self) -> None:
        """Whoever has the highest slot gets a lower one where that makes the bucket smaller.

        Else a step would compute all that are free below, and read their caches.
        """
        cache = max(self._firsts, key=self._firsts.__getitem__)
        old, slots = self.rows_of(cache), _paired(cache.rows) // 2
        gap = self._gap(slots)
        if bucket(gap + slots, self._most) < bucket(_paired(old.stop) // 2, self._most):
            self._firsts[cache] = 2 * gap
            self.buffers.self_attn[:, :, self.rows_of(cache)] = self.buffers.self_attn[:, :, old]
            self._write(cache)

    def _write(self, cache: KVCache) -> None:
        """Have its views and its text where it is now."""
        rows, positions = self.rows_of(cache), cache.capacity
        cache.self_attn = self.buffers.self_attn[:, :, rows, :, :positions].unbind()
        cache.positions = self.buffers.positions[:positions]
        self.buffers.write_text(rows.start, cache)

    def _gap(self, slots: int) -> int:
        """The first slot from which so many are free, whether or not they are there yet."""
        taken = self._taken()
        return next(slot for slot in count() if taken.isdisjoint(range(slot, slot + slots)))

    def _find_room(self, slots: int, positions: int, tokens: int) -> bool:
        """Whether there is room for so much, with larger buffers where it takes them."""
        room = self._room.for_more(slots, positions, tokens, self._most)
        if room == self._room:
            return True
        if not self._firsts:  # nothing has to move: what was needed once is free again
            self._before_growth()
            self._buffers = None
            room = Room().for_more(slots, positions, tokens, self._most)
        return self._grow(room)

    def _grow(self, room: Room) -> bool:
        """Have new buffers with what is in the old; False if memory is too short."""
        device = self._decoder.norm.weight.device
        if Buffers.bytes_for(self._decoder, room) > _SHARE * free_bytes(device):
            return False
        self._before_growth()
        try:
            buffers = Buffers(self._decoder, room)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        old, self._buffers = self._buffers, buffers
        if old is not None:
            _, _, rows, _, positions, _ = old.self_attn.shape
            buffers.self_attn[:, :, :rows, :, :positions] = old.self_attn
        for cache in list(self._firsts):
            self._write(cache)
        return True


def _paired(rows: int) -> int:
    """Rows of as many whole slots."""
    return rows + rows % 2
