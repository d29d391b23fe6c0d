"""How many servers a cluster has."""

from __future__ import annotations

from dataclasses import dataclass

from musicgen_space.request import Limit, checked_number

__all__ = ["Replicas"]

_MOST = 1000


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many servers, each with so many ``gpus``: ``count``, and more while there is more to do
    than they can at once, up to ``most`` (None: no more).

    ``address`` is the Ray cluster's that they join, None: one that begins here and ends with this
    process. Raises ``InvalidRequest``.
    """

    count: int = 1
    most: int | None = None
    gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        checked_number("replicas", self.count, Limit(1, _MOST, 1, 1))
        if self.most is not None:
            checked_number("max-replicas", self.most, Limit(self.count, _MOST, self.count, 1))
        checked_number("gpus", self.gpus, Limit(0.0, 16.0, 0.0, 0.1))
