"""Things kept in memory for visitors' pages: the latest ones, within a bound."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Kept"]

Thing = TypeVar("Thing")


class Kept(Generic[Thing]):
    """Things under unguessable ids; together they take ``most_bytes`` or are just one thing.

    Those that were added or grew longest ago are forgotten first, but nothing that is
    empty: that is still to come.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._things: OrderedDict[str, tuple[Thing, int]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, thing: Thing, size: int = 0) -> str:
        """Keep a thing of ``size`` bytes; → its id."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._things[key] = (thing, size)
            self._forget_the_oldest()
        return key

    def grow(self, key: str, by: int) -> None:
        """Note that a thing takes more bytes now."""
        with self._lock:
            if key in self._things:
                thing, size = self._things.pop(key)
                self._things[key] = (thing, size + by)
                self._forget_the_oldest()

    def get(self, key: str) -> Thing | None:
        """The thing, or None when it is forgotten or there never was one."""
        with self._lock:
            thing, _ = self._things.get(key, (None, 0))
            return thing

    def forget(self, key: str | None) -> None:
        """Drop a thing that nobody needs any more."""
        with self._lock:
            self._things.pop(key or "", None)

    def _forget_the_oldest(self) -> None:
        taken = sum(size for _, size in self._things.values())
        for key, (_, size) in [*self._things.items()][:-1]:
            if taken > self._most_bytes and size:
                del self._things[key]
                taken -= size
