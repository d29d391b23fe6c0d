"""What becomes of a request while it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from musicgen_space.engine.scheduler.scheduler import Making

__all__ = ["Done", "Event", "Failed", "Generated", "Made"]


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """Progress of a generation: ``seconds`` of new music are predicted so far.

    ``samples`` (float32 [takes, channels, n]) were decoded since the last one; n is often 0.
    """

    seconds: float
    samples: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """Something was made of a request."""

    making: Making
    piece: Generated


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """All of it was made, or what there was to be when it was stopped."""

    making: Making


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """No more comes of it."""

    making: Making
    error: BaseException


Event = Made | Done | Failed
