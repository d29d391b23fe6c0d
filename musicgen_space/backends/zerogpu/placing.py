"""Which models ZeroGPU runs, and how they get there: on "cuda", at the start.

In this process ``spaces`` only pretends that there is a card. It writes what is put there to the
disk when the page is launched, and each process with a GPU reads it from there. It pretends in
the thread that imports it, so nothing else may load these models.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from musicgen_space.backends.local.checkpoints import Checkpoints
from musicgen_space.backends.local.default_model import default_model
from musicgen_space.errors import MusicGenSpaceError
from musicgen_space.models import EMBEDDED_MODEL
from musicgen_space.settings import Settings

if TYPE_CHECKING:
    from musicgen_space.engine.generate import MusicGen

__all__ = ["place", "wanted"]

log = logging.getLogger(__name__)


def wanted(settings: Settings) -> list[str]:
    """The names of the models for the GPU, the default first: all but the embedded one."""
    names = dict.fromkeys((default_model(settings, lambda: True), *settings.models))
    return [name for name in names if name != EMBEDDED_MODEL]


def place(settings: Settings) -> dict[str, MusicGen]:
    """The models by name, downloaded where need be; what can't be loaded is logged and left out."""
    names = wanted(settings)
    checkpoints = Checkpoints(
        dataclasses.replace(settings, device="cuda", max_models=max(1, len(names)))
    )
    models = {}
    for name in names:
        log.info("Loading %s for ZeroGPU", name)
        try:
            models[name] = checkpoints.get(name, lambda _: None)
        except MusicGenSpaceError as error:
            log.error("%s is not offered. %s", name, error)
    return models
