"""Who holds how much of something that is bounded: nobody is pushed out by somebody greedier."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from pathlib import Path

__all__ = ["Shares", "remove_file"]


class Shares:
    """Sizes of visitors' things; together at most ``most``, of each visitor ``most_each``.

    Or just one thing. Whoever holds most loses first, their oldest thing first, but nothing
    that is empty: that is still to come.
    """

    def __init__(self, most: float, most_each: float = math.inf) -> None:
        self._most, self._most_each = most, most_each
        self._things: dict[str, tuple[str, int]] = {}  # visitor and size; the latest last

    def put(self, key: str, visitor: str, size: int) -> list[str]:
        """Note a thing, known or not, as the latest; → the keys of what has to go for it."""
        self._things.pop(key, None)
        self._things[key] = (visitor, size)
        gone = []
        while (loser := self._loser(key)) is not None:
            del self._things[loser]
            gone.append(loser)
        return gone

    def grow(self, key: str, by: int) -> list[str]:
        """Note that a known thing is larger now; → the keys of what has to go for it."""
        if key not in self._things:
            return []
        visitor, size = self._things[key]
        return self.put(key, visitor, size + by)

    def forget(self, key: str) -> None:
        """A thing is no more."""
        self._things.pop(key, None)

    def _loser(self, latest: str) -> str | None:
        """The thing that goes next, None when no more has to, or can."""
        held: Counter[str] = Counter()
        for visitor, size in self._things.values():
            held[visitor] += size
        own, _ = self._things[latest]
        if held[own] > self._most_each and (loser := self._oldest(own, latest)):
            return loser
        if held.total() <= self._most:
            return None
        losers = (self._oldest(visitor, latest) for visitor, _ in held.most_common())
        return next(filter(None, losers), None)

    def _oldest(self, visitor: str, latest: str) -> str | None:
        return next(
            (
                key
                for key, (whose, size) in self._things.items()
                if whose == visitor and size and key != latest
            ),
            None,
        )


def remove_file(path: str) -> None:
    """Remove a file that Gradio kept in a folder of its own, with the folder."""
    with suppress(OSError):
        Path(path).unlink()
        Path(path).parent.rmdir()
