"""Errors cross from process to process, and say the same there."""

from __future__ import annotations

import pickle

import pytest

from musicgen_space import errors
from musicgen_space.errors import MusicGenSpaceError

ARGUMENTS = {
    "InvalidRequest": ("duration", 31, "must be a number from 1 to 30"),
    "LiveFull": (2,),
    "LiveOver": (10,),
    "QueueFull": (8,),
    "Stopped": (),
    "StoppedButBilled": (),
}
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MusicGenSpaceError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_another_process_is_the_same(kind: type[MusicGenSpaceError]) -> None:
    error = kind(*ARGUMENTS.get(kind.__name__, ("something went wrong",)))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), vars(again)) == (str(error), vars(error))
