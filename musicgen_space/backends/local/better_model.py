"""The upgrade from the embedded model to AudioCraft's smallest, where there is room for it."""

from __future__ import annotations

import logging
from functools import partial

from musicgen_space.backends.local.checkpoints import Checkpoints
from musicgen_space.backends.local.default_model import BETTER_MODEL, remember_default
from musicgen_space.backends.local.published import PUBLISHED
from musicgen_space.backends.upgrade import Upgrade
from musicgen_space.models import EMBEDDED_MODEL
from musicgen_space.settings import Settings

__all__ = ["better_model"]

log = logging.getLogger(__name__)

# Besides the download: on the disk its converted weights, and what a disk should have left; in
# memory a take, and what else a desktop is used for.
_SPARE_DISK = 2 * 10**9
_SPARE_MEMORY = 10**9


def better_model(settings: Settings, checkpoints: Checkpoints) -> Upgrade:
    """The upgrade of a machine whose owner has named no default."""
    [size] = [each.download_bytes for each in PUBLISHED if each.choice.name == BETTER_MODEL]

    def is_worth_it() -> bool:
        if settings.model is not None or checkpoints.default != EMBEDDED_MODEL:
            return False
        from musicgen_space.engine.checkpoint import hub

        return (
            not hub.is_cached(BETTER_MODEL)
            and hub.can_take(size + _SPARE_DISK)
            and checkpoints.fits(BETTER_MODEL, _SPARE_MEMORY)
        )

    def adopt() -> None:
        checkpoints.default = BETTER_MODEL
        try:
            remember_default(settings, BETTER_MODEL)
        except OSError as error:
            log.warning("%s is the default until the next start only: %s", BETTER_MODEL, error)

    return Upgrade(
        BETTER_MODEL,
        size,
        is_worth_it=is_worth_it,
        download=partial(checkpoints.download, BETTER_MODEL),
        adopt=adopt,
    )
