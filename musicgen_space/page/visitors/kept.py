"""Things kept in memory for visitors' pages: the latest ones, within a bound."""

from __future__ import annotations

import math
import secrets
import threading
from typing import Generic, TypeVar

from musicgen_space.page.visitors.shares import Shares

__all__ = ["Kept"]

Thing = TypeVar("Thing")


class Kept(Generic[Thing]):
    """Things under unguessable ids: together ``most_bytes``, of each visitor ``most_each``.

    What goes when it is more, ``Shares`` says.
    """

    def __init__(self, most_bytes: float, most_each: float = math.inf) -> None:
        self._shares = Shares(most_bytes, most_each)
        self._things: dict[str, Thing] = {}
        self._lock = threading.Lock()

    def add(self, thing: Thing, size: int = 0, visitor: str = "") -> str:
        """Keep a thing of ``size`` bytes for ``visitor``; → its id."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._things[key] = thing
            self._drop(self._shares.put(key, visitor, size))
        return key

    def grow(self, key: str, by: int) -> None:
        """Note that a thing takes more bytes now."""
        with self._lock:
            self._drop(self._shares.grow(key, by))

    def get(self, key: str) -> Thing | None:
        """The thing, or None when it is forgotten or there never was one."""
        with self._lock:
            return self._things.get(key)

    def forget(self, key: str | None) -> None:
        """Drop a thing that nobody needs any more."""
        with self._lock:
            self._things.pop(key or "", None)
            self._shares.forget(key or "")

    def _drop(self, keys: list[str]) -> None:
        for key in keys:
            del self._things[key]
