"""The models that stay in memory between takes: how many, and which goes when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Residents"]

Model = TypeVar("Model")


class Residents(Generic[Model]):
    """Up to ``most`` models by name; the least recently used goes first.

    ``free`` tells how many bytes are free, ``release`` makes a model's memory free once it
    is dropped. Not for several threads.
    """

    def __init__(self, most: int, free: Callable[[], int], release: Callable[[], None]) -> None:
        self._most, self._free, self._release = most, free, release
        self._held: dict[str, tuple[Model, int]] = {}  # and its bytes; the last used is last

    @property
    def room(self) -> int:
        """Bytes that would be free without any model."""
        return self._free() + sum(size for _, size in self._held.values())

    def get(self, name: str) -> Model | None:
        """The model ``name``, if it is here."""
        if name not in self._held:
            return None
        self._held[name] = self._held.pop(name)
        return self._held[name][0]

    def load(self, name: str, need: int, load: Callable[[], Model]) -> Model:
        """Add what ``load`` returns, for which ``need`` bytes must be free.

        As long as there is memory for both, nothing goes before it is there, so that a
        failure leaves everything as it was.
        """
        self.make_room(need)
        before = self._free()
        model = load()
        # What it really takes is often less than while it was loaded.
        size = min(need, max(0, before - self._free()))
        self._held[name] = (model, size)
        while len(self._held) > self._most:
            self._drop_oldest()
        return model

    def make_room(self, need: int, keep: str | None = None) -> bool:
        """Drop models, but not ``keep``, until ``need`` bytes are free; → whether they are."""
        while self._free() < need and any(name != keep for name in self._held):
            self._drop_oldest(keep)
        return self._free() >= need

    def clear(self) -> None:
        """Drop all."""
        self._held.clear()
        self._release()

    def _drop_oldest(self, keep: str | None = None) -> None:
        del self._held[next(name for name in self._held if name != keep)]
        self._release()
