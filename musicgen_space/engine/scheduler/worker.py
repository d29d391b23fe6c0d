"""A thread for what is done beside the decoder."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from musicgen_space.errors import Stopped

__all__ = ["Worker"]

_T = TypeVar("_T")


class Worker(ThreadPoolExecutor):
    """One thread called ``name``, which does one thing after the other."""

    def __init__(self, name: str) -> None:
        super().__init__(1, thread_name_prefix=name)

    def submit(self, work: Callable[..., _T], /, *args: Any, **options: Any) -> Future[_T]:
        """Have ``work`` done; raises ``Stopped`` while the program ends: nobody waits for it."""
        try:
            return super().submit(work, *args, **options)
        except RuntimeError as error:
            if "shutdown" in str(error):
                raise Stopped from None
            raise
