"""Where the instruments' sounds are: FluidR3 Mono GM, or whichever file is named instead."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["SoundfontMissing", "digest", "find"]

_DEBIAN = Path("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3")
_VARIABLE = "MUSICGEN_SOUNDFONT"
_ADVICE = f"""\
The soundfont FluidR3 Mono GM was not found. On Debian or Ubuntu:

    apt-get install fluidr3mono-gm-soundfont

Elsewhere, take FluidR3Mono_GM.sf3 out of that package, which needs no Debian:

    curl -LO https://deb.debian.org/debian/pool/main/f/fluidr3mono-gm-soundfont/{{package}}
    echo "{{sha256}}  {{package}}" | sha256sum --check
    ar x {{package}} && tar xf data.tar.xz ./usr/share
    export {_VARIABLE}=$PWD/usr/share/fluidr3mono-gm-soundfont/FluidR3Mono_GM.sf3"""
_PACKAGE = "fluidr3mono-gm-soundfont_2.315-7_all.deb"
_SHA256 = "4098301bf29f4253c2f5799a844f42dd4aa733d91a210071ad16d7757dea51d6"


class SoundfontMissing(Exception):
    """There is no soundfont; the message says how to get one."""


def find() -> Path:
    """The file that ``MUSICGEN_SOUNDFONT`` names, else Debian's FluidR3 Mono GM.

    Raises ``SoundfontMissing``.
    """
    named = os.environ.get(_VARIABLE)
    if named and not Path(named).is_file():
        raise SoundfontMissing(f"{_VARIABLE} names {named}, which is no file.")
    file = Path(named) if named else _DEBIAN
    if not file.is_file():
        raise SoundfontMissing(_ADVICE.format(package=_PACKAGE, sha256=_SHA256))
    return file


def digest(soundfont: Path) -> str:
    """SHA-256 of the file: what is rendered depends on it."""
    with soundfont.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
