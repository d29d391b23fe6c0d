"""One request alone: it goes in, chunks of audio come out while it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.scheduler.events import Failed, Generated, Made
from musicgen_space.engine.scheduler.scheduler import REPORT_EVERY, Scheduler
from musicgen_space.request import MusicRequest

__all__ = ["Generated", "MusicGen", "generate"]


def generate(
    model: MusicGen,
    request: MusicRequest,
    stopped: Callable[[], bool] = lambda: False,
    *,
    report_every: int = REPORT_EVERY,
) -> Iterator[Generated]:
    """Generate ``request``, whose seed must not be −1 (see ``MusicRequest.with_seed_drawn``).

    ``stopped`` is polled before every step; once it is true, what is predicted so far is
    decoded and the generator ends. Deterministic: the same request on the same machine gives
    the same samples, and each variation those that it would give alone. Audio comes in
    chunks of a second, then the rest; without any, progress is told after every
    ``report_every`` steps. Raises ``InvalidRequest`` for a melody on a
    checkpoint that can't follow one.
    """
    with Scheduler(model, report_every=report_every) as scheduler:
        scheduler.add(request, stopped)
        while scheduler.busy:
            for event in scheduler.step():
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Made):
                    yield event.piece
