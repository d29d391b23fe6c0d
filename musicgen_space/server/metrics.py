"""What the server counts, for Prometheus; nothing in it tells of anybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from musicgen_space.take import Take

__all__ = ["Metrics"]

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "musicgen_requests", "Answers", ["route", "status"], registry=registry
        )
        self._jobs = Counter("musicgen_jobs", "Jobs that ended", ["outcome"], registry=registry)
        self._music = Counter("musicgen_music_seconds", "Music that was made", registry=registry)
        self._seconds = Histogram(
            "musicgen_job_seconds", "Making one take", buckets=_SECONDS, registry=registry
        )
        self._first = Histogram(
            "musicgen_first_sound_seconds",
            "From a streaming request to its first sound",
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge("musicgen_jobs_waiting", "Jobs that wait", registry=registry)
        self._live = Gauge("musicgen_live_sessions", "Live sessions", registry=registry)
        self._live_music = Counter(
            "musicgen_live_seconds", "Live music that was sent", registry=registry
        )

    def answered(self, route: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()

    def made(self, take: Take) -> None:
        """Count a job that is complete."""
        self._jobs.labels("completed").inc()
        self._music.inc(take.duration)
        self._seconds.observe(take.seconds_taken)

    def failed(self) -> None:
        """Count a job that is not."""
        self._jobs.labels("failed").inc()

    def first_sound(self, seconds: float) -> None:
        """Count how long somebody waited for it."""
        self._first.observe(seconds)

    @contextmanager
    def live_session(self) -> Iterator[None]:
        """Count a live session during the block."""
        with self._live.track_inprogress():
            yield

    def live_sound(self, seconds: float) -> None:
        """Count live music that was sent."""
        self._live_music.inc(seconds)

    def text(self, waiting: int) -> bytes:
        """All of it as Prometheus reads it."""
        self._waiting.set(waiting)
        return generate_latest(self._registry)
