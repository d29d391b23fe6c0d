"""The page's two sliders for one length: up to 30 s, or more with "Extend to".

They are the page's own way to ask: everywhere else a length is ``duration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen_space.backends.base import Backend
from musicgen_space.request import (
    DOCUMENTED_DURATION,
    LIMITS,
    TEXTS,
    Limit,
    checked_number,
)

__all__ = ["EXTEND", "FIELDS", "SLIDERS", "is_obeyed", "one_length", "two_lengths"]

EXTEND = "extend_to"  # at its minimum it is off

_SHORT = DOCUMENTED_DURATION
_LONG = Limit(_SHORT.maximum, LIMITS["duration"].maximum, _SHORT.maximum, 5.0, "seconds")

# The limits of what the page shows as numbers, by field.
SLIDERS: dict[str, Limit] = {**LIMITS, "duration": _SHORT, EXTEND: _LONG}
# The fields of the page for a request, besides its prompt and its clips, in a wish's order.
FIELDS = (*SLIDERS, *TEXTS[1:])


def one_length(fields: Mapping[str, Any], backend: Backend) -> dict[str, Any]:
    """The page's fields as those of a request: its length is what the two sliders say.

    Where a ``backend`` makes no long takes, "Extend to" has no effect. Raises ``InvalidRequest``
    for what a slider doesn't go to.
    """
    request = dict(fields)
    extended = request.pop(EXTEND)
    checked_number("duration", request["duration"], _SHORT)
    if is_obeyed(EXTEND, backend) and checked_number(EXTEND, extended, _LONG) > _LONG.minimum:
        request["duration"] = extended
    return request


def two_lengths(seconds: Any) -> dict[str, Any]:
    """What the two sliders show for a length that was checked."""
    if seconds > _SHORT.maximum:
        return {"duration": _SHORT.default, EXTEND: seconds}
    return {"duration": seconds, EXTEND: _LONG.default}


def is_obeyed(field: str, backend: Backend) -> bool:
    """Whether one of ``FIELDS`` has an effect on a backend."""
    if field == EXTEND:
        return backend.limits["duration"].maximum > _SHORT.maximum
    return field in backend.knobs
