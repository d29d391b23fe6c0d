"""``ModelCache``: an LRU cache of loaded models, limited by count and free memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["ModelCache"]

Model = TypeVar("Model")


class ModelCache(Generic[Model]):
    """Up to ``most`` models by name; evicts the least recently used.

    ``free`` returns the free memory in bytes; ``release`` returns the memory of dropped models
    to the system. Not thread-safe.
    """

    def __init__(self, most: int, free: Callable[[], int], release: Callable[[], None]) -> None:
        self._most, self._free, self._release = most, free, release
        self._held: dict[str, tuple[Model, int]] = {}  # model and bytes, in LRU order

    @property
    def room(self) -> int:
        """Bytes that would be free with an empty cache."""
        return self._free() + sum(size for _, size in self._held.values())

    def get(self, name: str) -> Model | None:
        """The model ``name``, if it is cached."""
        if name not in self._held:
            return None
        self._held[name] = self._held.pop(name)
        return self._held[name][0]

    def load(self, name: str, need: int, load: Callable[[], Model]) -> Model:
        """Call ``load``, which needs ``need`` bytes, and cache its result.

        Loads before evicting when both fit, so that a failure leaves the cache unchanged.
        """
        self.make_room(need)
        before = self._free()
        model = load()
        # Loading may need more than the loaded model.
        size = min(need, max(0, before - self._free()))
        self._held[name] = (model, size)
        while len(self._held) > self._most:
            self._evict()
        return model

    def make_room(self, need: int, keep: str | None = None) -> bool:
        """Evict models, except ``keep``, until ``need`` bytes are free; → whether they are."""
        while self._free() < need and any(name != keep for name in self._held):
            self._evict(keep)
        return self._free() >= need

    def clear(self) -> None:
        """Evict all models."""
        self._held.clear()
        self._release()

    def _evict(self, keep: str | None = None) -> None:
        del self._held[next(name for name in self._held if name != keep)]
        self._release()
