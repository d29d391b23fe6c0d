"""The page of a machine with room for a better model, however full the one of the tests is."""

from __future__ import annotations

from musicgen_space.backends.local.checkpoints import Checkpoints
from musicgen_space.engine.checkpoint import hub
from musicgen_space.serve import serve
from musicgen_space.settings import Settings

if __name__ == "__main__":
    Checkpoints.fits = lambda *_: True  # type: ignore[method-assign]
    hub.can_take = lambda _: True
    serve(Settings.from_environment())
