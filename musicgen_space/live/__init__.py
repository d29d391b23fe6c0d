"""Music that goes on and is steered: what is wished of it and heard of it.

``session`` is such music in Python; ``engine/live`` makes it.
"""

from musicgen_space.live.wish import BALANCE, STEERED, Change, Heard, LiveControls, LiveWish

__all__ = ["BALANCE", "STEERED", "Change", "Heard", "LiveControls", "LiveWish"]
